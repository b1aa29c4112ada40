"""Adds up what actors count, so that no counter falls when one of them is replaced or does not answer. Pure.

A counter that fell would look to Prometheus like one that began anew: everything that the living ones had counted would be counted once
more. So the last word of each life of an actor is kept, and what an actor had counted before it died is added to what its successor
counts. Only this process remembers; when it is replaced itself, counters fall to what the living have counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flora.http.metrics.numbers import falls_with_its_actor
from flora.messages.metrics import FAMILIES, Answer, Kind, Labels, Sample, Series

PERCENTILES = (50, 95, 99)
MAX_ABSENT = 256
"""Lives that have not been heard of lately whose last word is kept as it is; older ones are added up for good."""


class Totals:
    """One per server. `note` what each actor says, then ask."""

    def __init__(self) -> None:
        self._lives: dict[str, Answer] = {}  # by actor: its last word, the longest unheard first
        self._past_numbers: Counter[str] = Counter()
        self._past_series: dict[str, dict[Labels, Sample]] = {}
        self._present: dict[str, Answer] = {}

    def begin(self) -> None:
        """A new reading: gauges of actors that do not answer this time are left out."""
        self._present = {}

    def note(self, actor: str, answer: Answer) -> None:
        """One actor's answer to `ReadMetrics`."""
        before = self._lives.pop(actor, None)
        if before is not None and before.get("incarnation") != answer.get("incarnation"):
            self._bury(actor, before)
        self._lives[actor] = self._present[actor] = answer
        while len(self._lives) - len(self._present) > MAX_ABSENT:
            absent = next(name for name in self._lives if name not in self._present)
            self._bury(absent, self._lives.pop(absent))

    def _bury(self, actor: str, answer: Answer) -> None:
        for name, value in _numbers_of(actor, answer):
            if falls_with_its_actor(name):
                self._past_numbers[name] += value
        _add(self._past_series, answer.get("series", {}), _is_counted)

    def numbers(self) -> dict[str, Any]:
        """The numbers of GET /api/metrics/json."""
        total: dict[str, Any] = {}
        for actor, answer in self._lives.items():
            for name, value in _numbers_of(actor, answer):
                if actor in self._present or falls_with_its_actor(name):
                    total[name] = total.get(name, 0) + value
        for name, value in self._past_numbers.items():
            total[name] = total.get(name, 0) + value
        return total | latencies(self._present.values())

    def series(self) -> dict[str, dict[Labels, Sample]]:
        """All labelled series, by key of `FAMILIES`."""
        total: dict[str, dict[Labels, Sample]] = {key: dict(found) for key, found in self._past_series.items()}
        for answer in self._lives.values():
            _add(total, answer.get("series", {}), _is_counted)
        for answer in self._present.values():
            _add(total, answer.get("series", {}), _is_gauge)
        return total


def latencies(answers: Any) -> dict[str, int]:
    """Mean and percentiles of the dispatches that went well, of all workers as one sample; whole µs."""
    samples = sorted(value for answer in answers for value in answer.get("latencies_us", ()))
    if not samples and not any("latencies_us" in answer for answer in answers):
        return {}
    mean = sum(samples) // len(samples) if samples else 0
    return {"avg_latency_us": mean} | {
        f"p{percent}_latency_us": nearest_rank(samples, percent) for percent in PERCENTILES
    }


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """Nearest-rank percentile of an ascending sequence; 0 for an empty one."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else 0


def _numbers_of(actor: str, answer: Answer) -> list[tuple[str, Any]]:
    """Only the router and the workers have any."""
    if actor != "router" and not actor.startswith("worker "):
        return []
    return [(name, value) for name, value in answer.items() if isinstance(value, int | float)]


def _is_counted(key: str) -> bool:
    return key in FAMILIES and FAMILIES[key].kind is not Kind.GAUGE


def _is_gauge(key: str) -> bool:
    return key in FAMILIES and FAMILIES[key].kind is Kind.GAUGE


def _add(total: dict[str, dict[Labels, Sample]], series: Series, wanted: Any) -> None:
    for key, found in series.items():
        if wanted(key):
            into = total.setdefault(key, {})
            for labels, sample in found.items():
                known = into.get(labels)
                into[labels] = sample if known is None else _sum(known, sample)


def _sum(one: Sample, other: Sample) -> Sample:
    if isinstance(one, int) or isinstance(other, int):
        assert isinstance(one, int), "samples of one family are of one kind"
        assert isinstance(other, int), "samples of one family are of one kind"
        return one + other
    return tuple(map(int.__add__, one[0], other[0])), one[1] + other[1]
