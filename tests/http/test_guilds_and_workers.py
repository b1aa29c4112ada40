from __future__ import annotations

from typing import Any

import pytest

from flora.messages.errors import NotFound
from flora.messages.placement import DescribeGuild, DescribeGuilds, DescribeWorkers, PlaceGuild, Placement

SECRET = "operator-secret-for-tests"


def a_guild(guild_id: str = "1000", **changes: Any) -> dict[str, Any]:
    usage = {"cpu_us": 2_500_000, "cpu_us_last_minute": 1000, "throttled": 3, "events_done": 7, "heap_bytes": None}
    fields = {
        "guild_id": guild_id, "worker": 1, "placement": "shared", "state": "serving", "reason": None, "since": None,
        "waiting": 0, "unfinished": 2, "usage": usage,
    }  # fmt: skip
    return fields | changes


def a_worker(worker: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {
        "worker": worker, "dedicated": False, "up": True, "guilds": 2, "unfinished": 5, "restarts": 1,
        "rss_bytes": 90_000_000, "cpu_us": 1_500_000,
    }  # fmt: skip
    return fields | changes


# Routes


@pytest.mark.service
@pytest.mark.parametrize("token", ["own", SECRET])
async def test_given_a_guilds_admin_or_the_operator_when_asking_for_its_status_then_the_router_answers(
    host: Any, token: str
) -> None:
    host.system.answers[DescribeGuild] = lambda request: a_guild(request.guild_id)
    credential = {} if token == "own" else {"token": token}

    response = await host.get("/api/guilds/1000/status", **credential)

    assert (response.status, await response.json()) == (200, a_guild())


@pytest.mark.service
async def test_given_others_when_asking_for_a_guilds_status_then_they_are_refused(host: Any) -> None:
    assert (await host.get("/api/guilds/1000/status", token=None)).status == 401
    assert (await host.get("/api/guilds/2000/status")).status == 403
    assert host.system.of(DescribeGuild) == []


@pytest.mark.service
async def test_given_a_guild_without_script_then_its_status_is_not_found(host: Any) -> None:
    def refuse(_: Any) -> None:
        raise NotFound("this guild has no script that runs")

    host.system.answers[DescribeGuild] = refuse

    assert (await host.get("/api/guilds/1000/status")).status == 404


@pytest.mark.service
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/workers"), ("GET", "/api/guilds/status"), ("PUT", "/api/guilds/1000/placement")]
)
async def test_given_somebody_else_than_the_operator_then_what_concerns_all_is_refused(
    host: Any, method: str, path: str
) -> None:
    body = {"json": {"placement": "dedicated"}}

    assert (await host.call(method, path, token=None, **body)).status == 401
    assert (await host.call(method, path, **body)).status == 403
    assert host.system.asked == []


@pytest.mark.service
async def test_given_the_operator_then_workers_and_all_guilds_are_listed(host: Any) -> None:
    host.system.answers[DescribeWorkers] = lambda _: [a_worker()]
    host.system.answers[DescribeGuilds] = lambda _: [a_guild()]

    assert await (await host.get("/api/workers", token=SECRET)).json() == [a_worker()]
    assert await (await host.get("/api/guilds/status", token=SECRET)).json() == [a_guild()]


@pytest.mark.service
async def test_given_the_operator_when_placing_a_guild_then_the_router_is_asked_and_its_answer_shown(host: Any) -> None:
    host.system.answers[PlaceGuild] = lambda request: a_guild(request.guild_id, placement=request.placement)
    path = "/api/guilds/1000/placement"

    placed = await host.call("PUT", path, token=SECRET, json={"placement": "dedicated"})

    assert (placed.status, (await placed.json())["placement"]) == (200, "dedicated")
    assert [request.placement for request in host.system.of(PlaceGuild)] == [Placement.DEDICATED]
    for wrong in ({"placement": "quarantined"}, {"placement": 1}, {}):
        assert (await host.call("PUT", path, token=SECRET, json=wrong)).status == 422
    assert len(host.system.of(PlaceGuild)) == 1
