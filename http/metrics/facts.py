"""Series about single workers, and single guilds of a bounded number. Pure.

Time series cost whoever collects them memory for each value that a label ever had: see `MAX_GUILDS` of `flora.messages.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flora.http.metrics.points import Point, Shown

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


def families_of(workers: Sequence[Facts], guilds: Facts) -> Iterator[Shown]:
    """What the router says of workers and guilds, as families.

    Args:
        workers: As GET /api/workers.
        guilds: "notable", "states", "placements" of its answer to `ReadMetrics`; nothing when it gave none.
    """
    for metric in PER_WORKER:
        yield _family(metric, [({"worker": str(facts["worker"])}, metric.value(facts)) for facts in workers])
    yield _counted("flora_guilds", "Guilds with a script, by state.", "state", guilds.get("states", {}))
    yield _counted(
        "flora_guilds_placed", "Guilds with a script, by placement.", "placement", guilds.get("placements", {})
    )
    listed = guilds.get("notable", ())
    for metric in PER_GUILD:
        yield _family(metric, [({"guild_id": facts["guild_id"]}, metric.value(facts)) for facts in listed])
    states = [Point({"guild_id": facts["guild_id"], "state": str(facts["state"])}, 1) for facts in listed]
    yield Shown("flora_guild_state", "gauge", "1 for the state that the guild's isolate is in.", states)


def _counted(name: str, text: str, label: str, counts: Mapping[str, int]) -> Shown:
    return Shown(name, "gauge", text, [Point({label: value}, count) for value, count in counts.items()])


def _family(metric: Labelled, rows: Iterable[tuple[dict[str, str], float | None]]) -> Shown:
    points = [Point(labels, number) for labels, number in rows if number is not None]
    return Shown(metric.name, metric.kind, metric.help, points)
