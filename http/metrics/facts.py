"""Series about single workers, and single guilds of a bounded number. Pure.

Time series cost whoever collects them memory for each value that a label ever had. So at most `MAX_GUILDS` guilds are listed:
those that are not simply serving on a shared worker first, then those that used the most processor time in the last minute.
What is left out is in the totals without labels, and in GET /api/guilds/status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flora.http.metrics.points import Point, Shown
from flora.messages.placement import GuildState, Placement

MAX_GUILDS = 100

Facts = Mapping[str, Any]


class Labelled(NamedTuple):
    """How one fact is called, and where it comes from; None: not known, so not shown. `name` has no `_total`."""

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
    Labelled("flora_worker_restarts", "counter", "Times the worker was started again.", _fact("restarts")),
    Labelled("flora_worker_resident_bytes", "gauge", "Resident memory of the worker.", _fact("rss_bytes")),
    Labelled("flora_worker_cpu_seconds", "counter", "Processor time of the worker.", _fact("cpu_us", 1e-6)),
)
PER_GUILD = (
    Labelled("flora_guild_cpu_seconds", "counter", "Processor time of the guild's script.", _use("cpu_us", 1e-6)),
    Labelled("flora_guild_events", "counter", "Events that the guild's script has done.", _use("events_done")),
    Labelled("flora_guild_throttled", "counter", "Times its processor budget was used up.", _use("throttled")),
    Labelled("flora_guild_rebuilds", "counter", "Times its isolate was made anew.", _use("rebuilds")),
    Labelled("flora_guild_ops_refused", "counter", "Operations refused at a limit.", _use("ops_refused")),
    Labelled("flora_guild_log_lines_dropped", "counter", "Log lines over the limit.", _use("log_lines_dropped")),
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


def families_of(workers: Sequence[Facts], guilds: Sequence[Facts]) -> Iterator[Shown]:
    """What `DescribeWorkers` and `DescribeGuilds` say, as families; none about workers when there are none."""
    for metric in PER_WORKER:
        yield _family(metric, [({"worker": str(facts["worker"])}, metric.value(facts)) for facts in workers])
    if not workers:
        return
    listed = notable(guilds)
    yield _counted("flora_guilds", "Guilds with a script, by state.", "state", GuildState, guilds)
    yield _counted("flora_guilds_placed", "Guilds with a script, by placement.", "placement", Placement, guilds)
    for metric in PER_GUILD:
        yield _family(metric, [({"guild_id": facts["guild_id"]}, metric.value(facts)) for facts in listed])
    states = [Point({"guild_id": facts["guild_id"], "state": str(facts["state"])}, 1) for facts in listed]
    yield Shown("flora_guild_state", "gauge", "1 for the state that the guild's isolate is in.", states)


def _counted(name: str, text: str, label: str, values: Iterable[str], guilds: Sequence[Facts]) -> Shown:
    counts = Counter(str(facts[label]) for facts in guilds)
    return Shown(name, "gauge", text, [Point({label: str(value)}, counts[str(value)]) for value in values])


def _family(metric: Labelled, rows: Iterable[tuple[dict[str, str], float | None]]) -> Shown:
    points = [Point(labels, number) for labels, number in rows if number is not None]
    return Shown(metric.name, metric.kind, metric.help, points)
