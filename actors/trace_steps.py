"""Steps of work on an asyncio loop, as hops of the trace that is being worked on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from flora.messages.errors import BugError, FloraError
from flora.messages.trace import current_trace, first_sentence, new_span_id, working_on
from flora.storage.trace_record import OK, TraceRecord


class Keeper(Protocol):
    """The part of `Tracer` that is needed here. From any thread."""

    def keep(self, record: TraceRecord) -> None:
        """Takes a record."""

    def flush(self) -> None:
        """Puts what was taken into the file."""


class TraceSteps:
    """Of one kind of work in one process."""

    def __init__(self, keeper: Keeper | None, process: str = "", kind: str = "deploy") -> None:
        """Without a keeper nothing is kept."""
        self._keeper = keeper
        self._process = process
        self._kind = kind

    @contextmanager
    def step(self, name: str, guild_id: str, **attrs: Any) -> Iterator[None]:
        """What happens inside is one hop, and what is sent meanwhile follows from it. Ends with the error's code, if there is one.

        Without a trace that is being worked on this does nothing.
        """
        parent = current_trace.get()
        if parent is None or self._keeper is None:
            yield
            return
        context = replace(parent, span_id=new_span_id(), sent_us=0)
        at_us, began_ns = time.time_ns() // 1000, time.monotonic_ns()
        outcome, why = OK, ""
        try:
            with working_on(context):
                yield
        except FloraError as exc:
            outcome, why = exc.code, first_sentence(str(exc))
            raise
        except Exception:
            outcome = BugError.code
            raise
        except BaseException:
            outcome = "cancelled"
            raise
        finally:
            if parent.sampled or outcome != OK:
                self._keeper.keep(
                    TraceRecord(
                        trace=context.trace_id,
                        span=context.span_id,
                        parent=parent.span_id,
                        process=self._process,
                        name=name,
                        kind=self._kind,
                        at_us=at_us,
                        took_us=(time.monotonic_ns() - began_ns) // 1000,
                        outcome=outcome,
                        guild_id=guild_id,
                        why=why,
                        attrs=attrs,
                    )
                )
                self._keeper.flush()
