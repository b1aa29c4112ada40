"""What an actor writes down of its part in traces: events, requests, deploys, cron runs on their way through the processes.

Every actor has one `Tracer`. It adds hops while it handles a message; they are in the file when the handler is over, so that what
kills the process afterwards takes none of them along. Who may be written down, and how much of it, is decided before: for events
see trace_sampling.py.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flora.messages.settings import Settings, TraceSettings
from flora.messages.trace import event_trace_id, new_span_id
from flora.storage.trace_files import TraceWriter
from flora.storage.trace_record import OK, TraceRecord

TRACES_FOLDER = "traces"  # below the data folder


def now_us() -> int:
    """µs since the epoch, as all times of traces are."""
    return time.time_ns() // 1000


class Tracer:
    """The trace file of one actor's process. Does nothing where tracing is off. Any thread may use it; nothing ever raises."""

    def __init__(self, settings: Settings, process: str, *, forks: bool = False) -> None:
        """Touches nothing on disk before the first hop.

        Args:
            process: "worker 0"; stands in each record.
            forks: Whether other processes come from this one, so that it may start no thread.
        """
        trace = settings.trace
        self.enabled = trace.enabled
        self.settings = trace
        self.process = process
        self._run_id = settings.run_id
        self._writer: TraceWriter | None = None
        if trace.enabled:
            folder = settings.data_dir / TRACES_FOLDER
            self._writer = TraceWriter(folder, process, trace.max_mb << 20, tidies=not forks)

    def event_trace(self, seq: int) -> str:
        """The trace of a guild event with this number."""
        return event_trace_id(self._run_id, seq)

    def hop(
        self,
        trace: str,
        name: str,
        *,
        kind: str,
        at_us: int,
        queued_us: int = 0,
        took_us: int = 0,
        span: str = "",
        parent: str = "",
        process: str = "",
        outcome: str = OK,
        guild_id: str = "",
        event: str = "",
        why: str = "",
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes one hop down, as described at `TraceRecord`.

        Args:
            span: Empty: a new one is made.
            process: Empty: this one; else the one that can no longer write it, or need not have.
            attrs: Small plain facts; never what people or scripts wrote.
        Returns:
            Its span, for the hops that follow from it.
        """
        span = span or new_span_id()
        if self._writer is not None:
            self.keep(
                TraceRecord(
                    trace=trace,
                    span=span,
                    parent=parent,
                    process=process or self.process,
                    name=name,
                    kind=kind,
                    at_us=at_us,
                    queued_us=max(0, queued_us),
                    took_us=max(0, took_us),
                    outcome=outcome,
                    guild_id=guild_id,
                    event=event,
                    why=why,
                    attrs=attrs or {},
                )
            )
        return span

    def keep(self, record: TraceRecord) -> None:
        """Writes a hop down that somebody else has put together."""
        if self._writer is not None:
            self._writer.add(record)

    @property
    def lost(self) -> int:
        """Hops that could not be written down."""
        return 0 if self._writer is None else self._writer.lost

    def flush(self) -> None:
        """Puts what was added into the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes the rest, and lets the file go."""
        if self._writer is not None:
            self._writer.close()


NO_TRACER = Tracer(Settings(data_dir=Path(), trace=TraceSettings(enabled=False)), "")
"""Of an actor that has not been started."""
