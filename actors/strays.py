"""Messages that came to nothing: nobody handles them, nobody is there, they blew up, or they were refused. Each leaves a line and a record.

Of one kind a few at once and then one a second are told of; the others are counted, and the next one that is told of says how many.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from flora.actors.isolate.allowance import TokenBucket
from flora.messages.base import TraceContext
from flora.messages.trace import current_trace, first_sentence, new_span_id, new_trace_id
from flora.storage.trace_record import TraceRecord

log = logging.getLogger(__name__)

UNDELIVERABLE = "undeliverable"
POISONED = "poisoned"
REFUSED = "refused"

TOLD_PER_S = 1.0
TOLD_AT_ONCE = 5.0
MAX_KINDS = (
    256  # of (outcome, name); more share what is left over. Names of classes come from our own code, but who knows
)


class Strays:
    """Of one process, on its actor's thread."""

    def __init__(
        self, process: str, keep: Callable[[TraceRecord], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`keep` is where records go."""
        self._process = process
        self._keep = keep
        self._clock = clock
        self.counts: Counter[tuple[str, str]] = Counter()  # by (outcome, name)
        self._told: dict[tuple[str, str], TokenBucket] = {}
        self._untold: Counter[tuple[str, str]] = Counter()

    def note(
        self,
        outcome: str,
        name: str,
        why: str,
        *,
        trace: TraceContext | None = None,
        guild_id: str = "",
        level: int = logging.WARNING,
        action: str = "",
        **facts: Any,
    ) -> None:
        """A message came to nothing.

        Args:
            outcome: `UNDELIVERABLE`, `POISONED` or `REFUSED`.
            name: Class of the message, or what stands for it.
            trace: What it belonged to; None: what is being worked on, or a trace of its own.
            action: What programs know the line by; empty: the outcome.
            facts: Small and plain, nothing of what it contained.
        """
        kind = self._kind(outcome, name)
        self.counts[kind] += 1
        if not self._may_tell(kind):
            self._untold[kind] += 1
            return
        if untold := self._untold.pop(kind, 0):
            facts["suppressed"] = untold
        trace = trace or current_trace.get() or TraceContext(trace_id=new_trace_id())
        fields = {"action": action or outcome, "class": name, "trace_id": trace.trace_id, **facts}
        if guild_id:
            fields["guild_id"] = guild_id
        log.log(level, "%s %s: %s", name, outcome, why, extra=fields)
        self._keep(
            TraceRecord(
                trace=trace.trace_id,
                span=new_span_id(),
                parent=trace.span_id,
                process=self._process,
                name=name,
                kind="refused" if outcome == REFUSED else "message",
                at_us=time.time_ns() // 1000,
                outcome=outcome,
                guild_id=guild_id,
                why=first_sentence(why),
                attrs=facts,
            )
        )

    def packet_refused(self, reason: str, peer: str, size: int) -> None:
        """What came on a socket was not read. See `wire.Listener`."""
        self.note(REFUSED, "packet", reason, action="packet_refused", peer=peer, bytes=size)

    def _kind(self, outcome: str, name: str) -> tuple[str, str]:
        kind = (outcome, name)
        return kind if kind in self._told or len(self._told) < MAX_KINDS else (outcome, "")

    def _may_tell(self, kind: tuple[str, str]) -> bool:
        now_s = self._clock()
        bucket = self._told.get(kind)
        if bucket is None:
            bucket = self._told[kind] = TokenBucket(TOLD_PER_S, TOLD_AT_ONCE, now_s)
        return bucket.take(now_s)
