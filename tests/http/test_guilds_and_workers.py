from __future__ import annotations

from typing import Any

import pytest

from flora.messages.errors import NotFound
from flora.messages.migration import DescribeMoves, MigrateGuild
from flora.messages.placement import DescribeGuild, DescribeGuilds, DescribeWorkers, PlaceGuild, Placement
from flora.messages.pool import DrainWorker, RecycleWorker, ScaleWorkers, UndrainWorker

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
    ("method", "path"),
    [
        ("GET", "/api/workers"),
        ("GET", "/api/workers/pool"),
        ("GET", "/api/moves"),
        ("GET", "/api/guilds/status"),
        ("PUT", "/api/guilds/1000/placement"),
        ("POST", "/api/guilds/1000/migrate"),
        ("POST", "/api/workers/scale"),
        ("POST", "/api/workers/1/drain"),
    ],
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


@pytest.mark.service
async def test_given_the_operator_when_changing_the_pool_then_runtime_is_asked_and_the_audit_log_knows(
    host: Any,
) -> None:
    for number, kind in enumerate((ScaleWorkers, DrainWorker, UndrainWorker, RecycleWorker), 1):
        host.system.answers[kind] = lambda _, number=number: number

    answers = [
        await host.call("POST", "/api/workers/scale", token=SECRET, json={"count": 3, "force": True}),
        await host.call("POST", "/api/workers/2/drain", token=SECRET),
        await host.call("POST", "/api/workers/2/undrain", token=SECRET),
        await host.call("POST", "/api/workers/1/recycle", token=SECRET, json={"force": True}),
    ]

    assert [(each.status, (await each.json())["operation"]) for each in answers] == [(202, n) for n in (1, 2, 3, 4)]
    asked = host.system.asked
    assert [(type(each), getattr(each, "force", None)) for each in asked] == [
        (ScaleWorkers, True), (DrainWorker, False), (UndrainWorker, None), (RecycleWorker, True),
    ]  # fmt: skip
    assert (asked[0].count, asked[1].worker_id) == (3, 2)
    assert [line[2:] for line in host.audit.told] == [
        ("workers.scale", "3", {"force": True, "operation": 1}),
        ("workers.drain", "2", {"operation": 2}),
        ("workers.undrain", "2", {"operation": 3}),
        ("workers.recycle", "1", {"force": True, "operation": 4}),
    ]


@pytest.mark.service
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/workers/scale", {}, 422),
        ("/api/workers/scale", {"count": "3"}, 422),
        ("/api/workers/scale", {"count": True}, 422),
        ("/api/workers/scale", {"count": 3, "force": 1}, 422),
        ("/api/workers/x/drain", {}, 404),
        ("/api/workers/-1/recycle", {}, 404),
        ("/api/guilds/1000/migrate", {"to": "2"}, 422),
        ("/api/guilds/1000/migrate", {"to": -1}, 422),
    ],
)
async def test_given_nonsense_about_the_pool_then_it_is_refused_and_nobody_is_asked(
    host: Any, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await host.call("POST", path, token=SECRET, json=body)).status == status
    assert host.system.asked == []


@pytest.mark.service
async def test_given_the_operator_when_migrating_a_guild_then_the_answer_is_the_routers_and_the_audit_log_knows(
    host: Any,
) -> None:
    moved = {"source": 0, "target": 1, "paused_us": 9000, "queued": 0}
    host.system.answers[MigrateGuild] = lambda _: moved
    host.system.answers[DescribeMoves] = lambda _: [moved]

    anywhere = await host.call("POST", "/api/guilds/1000/migrate", token=SECRET)
    there = await host.call("POST", "/api/guilds/1000/migrate", token=SECRET, json={"to": 1})

    assert (await anywhere.json(), await there.json()) == (moved, moved)
    assert [asked.target for asked in host.system.of(MigrateGuild)] == [None, 1]
    assert await (await host.get("/api/moves", token=SECRET)).json() == [moved]
    told = ("guild.migrate", "1", {"source": 0, "target": 1})
    assert [(line[0], *line[2:]) for line in host.audit.told] == [("1000", *told)] * 2
