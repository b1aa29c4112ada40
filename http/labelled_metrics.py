"""Metrics with labels: one series per worker, and per guild for a bounded number of guilds. Pure.

Time series cost whoever collects them memory for each value that a label ever had. So at most `MAX_GUILDS` guilds are listed:
those that are not simply serving on a shared worker first, then those that used the most processor time in the last minute.
What is left out is in the totals without labels, and in GET /api/guilds/status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flora.messages.placement import GuildState, Placement

MAX_GUILDS = 100

Facts = Mapping[str, Any]


class Labelled(NamedTuple):
    """How one fact is called in Prometheus, and where it comes from; None: not known, so not shown."""

    name: str
    kind: str
    help: str
    value: Callable[[Facts], float | None]


def _fact(name: str, scale: float = 1.0) -> Callable[[Facts], float | None]:
    def value(facts: Facts) -> float | None:
        found = facts.get(name)
        return found * scale if isinstance(found, int | float) else None

    return value


def _use(name: str, scale: float = 1.0) -> Callable[[Facts], float | None]:
    fact = _fact(name, scale)
    return lambda facts: fact(facts.get("usage") or {})


PER_WORKER = (
    Labelled("flora_worker_up", "gauge", "1: the worker serves; 0: it is being restarted.", _fact("up")),
    Labelled("flora_worker_guilds", "gauge", "Guilds that run in the worker.", _fact("guilds")),
    Labelled("flora_worker_unfinished_events", "gauge", "Events sent to the worker and not done.", _fact("unfinished")),
    Labelled("flora_worker_restarts_total", "counter", "Times the worker was started again.", _fact("restarts")),
    Labelled("flora_worker_resident_bytes", "gauge", "Resident memory of the worker.", _fact("rss_bytes")),
    Labelled("flora_worker_cpu_seconds_total", "counter", "Processor time of the worker.", _fact("cpu_us", 1e-6)),
)
PER_GUILD = (
    Labelled("flora_guild_cpu_seconds_total", "counter", "Processor time of the guild's script.", _use("cpu_us", 1e-6)),
    Labelled("flora_guild_events_total", "counter", "Events that the guild's script has done.", _use("events_done")),
    Labelled("flora_guild_throttled_total", "counter", "Times its processor budget was used up.", _use("throttled")),
    Labelled("flora_guild_rebuilds_total", "counter", "Times its isolate was made anew.", _use("rebuilds")),
    Labelled("flora_guild_ops_refused_total", "counter", "Operations refused at a limit.", _use("ops_refused")),
    Labelled("flora_guild_log_lines_dropped_total", "counter", "Log lines over the limit.", _use("log_lines_dropped")),
    Labelled("flora_guild_buffer_bytes", "gauge", "Typed arrays of its isolate.", _use("buffer_bytes")),
    Labelled("flora_guild_waiting_events", "gauge", "Events that wait for its isolate.", _fact("waiting")),
    Labelled("flora_guild_unfinished_events", "gauge", "Events sent to its isolate and not done.", _fact("unfinished")),
)


def notable(guilds: Iterable[Facts], most: int = MAX_GUILDS) -> list[Facts]:
    """The guilds that get series of their own."""

    def rank(facts: Facts) -> tuple[bool, float, str]:
        usage = facts.get("usage") or {}
        ordinary = facts["state"] == GuildState.SERVING and facts["placement"] == Placement.SHARED
        return ordinary, -usage.get("cpu_us_last_minute", 0), facts["guild_id"]

    return sorted(guilds, key=rank)[:most]


def prometheus_text(workers: Sequence[Facts], guilds: Sequence[Facts]) -> str:
    """Prometheus text of what `DescribeWorkers` and `DescribeGuilds` said; "" when they said nothing."""
    if not workers:
        return ""
    listed = notable(guilds)
    lines = _family("flora_guilds", "gauge", "Guilds with a script, by state.", _counted("state", GuildState, guilds))
    lines += _family(
        "flora_guilds_placed", "gauge", "Guilds with a script, by placement.", _counted("placement", Placement, guilds)
    )
    for metric in PER_WORKER:
        rows = [({"worker": str(facts["worker"])}, metric.value(facts)) for facts in workers]
        lines += _family(metric.name, metric.kind, metric.help, rows)
    for metric in PER_GUILD:
        rows = [({"guild_id": facts["guild_id"]}, metric.value(facts)) for facts in listed]
        lines += _family(metric.name, metric.kind, metric.help, rows)
    states = [({"guild_id": facts["guild_id"], "state": facts["state"]}, 1.0) for facts in listed]
    lines += _family("flora_guild_state", "gauge", "1 for the state that the guild's isolate is in.", states)
    return "".join(f"{line}\n" for line in lines)


def _counted(name: str, values: Iterable[str], guilds: Sequence[Facts]) -> list[tuple[dict[str, str], float | None]]:
    counts = Counter(str(facts[name]) for facts in guilds)
    return [({name: str(value)}, float(counts[str(value)])) for value in values]


def _family(name: str, kind: str, text: str, rows: Iterable[tuple[Mapping[str, str], float | None]]) -> list[str]:
    samples = [f"{name}{_labels(labels)} {_number(number)}" for labels, number in rows if number is not None]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples] if samples else []


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items()) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
