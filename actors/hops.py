"""What traced messages do in one actor: each is a hop of its trace, with the time it waited, the time it took, and how it ended.

A message that is no request ends with its handler; a request ends with its reply, however much later that is. Kept are hops of traces that
were sampled at the border, and in any case those that failed or were slow. Messages without a trace never come here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from flora.actors.isolate.allowance import TokenBucket
from flora.messages.base import Failed, Message, Reply, Request, TraceContext
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.trace import first_sentence, new_span_id
from flora.storage.trace_record import OK, TraceRecord

KEPT_PER_S, KEPT_AT_ONCE = 20.0, 100.0  # slow and failed hops of traces that were not sampled
MAX_OPEN = 1_000  # requests without a reply; the oldest is then written down as unanswered
REPLY_WORTH_TELLING_US = 5_000  # a reply that waited or worked for less says nothing


@dataclass(slots=True)
class Hop:
    """One message in one actor."""

    name: str
    context: TraceContext  # for what is sent meanwhile
    parent: str
    guild_id: str
    at_us: int
    began_ns: int
    queued_us: int
    is_reply: bool


class Hops:
    """Of one actor, on its thread."""

    def __init__(
        self,
        process: str,
        keep: Callable[[TraceRecord], None],
        slow_us: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            keep: Where records go.
            slow_us: From when on a hop is kept whatever becomes of its trace; 0: never for that alone.
            clock: Monotonic seconds.
        """
        self._process = process
        self._keep = keep
        self._slow_us = slow_us
        self._clock = clock
        self._unsampled = TokenBucket(KEPT_PER_S, KEPT_AT_ONCE, clock())
        self.open: dict[ReqId, Hop] = {}  # requests that have no reply yet

    def begin(self, message: Message, trace: TraceContext) -> Hop:
        """A traced message is about to be handled."""
        at_us = time.time_ns() // 1000
        hop = Hop(
            name=type(message).__name__,
            context=replace(trace, span_id=new_span_id(), sent_us=0),
            parent=trace.span_id,
            guild_id=getattr(message, "guild_id", None) or "",
            at_us=at_us,
            began_ns=time.monotonic_ns(),
            queued_us=max(0, at_us - trace.sent_us) if trace.sent_us else 0,
            is_reply=isinstance(message, Reply),
        )
        if isinstance(message, Request) and message.req_id:
            if len(self.open) >= MAX_OPEN:
                oldest = next(iter(self.open))
                self._end(self.open.pop(oldest), "unanswered", "no reply left")
            self.open[message.req_id] = hop
        return hop

    def handled(self, hop: Hop, message: Message, error: FloraError | None) -> None:
        """The handler has returned. A request goes on until its reply."""
        if not (isinstance(message, Request) and message.req_id):
            self._end(hop, error.code if error else OK, str(error) if error else "")

    def replied(self, reply: Reply) -> TraceContext | None:
        """A reply leaves. Returns what it belongs to; None: its request is not traced, or was answered before."""
        hop = self.open.pop(reply.req_id, None)
        if hop is None:
            return None
        if isinstance(reply, Failed):
            self._end(hop, reply.code, reply.message)
        else:
            self._end(hop, OK, "")
        return hop.context

    def unanswered(self, name: str, trace: TraceContext, failed: Failed, asked_us: int) -> None:
        """A question of ours got no answer from whom it was asked: too late, or nobody there any more."""
        self._keep(
            TraceRecord(
                trace=trace.trace_id,
                span=new_span_id(),
                parent=trace.span_id,
                process=self._process,
                name=f"ask {name}",
                kind="message",
                at_us=asked_us,
                took_us=max(0, time.time_ns() // 1000 - asked_us),
                outcome=failed.code,
                why=first_sentence(failed.message),
            )
        )

    def _end(self, hop: Hop, outcome: str, why: str) -> None:
        took_us = (time.monotonic_ns() - hop.began_ns) // 1000
        busy_us = took_us + hop.queued_us
        if outcome == OK:
            if hop.is_reply and busy_us < REPLY_WORTH_TELLING_US:
                return
            if not hop.context.sampled and not (self._slow_us and busy_us >= self._slow_us):
                return
        if not hop.context.sampled and not self._unsampled.take(self._clock()):
            return
        self._keep(
            TraceRecord(
                trace=hop.context.trace_id,
                span=hop.context.span_id,
                parent=hop.parent,
                process=self._process,
                name=hop.name,
                kind="message",
                at_us=hop.at_us,
                queued_us=hop.queued_us,
                took_us=took_us,
                outcome=outcome,
                guild_id=hop.guild_id,
                why=first_sentence(why),
            )
        )
