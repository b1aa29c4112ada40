"""Pushes traces to an OpenTelemetry receiver: follows the trace files of all processes, as `flora trace follow` does.

The files are the buffer: while the receiver is away nothing is kept in memory, and what is given up on disk before it was sent is
counted. So neither a slow receiver nor a lost one holds anything up or uses more than one batch of memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flora.http.otlp_receiver import OtlpReceiver, Sent
from flora.messages.settings import TelemetrySettings
from flora.storage.trace_record import TraceRecord
from flora.storage.trace_tail import TraceTail

log = logging.getLogger(__name__)

PATH = "/v1/traces"
BATCH_HOPS = 1000
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class PushPauses:
    """How long to wait before the next attempt: doubling, capped, spread by ±20 %."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S

    def of(self, failures: int, spread: float) -> float:
        """After so many failures in a row; `spread` is 0…1."""
        doubled: float = min(self.longest_s, self.first_s * 2 ** min(failures - 1, 16))
        return doubled * (0.8 + 0.4 * spread)


class TracePush:
    """One endless task on an asyncio loop."""

    def __init__(
        self,
        folder: Path,
        telemetry: TelemetrySettings,
        run_id: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Touches nothing before `start`.

        Args:
            folder: Of the trace files.
            telemetry: The receiver, and how often it gets something.
        """
        self._folder = folder
        self._receiver = OtlpReceiver(telemetry.endpoint, dict(telemetry.headers))
        self._run_id = run_id
        self._every_s = telemetry.interval_s
        self._sleep = sleep
        self._pauses = PushPauses()
        self._away = False
        self._task: asyncio.Task[None] | None = None
        self.hops: Counter[str] = Counter()  # by what became of them: taken, refused
        self.skipped_bytes = 0  # of files that were given up before they were read

    def start(self) -> None:
        """Begins with what is written from now on."""
        self._task = asyncio.create_task(self.run(), name="trace push")
        self._task.add_done_callback(_report)

    async def stop(self) -> None:
        """What has not been sent stays in the files."""
        if self._task is not None:
            self._task.cancel()
        await self._receiver.close()

    async def run(self) -> None:
        """Never ends but by being cancelled."""
        tail: TraceTail | None = None
        while True:
            try:
                if tail is None:
                    tail = await asyncio.to_thread(TraceTail, self._folder)
                while hops := await asyncio.to_thread(tail.news):
                    for begin in range(0, len(hops), BATCH_HOPS):
                        await self._push(hops[begin : begin + BATCH_HOPS])
                    self.skipped_bytes = tail.skipped_bytes
            except OSError as error:
                log.error("traces cannot be pushed: %s", error, extra={"action": "trace_push_failed"})
            await self._sleep(self._every_s)

    async def _push(self, hops: Sequence[TraceRecord]) -> None:
        """Sends a batch until it is taken or refused for good."""
        body = await asyncio.to_thread(self._encoded, hops)
        failures = 0
        while (sent := await self._receiver.send(PATH, body)) is Sent.LATER:
            failures += 1
            self._tell_away()
            await self._sleep(self._pauses.of(failures, random.random()))
        self.hops[sent] += len(hops)
        if sent is Sent.REFUSED:
            fields = {"action": "trace_push_refused", "hops": len(hops)}
            log.warning("the telemetry receiver refused traces: %s", self._receiver.said, extra=fields)
        elif self._away:
            self._away = False
            log.info("the telemetry receiver takes traces again", extra={"action": "trace_push_back"})

    def _tell_away(self) -> None:
        if not self._away:
            self._away = True
            fields = {"action": "trace_push_away"}
            log.warning("the telemetry receiver takes no traces: %s; trying again", self._receiver.said, extra=fields)

    def _encoded(self, hops: Sequence[TraceRecord]) -> bytes:
        from flora.storage.trace_otlp import export_request  # protobuf: only where traces are pushed

        body: bytes = export_request(hops, self._run_id).SerializeToString()
        return body


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("traces are not pushed any more", exc_info=error, extra={"action": "bug"})
