"""Families as OpenTelemetry has them: one ExportMetricsServiceRequest. Imported only where metrics are pushed: it brings protobuf along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from flora.http.metrics.points import Buckets, Point, Shown
from flora.messages.version import VERSION

UNITS = {"_seconds": "s", "_bytes": "By"}
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def export_request(families: Iterable[Shown], run_id: str, since_ns: int, now_ns: int) -> bytes:
    """The serialized request.

    Args:
        run_id: Tells this start of the system from others.
        since_ns: When counting began, since 1970.
        now_ns: When the families were read, since 1970.
    """
    request = ExportMetricsServiceRequest()
    part = request.resource_metrics.add()
    facts = {"service.name": "flora", "service.version": VERSION, "flora.run_id": run_id}
    part.resource.attributes.extend(_attributes(facts))
    scope = part.scope_metrics.add()
    scope.scope.name, scope.scope.version = "flora", VERSION
    for family in families:
        if not family.points:
            continue
        _fill(scope.metrics.add(), family, since_ns, now_ns)
    body: bytes = request.SerializeToString()
    return body


def _fill(metric: Metric, family: Shown, since_ns: int, now_ns: int) -> None:
    metric.name, metric.description = family.name, family.help
    metric.unit = next((unit for suffix, unit in UNITS.items() if family.name.endswith(suffix)), "1")
    if family.kind == "histogram":
        metric.histogram.aggregation_temporality = CUMULATIVE
        metric.histogram.data_points.extend(_histogram(point, since_ns, now_ns) for point in family.points)
    elif family.kind == "counter":
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = CUMULATIVE, True
        metric.sum.data_points.extend(_number(point, since_ns, now_ns) for point in family.points)
    else:
        metric.gauge.data_points.extend(_number(point, 0, now_ns) for point in family.points)


def _number(point: Point, since_ns: int, now_ns: int) -> NumberDataPoint:
    assert not isinstance(point.value, Buckets)
    value = {"as_int": point.value} if isinstance(point.value, int) else {"as_double": point.value}
    attributes = _attributes(point.labels)
    return NumberDataPoint(attributes=attributes, start_time_unix_nano=since_ns, time_unix_nano=now_ns, **value)


def _histogram(point: Point, since_ns: int, now_ns: int) -> HistogramDataPoint:
    assert isinstance(point.value, Buckets)
    return HistogramDataPoint(
        attributes=_attributes(point.labels),
        start_time_unix_nano=since_ns,
        time_unix_nano=now_ns,
        count=sum(point.value.counts),
        sum=point.value.sum,
        bucket_counts=point.value.counts,
        explicit_bounds=point.value.bounds,
    )


def _attributes(facts: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in facts.items()]
