"""One hop of a trace, and its line in a trace file.

A trace is everything that happened to one guild event, HTTP request, deploy or cron run; a hop is what one process did for it.
On disk a hop is one line, a JSON object in which what is empty, zero or "ok" is left out. Lines never hold what people or
scripts wrote, and no secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_LINE_BYTES = 4096
"""A longer line loses its attributes, and its sentence is cut: no single record may crowd out others."""

LINE_BEGINS = b'{"trace":"'
"""Each line does."""

GUILD_KEY = b'"guild_id":"'
"""Stands in the line of a record with a guild, and before anything else that could be taken for it."""

OK = "ok"
_MAX_TEXT = 200
_TRACE_ID, _SPAN_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRecord:
    """What one process did for one trace."""

    trace: str  # 32 hex digits
    span: str  # 16 hex digits
    name: str  # "gateway.receive", "isolate.run", "http POST /api/deployments/{guild_id}", or a message class
    at_us: int  # when its handling began, µs since the epoch
    parent: str = ""  # span of the hop that caused it; empty at the border
    process: str = ""  # "worker 0"
    kind: str = ""  # event | http | deploy | cron | message | refused | move
    queued_us: int = 0  # how long it waited before `at_us`; 0 also where nobody knows
    took_us: int = 0
    outcome: str = OK  # or how it ended: "threw", "shed", "timed_out", an error code …
    guild_id: str = ""
    event: str = ""  # "messageCreate", a cron job's name
    why: str = ""  # one sentence
    attrs: Mapping[str, Any] = field(default_factory=dict)  # small plain facts: status, route, seq …

    @property
    def ends_us(self) -> int:
        """When its handling was over, µs since the epoch."""
        return self.at_us + self.took_us


def to_line(record: TraceRecord) -> bytes:
    """The line of a record, with its newline; at most `MAX_LINE_BYTES`.

    Raises:
        TypeError: it holds something that JSON cannot.
    """
    line = orjson.dumps(_shown(record), option=orjson.OPT_APPEND_NEWLINE)
    return line if len(line) <= MAX_LINE_BYTES else _short(record)


def _shown(record: TraceRecord) -> dict[str, Any]:
    # The guild before everything that a stranger may have written: whoever shares out the space looks for the first one.
    shown: dict[str, Any] = {"trace": record.trace, "span": record.span}
    if record.guild_id:
        shown["guild_id"] = record.guild_id
    if record.parent:
        shown["parent"] = record.parent
    shown["process"] = record.process
    shown["kind"] = record.kind
    shown["name"] = record.name
    shown["at_us"] = record.at_us
    if record.queued_us:
        shown["queued_us"] = record.queued_us
    if record.took_us:
        shown["took_us"] = record.took_us
    if record.outcome != OK:
        shown["outcome"] = record.outcome
    if record.event:
        shown["event"] = record.event
    if record.why:
        shown["why"] = record.why
    if record.attrs:
        shown["attrs"] = record.attrs
    return shown


def _short(record: TraceRecord) -> bytes:
    shown = _shown(record)
    shown.pop("attrs", None)
    cut = {key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in shown.items()}
    return orjson.dumps(cut, option=orjson.OPT_APPEND_NEWLINE)


def as_dict(record: TraceRecord) -> dict[str, Any]:
    """All fields, for programs: what the HTTP API and `--json` give."""
    shown = _shown(record)
    full = {
        "parent": "",
        "queued_us": 0,
        "took_us": 0,
        "outcome": OK,
        "guild_id": "",
        "event": "",
        "why": "",
        "attrs": {},
    }
    return {**full, **shown}


def from_line(line: bytes) -> TraceRecord | None:
    """The record of a line, or None where that is none: torn, or written by somebody else."""
    try:
        found: Any = orjson.loads(line)
    except ValueError:
        return None
    return from_dict(found)


_KINDS: dict[str, type] = {
    **dict.fromkeys(("trace", "span", "name", "parent", "process", "kind", "outcome", "guild_id", "event", "why"), str),
    **dict.fromkeys(("at_us", "queued_us", "took_us"), int),
    "attrs": dict,
}
_NEEDED = frozenset({"trace", "span", "name", "at_us"})


def from_dict(found: object) -> TraceRecord | None:
    """As `from_line`, of a line that has been read. Keys that are not known are ignored."""
    if not isinstance(found, dict):
        return None
    read: dict[str, Any] = {}
    for key, value in found.items():
        kind = _KINDS.get(key)
        if kind is type(value):  # exactly: True is no number
            read[key] = value
        elif kind is not None:
            return None
    if not read.keys() >= _NEEDED or min(read["at_us"], read.get("queued_us", 0), read.get("took_us", 0)) < 0:
        return None
    if not (_TRACE_ID.fullmatch(read["trace"]) and _SPAN_ID.fullmatch(read["span"])):
        return None
    return TraceRecord(**read)
