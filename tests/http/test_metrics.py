from __future__ import annotations

from typing import Any

import pytest

from flora.http.routes.metrics import METRICS, prometheus_text
from flora.messages.lifecycle import ReadMetrics
from flora.messages.placement import DescribeGuilds, DescribeWorkers

SECRET = "operator-secret-for-tests"


def test_every_documented_metric_has_help_type_and_value() -> None:
    text = prometheus_text(dict.fromkeys(METRICS, 3))

    assert "# TYPE flora_dispatch_errors_total counter\nflora_dispatch_errors_total 3\n" in text
    assert "# TYPE flora_dispatch_latency_p99_us gauge\nflora_dispatch_latency_p99_us 3\n" in text
    assert text.count("# HELP ") == len(METRICS) >= 18


def test_numbers_nobody_named_are_still_shown_if_their_name_can_be() -> None:
    lines = prometheus_text({"events_dropped": 2.5, "guild 5": 1}).splitlines()

    assert lines[1:] == ["# TYPE flora_events_dropped untyped", "flora_events_dropped 2.5"]


@pytest.mark.service
async def test_metrics_come_as_text_and_as_json(host: Any) -> None:
    host.system.answers[ReadMetrics] = lambda _: {"isolate_count": 4, "avg_latency_us": 1.25, "note": "no number"}
    host.system.answers[DescribeWorkers] = host.system.answers[DescribeGuilds] = lambda _: []

    text = await host.get("/api/metrics", token=SECRET)
    values = await host.get("/api/metrics/json", token=SECRET)

    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "flora_isolate_count 4\n" in await text.text()
    assert await values.json() == {"isolate_count": 4, "avg_latency_us": 1.25}
