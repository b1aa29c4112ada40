"""Traces on their way to an OpenTelemetry receiver that is well, slow, away or out of order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flora.http.otlp_receiver import OtlpReceiver, Sent
from flora.http.trace_push import PushPauses, TracePush
from flora.messages.settings import TelemetrySettings
from flora.storage.trace_files import TraceWriter
from flora.storage.trace_record import TraceRecord

pytestmark = pytest.mark.service


def spans(receiver: Any) -> list[str]:
    """Names of all that came."""
    return [
        span.name
        for _, _, request in receiver.requests
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


class Pushing:
    """A push whose pauses last until the test says otherwise."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.pauses: list[float] = []
        self.may_go_on = asyncio.Semaphore(0)
        self.resting = asyncio.Event()
        settings = TelemetrySettings(endpoint=url, headers=(("x-key", "7"),), interval_s=15)
        self.push = TracePush(folder, settings, "5f3a9c1be2d04471", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.resting.set()
        await self.may_go_on.acquire()

    async def rest(self) -> None:
        """Until it rests."""
        await asyncio.wait_for(self.resting.wait(), 10)

    async def go_on(self) -> None:
        """One pause is over; until the next one."""
        self.resting.clear()
        self.may_go_on.release()
        await self.rest()


@pytest.fixture
async def pushing(tmp_path: Path, receiver: Any) -> AsyncIterator[Pushing]:
    pushing = Pushing(tmp_path, receiver.url)
    pushing.push.start()
    await pushing.rest()
    yield pushing
    await pushing.push.stop()


def write(folder: Path, *names: str) -> None:
    writer = TraceWriter(folder, "worker 0", 64_000_000)
    for number, name in enumerate(names, 1):
        writer.add(TraceRecord(trace="a" * 32, span=f"{number:016x}", name=name, at_us=5, process="worker 0"))
    writer.close()


async def test_given_new_records_when_it_is_time_then_they_are_sent_once(pushing: Pushing, receiver: Any) -> None:
    write(pushing.folder, "one", "two")

    await pushing.go_on()
    await pushing.go_on()

    assert spans(receiver) == ["one", "two"]
    path, key, request = receiver.requests[0]
    assert (path, key) == ("/v1/traces", "7")
    facts = {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
    assert (facts["service.name"], facts["service.instance.id"]) == ("flora", "worker 0")
    assert facts["flora.run_id"] == "5f3a9c1be2d04471"
    assert pushing.push.hops == {"taken": 2}


async def test_given_a_receiver_that_has_no_time_when_it_has_again_then_nothing_is_lost(
    pushing: Pushing, receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [503, 429]
    write(pushing.folder, "one")
    await pushing.go_on()
    write(pushing.folder, "two")
    await pushing.go_on()
    await pushing.go_on()

    assert spans(receiver) == ["one", "one", "one", "two"]
    assert pushing.push.hops == {"taken": 2}
    assert [r.levelname for r in caplog.records if r.name.startswith("flora") and r.levelname != "INFO"] == ["WARNING"]


async def test_given_a_receiver_that_refuses_when_it_goes_on_then_that_batch_is_counted_and_the_next_one_sent(
    pushing: Pushing, receiver: Any
) -> None:
    receiver.statuses = [500]
    write(pushing.folder, "one")
    await pushing.go_on()
    write(pushing.folder, "two")
    await pushing.go_on()

    assert spans(receiver) == ["one", "two"]
    assert pushing.push.hops == {"refused": 1, "taken": 1}


async def test_given_nobody_there_when_sent_then_it_waits_longer_each_time(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        pushing = Pushing(tmp_path, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        pushing.push.start()
        await pushing.rest()
        write(tmp_path, "one")
        for _ in range(4):
            await pushing.go_on()
        await pushing.push.stop()

    assert pushing.pauses[0] == 15
    assert all(after > before for before, after in zip(pushing.pauses[1:], pushing.pauses[2:], strict=False))


async def test_given_a_receiver_that_never_answers_when_sent_then_it_ends_at_its_limit(receiver: Any) -> None:
    receiver.silent = True
    slow = OtlpReceiver(receiver.url, {}, limit_s=0.05)

    assert await slow.send("/v1/traces", b"") is Sent.LATER
    assert slow.said == "no answer within 0.05 s"
    await slow.close()


@pytest.mark.parametrize(
    ("status", "sent"), [(200, "taken"), (204, "taken"), (400, "refused"), (307, "refused"), (502, "later")]
)
async def test_given_an_answer_then_it_says_what_became_of_it(receiver: Any, status: int, sent: str) -> None:
    receiver.statuses = [status]
    client = OtlpReceiver(receiver.url + "/", {})

    request = ExportTraceServiceRequest()
    request.resource_spans.add().schema_url = "x" * 5000  # large enough to be compressed
    assert await client.send("/v1/traces", request.SerializeToString()) == sent
    assert receiver.requests[0][2] == request
    await client.close()


@pytest.mark.parametrize("address", ["http://", "http://[", "nowhere"])
async def test_given_an_address_that_is_none_then_nothing_is_raised(address: str) -> None:
    client = OtlpReceiver(address, {})

    assert await client.send("/v1/traces", b"") is Sent.LATER
    await client.close()


def test_given_failures_in_a_row_then_pauses_double_up_to_a_limit() -> None:
    pauses = PushPauses(first_s=1, longest_s=60)

    assert [pauses.of(failures, 0.5) for failures in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    assert pauses.of(1, 0.0) == pytest.approx(0.8)
