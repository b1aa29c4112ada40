"""What `flora top` shows: two samples of the API → lines of a screen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flora.scripts.cli.output import safe, size
from flora.scripts.cli.workers import state_of

Facts = Mapping[str, Any]
MOST_WORKERS = 12  # on one screen; the busiest
_HEAT = ((90, "31"), (60, "33"))  # from so many percent on, in this colour


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a running flora: GET /metrics/json, /workers and /guilds/status, at `at_s` monotonic."""

    at_s: float
    metrics: Facts
    workers: Sequence[Facts]
    guilds: Sequence[Facts]


@dataclass(frozen=True, slots=True)
class GuildRow:
    """One guild's line."""

    guild_id: str
    worker: str
    state: str
    cpu_percent: float
    events_per_s: float
    waiting: int
    memory_bytes: int
    refused: int


SORTS: dict[str, tuple[str, Callable[[GuildRow], Any]]] = {
    "c": ("processor", lambda row: row.cpu_percent),
    "e": ("events", lambda row: row.events_per_s),
    "w": ("waiting", lambda row: row.waiting),
    "m": ("memory", lambda row: row.memory_bytes),
    "s": ("state", lambda row: row.state != "serving"),
}
"""By key: what guilds are sorted by, the highest first."""


def rate(before: Facts | None, now: Facts, name: str, seconds: float) -> float:
    """How fast a counter grows, per second; 0 where it began anew or nothing is known."""
    if before is None or seconds <= 0:
        return 0.0
    return max(0.0, ((now.get(name) or 0) - (before.get(name) or 0)) / seconds)


def screen(before: Sample | None, now: Sample, *, sort: str, columns: int, rows: int, colour: bool) -> list[str]:
    """At most `rows` lines of at most `columns` visible characters.

    Args:
        sort: A key of SORTS.
        before: The sample that rates are counted from; None: the first screen, without rates.
    """
    seconds = now.at_s - before.at_s if before is not None else 0.0
    lines = [*_head(before, now, seconds), "", *_workers(before, now, seconds, colour=colour), ""]
    listed = guild_rows(before, now, seconds)
    listed.sort(key=lambda row: row.guild_id)
    listed.sort(key=SORTS[sort][1], reverse=True)
    lines.append(
        f"GUILDS by {SORTS[sort][0]} ({', '.join(f'{key} {name}' for key, (name, _) in SORTS.items())}; q ends)"
    )
    lines.append(
        f"{'guild':<20} {'worker':>6} {'state':<10} {'cpu':>7} {'events/s':>9} {'waiting':>8} {'memory':>9} {'refused':>8}"
    )
    lines += [_guild_line(row, colour=colour) for row in listed]
    if len(lines) > rows:
        hidden = len(lines) - rows + 1
        lines = [*lines[: rows - 1], f"… and {hidden} more"]
    return [_cut(line, columns) for line in lines]


def _head(before: Sample | None, now: Sample, seconds: float) -> list[str]:
    metrics, earlier = now.metrics, before.metrics if before is not None else None

    def per_s(name: str) -> str:
        return f"{rate(earlier, metrics, name, seconds):.0f}/s"

    states: dict[str, int] = {}
    for guild in now.guilds:
        states[guild["state"]] = states.get(guild["state"], 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items(), key=lambda item: -item[1]))
    dropped = rate(earlier, metrics, "events_shed", seconds) + rate(earlier, metrics, "events_without_isolate", seconds)
    latency = " ".join(f"p{p} {(metrics.get(f'p{p}_latency_us') or 0) / 1000:.1f} ms" for p in (50, 95, 99))
    return [
        f"flora   {len(now.guilds)} guilds ({told or 'none'}), {len(now.workers)} workers",
        (
            f"events  {per_s('dispatch_total')} done, {per_s('dispatch_errors')} failed,"
            f" {per_s('timeout_errors')} timed out, {dropped:.0f}/s dropped; {latency}"
        ),
        (
            f"calls   {per_s('rest_calls')} to Discord, {per_s('fetches')} fetched, {per_s('kv_gets')} kv reads,"
            f" {per_s('kv_sets')} kv writes"
        ),
    ]


