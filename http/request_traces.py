"""Traces of HTTP requests: which are written down, and what of them.

Every request has a trace id, for the process log and for what its answer took elsewhere. Within a budget each is followed through all
actors. Beyond it only what was slow or failed leaves a record, and of that no more than one caller may cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flora.http.throttle import Rate, Throttle
from flora.messages.base import TraceContext
from flora.messages.errors import FloraError
from flora.messages.trace import first_sentence, new_span_id, new_trace_id, trace_from_traceparent
from flora.storage.trace_record import OK, TraceRecord

FOLLOWED_EACH = Rate(per_s=20, burst=100)  # requests of one address
FOLLOWED_TOGETHER = Rate(per_s=50, burst=200)
KEPT_EACH = Rate(per_s=5, burst=50)  # of the rest, those that were slow or failed
KEPT_TOGETHER = Rate(per_s=20, burst=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What is told of a request. Nothing that the caller wrote but the guild's id."""

    name: str  # "http POST /api/deployments/{guild_id}"
    status: int  # 0: the caller left before there was an answer
    error: FloraError | None = None
    guild_id: str = ""
    always_if_refused: bool = False  # 4xx are as interesting as 5xx
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """A request under way."""

    context: TraceContext  # its span is the request's own
    parent: str  # span of the caller, where one came along
    address: str | None
    at_us: int
    began_ns: int


class RequestTraces:
    """Decides at the border. On the server's loop."""

    def __init__(
        self, keep: Callable[[TraceRecord], None] = lambda _: None, process: str = "http", slow_us: int = 0
    ) -> None:
        """
        Args:
            keep: Where records go.
            slow_us: From when on a request is always kept; 0: never for that alone.
        """
        self._keep = keep
        self._process = process
        self._slow_us = slow_us
        self._followed = Throttle(each=FOLLOWED_EACH, together=FOLLOWED_TOGETHER)
        self._kept = Throttle(each=KEPT_EACH, together=KEPT_TOGETHER)

    def begin(self, traceparent: str, address: str | None, *, follow: bool) -> RequestTrace:
        """A request has come in.

        Args:
            traceparent: The header; what is not well-formed counts for nothing. Its wish to be sampled is no order: callers
                might use up what others need.
            follow: Whether this is a request that anybody wants to follow.
        """
        incoming = trace_from_traceparent(traceparent)
        sampled = follow and not self._followed.wait_s(address)
        context = TraceContext(
            trace_id=incoming.trace_id if incoming else new_trace_id(), span_id=new_span_id(), sampled=sampled
        )
        parent = incoming.span_id if incoming else ""
        return RequestTrace(context, parent, address, time.time_ns() // 1000, time.monotonic_ns())

    def ended(self, trace: RequestTrace, facts: RequestFacts) -> None:
        """Its answer is complete, or nobody wants it any more."""
        took_us = (time.monotonic_ns() - trace.began_ns) // 1000
        if not (trace.context.sampled or (self._is_news(facts, took_us) and not self._kept.wait_s(trace.address))):
            return
        self._keep(
            TraceRecord(
                trace=trace.context.trace_id,
                span=trace.context.span_id,
                parent=trace.parent,
                process=self._process,
                name=facts.name,
                kind="http",
                at_us=trace.at_us,
                took_us=took_us,
                outcome=_outcome(facts),
                guild_id=facts.guild_id,
                why=first_sentence(str(facts.error)) if facts.error else "",
                attrs={"status": facts.status, **facts.attrs} if facts.status else dict(facts.attrs),
            )
        )

    def _is_news(self, facts: RequestFacts, took_us: int) -> bool:
        if facts.status >= 500 or (facts.always_if_refused and facts.status >= 400 and facts.status != 401):
            return True
        return bool(self._slow_us) and took_us >= self._slow_us


def _outcome(facts: RequestFacts) -> str:
    if facts.error is not None:
        return facts.error.code
    if not facts.status:
        return "disconnected"
    return OK if facts.status < 400 else f"status {facts.status}"
