"""Which trace something belongs to: ids as in W3C Trace Context, made at the border or derived."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from flora.messages.base import TraceContext

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01
_MAX_SENTENCE = 200
_PLACE = re.compile(r"\s+at (?:.*\()?([^\s()]+:\d+:\d+)\)?(?:\n|$)")  # of a stack's innermost frame

current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)
"""What this thread or asyncio task works on. Its `span_id` is the span that goes on here: parent of what is sent."""


@contextmanager
def working_on(trace: TraceContext | None) -> Iterator[None]:
    """What happens inside belongs to `trace`; None: to nothing in particular, for work that outlives what began it."""
    token = current_trace.set(trace)
    try:
        yield
    finally:
        current_trace.reset(token)


def new_run_id() -> str:
    """16 hex digits, never only zeros: says which start of the system something belongs to."""
    return f"{secrets.randbits(64) or 1:016x}"


def new_trace_id() -> str:
    """32 hex digits, never only zeros."""
    return f"{secrets.randbits(128) or 1:032x}"


def new_span_id() -> str:
    """16 hex digits, never only zeros."""
    return f"{secrets.randbits(64) or 1:016x}"


def sent_anew(trace: TraceContext | None) -> TraceContext | None:
    """The trace of a message, for one that carries its task on later: how long that waited starts anew."""
    return None if trace is None else replace(trace, sent_us=0)


def event_trace_id(run_id: str, seq: int) -> str:
    """Trace of a guild event, the same in every process without anything travelling for it.

    Args:
        run_id: 16 hex digits of `Settings.run_id`.
        seq: The event's number, given by the gateway; 0 or more.
    """
    return f"{run_id}{seq:016x}"


def trace_from_traceparent(header: str) -> TraceContext | None:
    """What an incoming `traceparent` header says, or None where it is not well-formed and a new trace is to be made."""
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def first_sentence(text: str) -> str:
    """What of an error's text goes into a trace: its first line and where it happened, cut. The rest may quote what somebody wrote."""
    line, _, rest = text.partition("\n")
    line = line.strip()
    place = _PLACE.match(rest)
    if place is not None:
        line = f"{line} ({place[1]})"
    return line if len(line) <= _MAX_SENTENCE else line[:_MAX_SENTENCE] + " …"
