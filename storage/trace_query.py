"""Traces put together from their hops, and which of them somebody wants to see. Pure; reading is `flora.storage.trace_search`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from flora.storage.trace_record import OK, TraceRecord, as_dict, from_dict

FAILED = "failed"
"""In a filter: whatever the outcome of a hop that came to nothing is called."""

HELD = "held"
"""The outcome of a hop that made an event wait for a guild that moves; it goes on afterwards, so it is no failure."""

ALSO_CALLED = {"dropped": frozenset({"dropped", "shed", "no_isolate", "undeliverable"})}
"""Outcomes that a filter has one word for."""

RANDOM_DIGITS = 8  # of the short form of an id that is all random
_HALF = 16  # hex digits of the run in the trace id of a guild event; the other half is the event's number
_NUMBER_BEGINS = "000"  # an event's number is at most the µs since the epoch; of random ids one in 4,000 looks like it
_RUN_DIGITS, _NUMBER_DIGITS = 4, 6  # of the short form of an event's id; numbers are given one after the other


@dataclass(frozen=True, slots=True)
class Trace:
    """All hops of one trace that are known, in the order in which they began. Never empty."""

    trace_id: str
    hops: tuple[TraceRecord, ...]

    @property
    def root(self) -> TraceRecord:
        """The hop it began with; the earliest where that one is not known."""
        return next((hop for hop in self.hops if not hop.parent), self.hops[0])

    @property
    def starts_us(self) -> int:
        """When its first hop began to wait, µs since the epoch."""
        return min(hop.at_us - hop.queued_us for hop in self.hops)

    @property
    def took_us(self) -> int:
        """From there to the end of its last hop."""
        return max(hop.ends_us for hop in self.hops) - self.starts_us

    @property
    def guild_id(self) -> str:
        """Whose it is; empty where it is nobody's, or of several."""
        guilds = {hop.guild_id for hop in self.hops if hop.guild_id}
        return self.root.guild_id or (guilds.pop() if len(guilds) == 1 else "")

    @property
    def kind(self) -> str:
        return self.root.kind or next((hop.kind for hop in self.hops if hop.kind), "")

    @property
    def what(self) -> str:
        """What it is about: the event, the cron job; else the name of its first hop."""
        return next((hop.event for hop in (self.root, *self.hops) if hop.event), "") or self.root.name

    @property
    def decisive(self) -> TraceRecord:
        """The hop that says how it ended: the root if that failed, else the last one that did, else the root.

        Where none failed and one was held, that one.
        """
        root = self.root
        if failed(root):
            return root
        bad = [hop for hop in self.hops if failed(hop)] or [hop for hop in self.hops if hop.outcome == HELD]
        return max(bad, key=lambda hop: hop.ends_us, default=root)

    @property
    def outcome(self) -> str:
        return self.decisive.outcome

    @property
    def why(self) -> str:
        """A sentence about the outcome, if any hop has one."""
        decisive = self.decisive
        same = (hop.why for hop in reversed(self.hops) if hop.why and hop.outcome == decisive.outcome)
        return decisive.why or next(same, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Which traces are wanted. What is None or empty does not matter; names may have * and ?, and case does not count."""

    guild_id: str = ""
    event: str = ""  # event, or the name of any hop
    kind: str = ""
    outcome: str = ""  # of any hop; "ok": no hop failed; "failed": one did
    since_us: int | None = None
    until_us: int | None = None
    slower_than_us: int | None = None

    def matches(self, trace: Trace) -> bool:
        """Whether it is one of them."""
        return (
            (not self.guild_id or any(hop.guild_id == self.guild_id for hop in trace.hops))
            and (not self.kind or trace.kind == self.kind)
            and (not self.event or any(_like(text, self.event) for hop in trace.hops for text in (hop.event, hop.name)))
            and (not self.outcome or self._outcome_matches(trace))
            and (self.since_us is None or trace.starts_us >= self.since_us)
            and (self.until_us is None or trace.starts_us < self.until_us)
            and (self.slower_than_us is None or trace.took_us > self.slower_than_us)
        )

    def _outcome_matches(self, trace: Trace) -> bool:
        wanted = self.outcome.lower()
        if wanted in {OK, FAILED}:
            return any(map(failed, trace.hops)) is (wanted == FAILED)
        if wanted in ALSO_CALLED:
            return any(hop.outcome.lower() in ALSO_CALLED[wanted] for hop in trace.hops)
        return any(_like(hop.outcome, wanted) for hop in trace.hops)


def failed(hop: TraceRecord) -> bool:
    """Whether what a hop did came to nothing."""
    return hop.outcome not in {OK, HELD}


def _like(text: str, pattern: str) -> bool:
    return bool(text) and fnmatchcase(text.lower(), pattern.lower())


def put_together(records: Iterable[TraceRecord]) -> list[Trace]:
    """Traces from hops in any order, the one that began last first. A hop that comes twice counts once."""
    by_trace: dict[str, dict[str, TraceRecord]] = {}
    for record in records:
        by_trace.setdefault(record.trace, {}).setdefault(record.span, record)
    traces = [trace_of(trace_id, by_span.values()) for trace_id, by_span in by_trace.items()]
    return sorted(traces, key=lambda trace: (-trace.starts_us, trace.trace_id))


def trace_of(trace_id: str, hops: Iterable[TraceRecord]) -> Trace:
    """One trace from its hops."""
    return Trace(trace_id, tuple(sorted(hops, key=lambda hop: (hop.at_us - hop.queued_us, hop.at_us, hop.span))))


def only_for(trace: Trace, guild_id: str) -> Trace | None:
    """What a guild's administrator may see of a trace: their guild's hops, and those of no guild. None: nothing."""
    if not any(hop.guild_id == guild_id for hop in trace.hops):
        return None
    return trace_of(trace.trace_id, (hop for hop in trace.hops if hop.guild_id in {"", guild_id}))


def short_id(trace_id: str) -> str:
    """What people are shown, and may type: `3f29-ba34d2`, of a guild event's id both ends, else the first digits."""
    if trace_id[_HALF:].startswith(_NUMBER_BEGINS):
        return f"{trace_id[:_RUN_DIGITS]}-{trace_id[-_NUMBER_DIGITS:]}"
    return trace_id[:RANDOM_DIGITS]


def split_id(text: str) -> tuple[str, str] | None:
    """What an id that somebody typed begins and ends with, or None where it cannot be one: whole, a prefix, or a short form."""
    first, dash, last = text.strip().lower().partition("-")
    if not first or set(first + last) - set("0123456789abcdef") or len(first + last) > 2 * _HALF or (dash and not last):
        return None
    return first, last


def summary(trace: Trace) -> dict[str, Any]:
    """One trace in a list, for programs: the shape of the HTTP API and of `--json`."""
    return {
        "trace_id": trace.trace_id,
        "id": short_id(trace.trace_id),
        "at_us": trace.starts_us,
        "took_us": trace.took_us,
        "guild_id": trace.guild_id or None,
        "kind": trace.kind,
        "what": trace.what,
        "outcome": trace.outcome,
        "why": trace.why,
        "hops": len(trace.hops),
        "processes": sorted({hop.process for hop in trace.hops}),
    }


def details(trace: Trace) -> dict[str, Any]:
    """As `summary`, with all hops under `records`."""
    return {**summary(trace), "records": [as_dict(hop) for hop in trace.hops]}


def trace_from(details: Mapping[str, Any]) -> Trace | None:
    """The trace of such an answer; None where it is none."""
    listed: Sequence[Any] = details.get("records") or ()
    hops = [hop for each in listed if (hop := from_dict(each)) is not None]
    return trace_of(hops[0].trace, hops) if hops else None
