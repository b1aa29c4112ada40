"""Families in Prometheus' text format or in OpenMetrics, written by Prometheus' own library."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from flora.http.metrics.points import Buckets, Point, Shown

OPENMETRICS = "application/openmetrics-text"
TEXT = "text/plain"


class _Once(Collector):
    """Gives the registry what one reading found; nothing is counted in the library."""

    def __init__(self, families: Iterable[Shown]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            yield metric_of(family)


def exposition(families: Iterable[Shown], accept: str) -> tuple[bytes, str]:
    """The answer's body and content type.

    Args:
        accept: The request's Accept header; OpenMetrics for those who name it, as Prometheus does.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    if OPENMETRICS in accept:
        body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return body, f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
    return generate_latest(registry), f"{TEXT}; charset=utf-8"


def metric_of(family: Shown) -> Metric:
    """A family as the library has them."""
    metric = Metric(family.name, family.help, family.kind)
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    for point in family.points:
        if isinstance(point.value, Buckets):
            _add_histogram(metric, family.name, point, point.value)
        else:
            metric.add_sample(name, dict(point.labels), point.value)
    return metric


def _add_histogram(metric: Metric, name: str, point: Point, value: Buckets) -> None:
    ends = [*map(floatToGoString, value.bounds), "+Inf"]
    below = list(accumulate(value.counts))
    for end, count in zip(ends, below, strict=True):
        metric.add_sample(f"{name}_bucket", {**point.labels, "le": end}, count)
    metric.add_sample(f"{name}_count", dict(point.labels), below[-1])
    metric.add_sample(f"{name}_sum", dict(point.labels), value.sum)
