"""Which trace something belongs to: ids as in W3C Trace Context, made at the border or derived."""

from __future__ import annotations

import re
import secrets

from flora.messages.base import TraceContext

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 0x01


def new_run_id() -> str:
    """16 hex digits, never only zeros: says which start of the system something belongs to."""
    return f"{secrets.randbits(64) or 1:016x}"


def new_span_id() -> str:
    """16 hex digits, never only zeros."""
    return f"{secrets.randbits(64) or 1:016x}"


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
