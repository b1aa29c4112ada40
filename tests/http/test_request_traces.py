"""Traces of HTTP requests: at the border of the real server, whose actors are played."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flora.http.request_traces import RequestFacts, RequestTraces
from flora.messages.deployment import Deploy, ListDeployments
from flora.messages.errors import LoadFailed, Unavailable
from flora.messages.lifecycle import DescribeSystem
from flora.storage.trace_record import TraceRecord

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"


@pytest.fixture
def kept() -> list[TraceRecord]:
    return []


@pytest.fixture
async def traced_host(make_host: Callable[..., Awaitable[Any]], kept: list[TraceRecord]) -> Any:
    return await make_host(traces=RequestTraces(kept.append, "http", slow_us=0))


async def test_given_a_request_when_it_is_answered_then_its_hop_has_route_status_and_what_it_asked_follows_from_it(
    traced_host, kept
):
    traced_host.system.answers[ListDeployments] = lambda _: []

    answer = await traced_host.call("GET", "/api/deployments")

    (hop,) = kept
    assert (hop.name, hop.kind, hop.process, hop.outcome) == ("http GET /api/deployments", "http", "http", "ok")
    assert hop.attrs == {"status": 200, "request_id": answer.headers["X-Request-ID"]}
    (asked,) = traced_host.system.of(ListDeployments)
    assert (asked.trace.trace_id, asked.trace.span_id, asked.trace.sampled) == (hop.trace, hop.span, True)


async def test_given_a_callers_trace_when_it_is_well_formed_then_ours_is_a_part_of_it(traced_host, kept):
    traced_host.system.answers[ListDeployments] = lambda _: []

    await traced_host.call("GET", "/api/deployments", headers={"traceparent": f"00-{CALLER}-{CALLERS_SPAN}-00"})
    await traced_host.call("GET", "/api/deployments", headers={"traceparent": f"00-{CALLER}-"})

    joined, own = kept
    assert (joined.trace, joined.parent) == (CALLER, CALLERS_SPAN)
    assert re.fullmatch(r"[0-9a-f]{32}", own.trace)
    assert own.trace != CALLER
    assert own.parent == ""


async def test_given_a_deploy_that_is_refused_then_its_hop_has_guild_code_and_what_the_author_is_told(
    traced_host, kept
):
    def refuse(_: Deploy) -> None:
        raise LoadFailed("main.js:3: boom\n  at secret source")

    traced_host.system.answers[Deploy] = refuse

    await traced_host.deploy({"entry": "main.js", "files": [{"path": "main.js", "contents": "boom()"}]})

    (hop,) = kept
    assert (hop.name, hop.guild_id) == ("http POST /api/deployments/{guild_id}", "1000")
    assert (hop.outcome, hop.attrs["status"], hop.why) == ("LOAD_FAILED", 400, "deployment failed: main.js:3: boom")


async def test_given_what_is_asked_for_all_the_time_or_unknown_then_it_leaves_no_hop(traced_host, kept):
    def unavailable(_: DescribeSystem) -> None:
        raise Unavailable("not now")

    traced_host.system.answers[DescribeSystem] = unavailable

    for path in ("/api/health", "/api/ready", "/api/nonsense"):
        await traced_host.call("GET", path)

    assert kept == []


def fact(status: int, **more: Any) -> RequestFacts:
    return RequestFacts(name="http GET /api/x", status=status, **more)


def test_given_a_flood_from_one_address_then_it_is_followed_within_bounds_and_another_address_still_is():
    kept: list[TraceRecord] = []
    traces = RequestTraces(kept.append)

    for _ in range(1_000):
        traces.ended(traces.begin("", "192.0.2.1", follow=True), fact(200))
    flood = len(kept)
    other = traces.begin(f"00-{CALLER}-{CALLERS_SPAN}-01", "192.0.2.2", follow=True)

    assert 0 < flood <= 110
    assert other.context.sampled


@pytest.mark.parametrize(
    ("facts", "is_kept"),
    [
        (fact(200), False),
        (fact(404), False),
        (fact(500), True),
        (fact(400, always_if_refused=True), True),
        (fact(401, always_if_refused=True), False),
        (fact(0), False),
    ],
)
def test_given_a_request_that_is_not_followed_when_it_ends_then_it_is_kept_if_it_failed(
    facts: RequestFacts, *, is_kept: bool
):
    kept: list[TraceRecord] = []
    traces = RequestTraces(kept.append, slow_us=0)

    traces.ended(traces.begin("", "192.0.2.1", follow=False), facts)

    assert bool(kept) is is_kept


def test_given_a_slow_request_that_is_not_followed_then_it_is_kept():
    kept: list[TraceRecord] = []
    traces = RequestTraces(kept.append, slow_us=1)
    trace = traces.begin("", "192.0.2.1", follow=False)

    traces.ended(trace, fact(200))

    assert [hop.outcome for hop in kept] == ["ok"]