def _workers(before: Sample | None, now: Sample, seconds: float, *, colour: bool) -> list[str]:
    earlier = {facts["worker"]: facts for facts in before.workers} if before is not None else {}
    lines = [
        f"{'worker':<8} {'kind':<10} {'state':<9} {'guilds':>6} {'waiting':>8} {'cpu':>7} {'load':>6} {'memory':>9} {'restarts':>9}"
    ]
    cpu = {facts["worker"]: _cpu_percent(earlier.get(facts["worker"]), facts, seconds) for facts in now.workers}
    shown = sorted(now.workers, key=lambda facts: (facts["up"], -cpu[facts["worker"]]))[:MOST_WORKERS]
    for facts in sorted(shown, key=lambda each: int(each["worker"])):
        percent = cpu[facts["worker"]]
        memory = facts.get("rss_bytes")
        lines.append(
            f"{facts['worker']:<8} {'dedicated' if facts['dedicated'] else 'shared':<10} {state_of(facts):<9}"
            f" {facts['guilds']:>6} {facts['unfinished']:>8} {_percent(percent, colour=colour)} {_load(facts):>6}"
            f" {'?' if memory is None else size(memory):>9} {facts['restarts']:>9}"
        )
    if len(now.workers) > MOST_WORKERS:
        lines.append(f"… and {len(now.workers) - MOST_WORKERS} more")
    return lines


def _load(facts: Facts) -> str:
    """Processor time as rebalancing sees it: smoothed."""
    percent = facts.get("cpu_percent")
    return "?" if percent is None else f"{percent:.0f}%"


def _cpu_percent(before: Facts | None, now: Facts, seconds: float) -> float:
    return rate(before, now, "cpu_us", seconds) / 10_000


def guild_rows(before: Sample | None, now: Sample, seconds: float) -> list[GuildRow]:
    """Every guild, in the order of the API."""
    earlier = {facts["guild_id"]: facts.get("usage") or {} for facts in before.guilds} if before is not None else {}
    found = []
    for facts in now.guilds:
        usage: Facts = facts.get("usage") or {}
        was = earlier.get(facts["guild_id"])
        found.append(
            GuildRow(
                guild_id=facts["guild_id"],
                worker="-" if facts["worker"] is None else str(facts["worker"]),
                state=safe(str(facts["state"])),
                cpu_percent=_cpu_percent(was, usage, seconds),
                events_per_s=rate(was, usage, "events_done", seconds),
                waiting=(facts["waiting"] or 0) + (facts["unfinished"] or 0),
                memory_bytes=(usage.get("heap_bytes") or 0) + (usage.get("buffer_bytes") or 0),
                refused=(usage.get("ops_refused") or 0) + (usage.get("log_lines_dropped") or 0),
            )
        )
    return found


def _guild_line(row: GuildRow, *, colour: bool) -> str:
    state = f"{row.state:<10}"
    if colour and row.state != "serving":
        state = f"\x1b[33m{state}\x1b[0m"
    memory = size(row.memory_bytes) if row.memory_bytes else "-"
    return (
        f"{row.guild_id:<20} {row.worker:>6} {state} {_percent(row.cpu_percent, colour=colour)} {row.events_per_s:>9.1f}"
        f" {row.waiting:>8} {memory:>9} {row.refused:>8}"
    )


def _percent(value: float, *, colour: bool) -> str:
    text = f"{value:>6.1f}%"
    heat = next((code for least, code in _HEAT if value >= least), None)
    return f"\x1b[{heat}m{text}\x1b[0m" if colour and heat else text


def _cut(line: str, columns: int) -> str:
    """At most so many visible characters; colours do not count."""
    seen, at = 0, 0
    while at < len(line):
        if line[at] == "\x1b":
            at = line.index("m", at) + 1
            continue
        if seen == columns:
            return line[:at] + ("\x1b[0m" if "\x1b" in line else "")
        seen += 1
        at += 1
    return line
