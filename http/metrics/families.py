"""All that a reading found, as families of points. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flora.http.metrics.facts import families_of
from flora.http.metrics.numbers import number_of
from flora.http.metrics.points import Buckets, Point, Shown
from flora.http.metrics.reading import Reading
from flora.messages.metrics import FAMILIES, Family, Labels, S, Sample

PROCESS = (
    ("cpu_us", "flora_process_cpu_seconds", "counter", "Processor time of an actor's process.", S),
    ("rss_bytes", "flora_process_resident_bytes", "gauge", "Resident memory of an actor's process.", 1),
    ("unknown_messages", "flora_unknown_messages", "counter", "Messages that an actor did not know.", 1),
    ("traces_lost", "flora_trace_records_lost", "counter", "Hops of traces that could not be written down.", 1),
)
_ALWAYS = frozenset(family.name for family in FAMILIES.values())


def families(reading: Reading) -> list[Shown]:
    """Every family, each name once; what actors count with labels is there also while it has no series."""
    found: dict[str, Shown] = {}
    for family in (
        *_numbers(reading),
        *_of_actors(reading),
        *_labelled(reading),
        *families_of(reading.workers, reading.guilds),
    ):
        known = found.get(family.name)
        if known is not None:  # a total and its parts, under one name since before there were parts
            found[family.name] = known._replace(points=[*known.points, *family.points])
        elif family.points or family.name in _ALWAYS:
            found[family.name] = family
    return list(found.values())


def _numbers(reading: Reading) -> Iterator[Shown]:
    for field, value in reading.numbers.items():
        number = number_of(field)
        if number is not None:
            yield Shown(number.name, number.kind, number.help, [Point({}, value)])


def _of_actors(reading: Reading) -> Iterator[Shown]:
    up = [Point({"actor": actor}, int(is_up)) for actor, is_up in reading.up.items()]
    yield Shown("flora_up", "gauge", "1: the actor told its metrics; 0: it is away, or silent.", up)
    for field, name, kind, text, per_unit in PROCESS:
        known = [(actor, facts[field]) for actor, facts in reading.processes.items() if field in facts]
        yield Shown(name, kind, text, [Point({"actor": actor}, value / per_unit) for actor, value in known])


def _labelled(reading: Reading) -> Iterator[Shown]:
    for key, family in FAMILIES.items():
        yield Shown(
            family.name, family.kind.value, family.help, list(_points(family, reading.series.get(key, {}).items()))
        )


def _points(family: Family, samples: Iterable[tuple[Labels, Sample]]) -> Iterator[Point]:
    bounds = [bound / family.per_unit for bound in family.bounds]
    for values, sample in samples:
        labels: Mapping[str, str] = dict(zip(family.labels, values, strict=True))
        if isinstance(sample, tuple):
            yield Point(labels, Buckets(bounds, sample[0], sample[1] / family.per_unit))
        else:
            yield Point(labels, sample if family.per_unit == 1 else sample / family.per_unit)
