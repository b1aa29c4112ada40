"""Families of points: between what is counted and the formats in which it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Buckets(NamedTuple):
    """A histogram's value."""

    bounds: Sequence[float]  # upper ends
    counts: Sequence[int]  # one more than bounds: what is above all of them
    sum: float


class Point(NamedTuple):
    """One series' value now."""

    labels: Mapping[str, str]
    value: float | Buckets


class Shown(NamedTuple):
    """One family. `name` has no `_total`; kind: counter, gauge, histogram, or unknown."""

    name: str
    kind: str
    help: str
    points: Sequence[Point]
