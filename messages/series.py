"""What actors count with labels: histograms with fixed buckets and counters, as cheap as a dict and a bisection. Pure.

Cost, on one core: 0.2 µs for a value in a histogram that is at hand, 0.3 µs with two labels looked up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence

from flora.messages.metrics import FAMILIES, OTHER, HistogramSample, Labels, Sample


class Histogram:
    """Counts whole numbers per bucket. A value that equals a bound is in the bucket below it, as Prometheus wants it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, key: str) -> None:
        """Makes an empty one with the bounds of `FAMILIES[key]`."""
        self._bounds = FAMILIES[key].bounds
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0

    def add(self, value: int) -> None:
        """Counts a value; one below 0 (a clock was set) counts as 0."""
        value = max(value, 0)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_descending(self, values: Sequence[int]) -> None:
        """Counts many values at once, the largest first: one bisection per bucket instead of one per value."""
        if len(values) < len(self._bounds):
            for value in values:
                self.add(value)
            return
        if values[-1] < 0:
            values = [max(0, value) for value in values]
        left = len(values)  # of them, those at or before this place are larger than the bounds looked at so far
        for bucket, bound in enumerate(self._bounds):
            place = bisect_right(values, -bound - 1, 0, left, key=_negative)
            self._counts[bucket] += left - place
            left = place
            if not left:
                break
        self._counts[-1] += left
        self._sum += sum(values)

    def sample(self) -> HistogramSample:
        """For `ReadMetrics`."""
        return tuple(self._counts), self._sum


def _negative(value: int) -> int:
    return -value


class Histograms:
    """One histogram per combination of two labels; first labels outside a known set count as `OTHER`."""

    def __init__(self, key: str, known: Collection[str]) -> None:
        self._key = key
        self._by_label: dict[str, dict[str, Histogram]] = {name: {} for name in (*known, OTHER)}

    def add(self, first: str, second: str, value: int) -> None:
        """Counts a value. `second` must come from a bounded set."""
        found = self._by_label.get(first)
        if found is None:
            found = self._by_label[OTHER]
        histogram = found.get(second)
        if histogram is None:
            histogram = found[second] = Histogram(self._key)
        histogram.add(value)

    def samples(self) -> dict[Labels, Sample]:
        """For `ReadMetrics`."""
        return {
            (first, second): histogram.sample()
            for first, found in self._by_label.items()
            for second, histogram in found.items()
        }


class BoundedLabels:
    """Lets the first so many values of a label through; what comes after them is `OTHER`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._most:
            return OTHER
        self._seen.add(value)
        return value


def counted(counts: Mapping[str, int] | Mapping[Labels, int]) -> dict[Labels, Sample]:
    """Counters of one label, or of several as tuples, for `ReadMetrics`."""
    return {(labels,) if isinstance(labels, str) else labels: count for labels, count in counts.items()}


def alone(sample: Sample) -> dict[Labels, Sample]:
    """A family without labels, for `ReadMetrics`."""
    return {(): sample}
