"""Metrics on their way to an OpenTelemetry receiver that is well, slow, away or out of order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from flora.http.metrics.push import MetricsPush
from flora.messages.lifecycle import ReadMetrics
from flora.messages.metrics import FAMILIES
from flora.messages.settings import TelemetrySettings

HISTOGRAM = ((2, *[0] * (len(FAMILIES["cron_lateness"].bounds) - 1), 1), 2_500_000)
ANSWER = {
    "incarnation": "a",
    "dispatch_total": 7,
    "isolate_count": 3,
    "series": {"cron_lateness": {(): HISTOGRAM}, "kv": {("get", "ok"): 5}},
}


def received(receiver: Any) -> dict[str, Metric]:
    """What came last, by name."""
    return {metric.name: metric for metric in receiver.requests[-1][2].resource_metrics[0].scope_metrics[0].metrics}


class Pushing:
    """A push whose pauses last until the test says otherwise."""

    def __init__(self, host: Any, url: str) -> None:
        self.own = host.deps.own
        self._may_go_on = asyncio.Semaphore(0)
        self._resting = asyncio.Event()
        settings = TelemetrySettings(endpoint=url, headers=(("x-key", "7"),), interval_s=15)
        self.push = MetricsPush(host.server.metrics, settings, self.own, "5f3a", self._sleep, limit_s=0.3)

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 15
        self._resting.set()
        await self._may_go_on.acquire()

    async def once(self) -> None:
        """One interval is over; until the next one begins."""
        await asyncio.wait_for(self._resting.wait(), 10)
        self._resting.clear()
        self._may_go_on.release()
        await asyncio.wait_for(self._resting.wait(), 10)


@pytest.fixture
async def pushing(host: Any, receiver: Any) -> AsyncIterator[Pushing]:
    host.system.answers[ReadMetrics] = lambda _: ANSWER
    pushing = Pushing(host, receiver.url)
    pushing.push.start()
    yield pushing
    await pushing.push.stop()


pytestmark = pytest.mark.service


async def test_given_a_receiver_when_it_is_time_then_it_is_sent_everything_with_types_units_and_labels(
    pushing: Pushing, receiver: Any
) -> None:
    await pushing.once()

    path, key, request = receiver.requests[0]
    facts = {each.key: each.value.string_value for each in request.resource_metrics[0].resource.attributes}
    found = received(receiver)
    total, isolates = found["flora_dispatch"].sum, found["flora_isolate_count"].gauge
    kv = found["flora_kv_operations"].sum.data_points[0]
    lateness = found["flora_cron_lateness_seconds"]
    late = lateness.histogram.data_points[0]
    assert (path, key, facts["service.name"], facts["flora.run_id"]) == ("/v1/metrics", "7", "flora", "5f3a")
    assert (total.data_points[0].as_int, total.is_monotonic, total.aggregation_temporality) == (7, True, 2)
    assert isolates.data_points[0].as_int == 3
    assert {each.key: each.value.string_value for each in kv.attributes} == {"kind": "get", "outcome": "ok"}
    assert kv.as_int == 5 * 5, "each of the five that live here says the same"
    assert (late.count, late.sum, lateness.unit) == (5 * 3, 5 * 2.5, "s")
    assert list(late.explicit_bounds)[:2] == [0.001, 0.005]
    assert len(late.bucket_counts) == len(late.explicit_bounds) + 1
    assert 0 < late.start_time_unix_nano <= late.time_unix_nano
    assert pushing.own.pushes == {"taken": 1}


async def test_given_a_receiver_out_of_order_when_it_is_well_again_then_one_warning_and_one_line_were_told(
    pushing: Pushing, receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    receiver.statuses = [500, 503, 500]
    for _ in range(5):
        await pushing.once()

    told = [record.action for record in caplog.records if record.name == "flora.http.metrics.push"]
    assert told == ["metrics_push_away", "metrics_push_back"]
    assert pushing.own.pushes == {"refused": 2, "failed": 1, "taken": 2}
    assert received(receiver)["flora_dispatch"].sum.data_points[0].as_int == 7, "nothing that was lost is missing"


async def test_given_a_receiver_that_never_answers_when_pushed_to_then_the_server_goes_on_and_it_is_counted(
    pushing: Pushing, receiver: Any, host: Any
) -> None:
    receiver.silent = True
    pushed = asyncio.ensure_future(pushing.once())

    answered = await host.get("/api/metrics", token="operator-secret-for-tests")
    await pushed

    assert answered.status == 200
    assert pushing.own.pushes == {"failed": 1}


async def test_given_nobody_at_the_address_when_pushed_to_then_it_is_counted(host: Any, receiver: Any) -> None:
    host.system.answers[ReadMetrics] = lambda _: ANSWER
    pushing = Pushing(host, "http://127.0.0.1:9")
    pushing.push.start()

    await pushing.once()
    await pushing.push.stop()

    assert pushing.own.pushes == {"failed": 1}


def test_given_no_receiver_when_the_front_end_is_imported_then_nothing_of_opentelemetry_is() -> None:
    heavy = ("opentelemetry.proto", "google.protobuf")
    program = f"import sys, flora.actors.http_frontend as _; print([m for m in sys.modules if m.startswith({heavy})])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
