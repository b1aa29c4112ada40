"""Traces as Chrome's trace-event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Processes are flora's. Slices of one thread must not overlap unless one is inside the other, and a process handles many things at
once, so each gets as many threads ("at work 1", "at work 2", …) as it needs; waits are slices of their own on threads "waiting …". An
arrow leads from a hop to one that it caused in another process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flora.storage.trace_query import Trace, short_id
from flora.storage.trace_record import OK, TraceRecord

WAITING_FROM = 1000  # thread ids from here on are of waits

Event = dict[str, Any]


@dataclass(slots=True)
class _Lanes:
    """Threads of one process, each free from some µs on."""

    pid: int
    ends_us: dict[int, list[int]] = field(default_factory=dict)  # first thread id → end of the last slice of each

    def place(self, base: int, begin_us: int, end_us: int) -> int:
        """The thread for a slice. Slices come in the order in which they begin."""
        ends = self.ends_us.setdefault(base, [])
        for lane, busy_until_us in enumerate(ends):
            if busy_until_us <= begin_us:
                ends[lane] = end_us
                return base + lane
        ends.append(end_us)
        return base + len(ends) - 1

    def names(self) -> Iterable[tuple[int, str]]:
        for base, ends in self.ends_us.items():
            for lane in range(len(ends)):
                yield base + lane, f"{'waiting' if base == WAITING_FROM else 'at work'} {lane + 1}"


def chrome_trace(traces: Iterable[Trace]) -> dict[str, Any]:
    """The document, `{"traceEvents": […]}`."""
    hops = sorted(
        (hop for trace in traces for hop in trace.hops), key=lambda hop: (hop.at_us - hop.queued_us, hop.at_us)
    )
    processes: dict[str, _Lanes] = {}
    for hop in hops:
        processes.setdefault(hop.process, _Lanes(len(processes) + 1))
    events = [event for hop in hops if hop.queued_us for event in _wait(hop, processes[hop.process])]
    where: dict[tuple[str, str], tuple[TraceRecord, Event]] = {}
    for hop in sorted(hops, key=lambda hop: hop.at_us):
        slice_ = _work(hop, processes[hop.process])
        events.append(slice_)
        where[hop.trace, hop.span] = hop, slice_
    events += [event for caused in where.values() for event in _arrow(caused, where)]
    return {"traceEvents": [*_names(processes), *events], "displayTimeUnit": "ms"}


def _names(processes: dict[str, _Lanes]) -> list[Event]:
    named: list[Event] = []
    for name, lanes in processes.items():
        process = {"ph": "M", "pid": lanes.pid, "tid": 0}
        named.append({**process, "name": "process_name", "args": {"name": name or "unknown"}})
        for tid, thread in lanes.names():
            named.append({**process, "tid": tid, "name": "thread_name", "args": {"name": thread}})
            named.append({**process, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})
    return named


def _wait(hop: TraceRecord, lanes: _Lanes) -> list[Event]:
    begin_us = hop.at_us - hop.queued_us
    slice_ = {"ph": "X", "cat": "wait", "name": f"waits for {hop.name}", "pid": lanes.pid, "ts": begin_us}
    tid = lanes.place(WAITING_FROM, begin_us, hop.at_us)
    return [{**slice_, "tid": tid, "dur": hop.queued_us, "args": {"trace": hop.trace, "span": hop.span}}]


def _work(hop: TraceRecord, lanes: _Lanes) -> Event:
    dur_us = max(1, hop.took_us)
    args = {
        "trace": hop.trace, "short": short_id(hop.trace), "span": hop.span, "parent": hop.parent, "outcome": hop.outcome,
        "guild_id": hop.guild_id, "event": hop.event, "why": hop.why, **hop.attrs,
    }  # fmt: skip
    slice_ = {
        "ph": "X",
        "cat": hop.kind or "hop",
        "name": f"{hop.name} {hop.event}".strip() if hop.event not in hop.name else hop.name,
        "pid": lanes.pid,
        "tid": lanes.place(1, hop.at_us, hop.at_us + dur_us),
        "ts": hop.at_us,
        "dur": dur_us,
        "args": {key: value for key, value in args.items() if value != ""},
    }
    return slice_ if hop.outcome == OK else {**slice_, "cname": "terrible"}


def _arrow(caused: tuple[TraceRecord, Event], where: dict[tuple[str, str], tuple[TraceRecord, Event]]) -> list[Event]:
    hop, to = caused
    parent = where.get((hop.trace, hop.parent))
    if parent is None or parent[0].process == hop.process:
        return []
    cause, since = parent
    # An arrow starts inside its slice: when the other began to wait, or at the end if that was later.
    start_us = min(max(hop.at_us - hop.queued_us, since["ts"]), since["ts"] + since["dur"])
    if start_us > to["ts"]:  # clocks, or a cause that was written down with the wrong times
        return []
    arrow = {"cat": "caused", "name": f"{cause.name} → {hop.name}", "id": f"{hop.trace}{hop.span}"}
    return [
        {**arrow, "ph": "s", "pid": since["pid"], "tid": since["tid"], "ts": start_us},
        {**arrow, "ph": "f", "bp": "e", "pid": to["pid"], "tid": to["tid"], "ts": to["ts"]},
    ]
