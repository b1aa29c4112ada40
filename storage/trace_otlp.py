"""Traces as OpenTelemetry has them (OTLP): the same request as protobuf, for receivers, and as JSON, for files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flora.messages.version import VERSION
from flora.storage.trace_query import failed
from flora.storage.trace_record import TraceRecord

SCOPE = "flora"
_IDS = ("traceId", "spanId", "parentSpanId")  # which JSON has in hex, not in base64 as the rest of protobuf


def export_request(hops: Iterable[TraceRecord], run_id: str = "") -> ExportTraceServiceRequest:
    """One resource per process, one span per hop.

    Args:
        run_id: Tells this start of the system from others, if known.
    """
    request = ExportTraceServiceRequest()
    by_process: dict[str, list[TraceRecord]] = {}
    for hop in hops:
        by_process.setdefault(hop.process, []).append(hop)
    for process, own in by_process.items():
        part = request.resource_spans.add()
        facts = {"service.name": "flora", "service.version": VERSION, "service.instance.id": process}
        part.resource.attributes.extend(_attributes({**facts, "flora.run_id": run_id}))
        scope = part.scope_spans.add()
        scope.scope.name, scope.scope.version = SCOPE, VERSION
        scope.spans.extend(_span(hop) for hop in own)
    return request


def export_json(hops: Iterable[TraceRecord]) -> dict[str, Any]:
    """The same as JSON, as receivers and tools read it from a file."""
    document: dict[str, Any] = MessageToDict(export_request(hops), use_integers_for_enums=True)
    for part in document.get("resourceSpans", ()):
        for scope in part["scopeSpans"]:
            for span in scope["spans"]:
                span.update({key: base64.b64decode(span[key]).hex() for key in _IDS if key in span})
    return document


def _span(hop: TraceRecord) -> Span:
    facts = {
        "flora.guild_id": hop.guild_id,
        "flora.event": hop.event,
        "flora.kind": hop.kind,
        "flora.outcome": hop.outcome,
        "flora.queued_us": hop.queued_us or "",
        **{f"flora.{key}": value for key, value in hop.attrs.items()},
    }
    span = Span(
        trace_id=bytes.fromhex(hop.trace),
        span_id=bytes.fromhex(hop.span),
        parent_span_id=_parent(hop.parent),
        name=hop.name,
        kind=_kind(hop),
        start_time_unix_nano=hop.at_us * 1000,
        end_time_unix_nano=hop.ends_us * 1000,
        attributes=_attributes(facts),
    )
    if failed(hop):
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=hop.why or hop.outcome))
    return span


def _parent(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _kind(hop: TraceRecord) -> Span.SpanKind.ValueType:
    if hop.name.startswith("rest "):
        return Span.SPAN_KIND_CLIENT
    if hop.name.startswith("http "):
        return Span.SPAN_KIND_SERVER
    if not hop.parent and hop.kind == "event":
        return Span.SPAN_KIND_CONSUMER
    return Span.SPAN_KIND_INTERNAL


def _attributes(facts: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in facts.items() if value != "" and value is not None]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))
