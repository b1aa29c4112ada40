from __future__ import annotations

from typing import Any

import pytest

from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.errors import Conflict, NotFound

pytestmark = pytest.mark.service
SECRET = "operator-secret-for-tests"
JOB = {"name": "a/b ü", "expression": "@daily", "next": ["2026-06-02T00:00:00.000000+00:00"], "last": None}


@pytest.mark.parametrize("token", ["own", SECRET])
async def test_given_a_guilds_admin_or_the_operator_when_listing_jobs_then_the_router_answers(
    host: Any, token: str
) -> None:
    host.system.answers[ListCronJobs] = lambda _: [JOB]
    credential = {} if token == "own" else {"token": token}

    response = await host.get("/api/cron/1000", **credential)

    assert (response.status, await response.json()) == (200, [JOB])
    assert [request.guild_id for request in host.system.of(ListCronJobs)] == ["1000"]


async def test_given_a_job_with_an_odd_name_when_it_is_run_then_the_router_is_asked_for_that_very_one(
    host: Any,
) -> None:
    host.system.answers[RunCronJob] = lambda request: {"name": request.job, "outcome": "ok", "duration_ms": 1.5}

    response = await host.call("POST", "/api/cron/1000/a%2Fb%20%C3%BC/run")

    assert (response.status, (await response.json())["name"]) == (200, "a/b ü")


@pytest.mark.parametrize(("error", "status"), [(NotFound("no such job"), 404), (Conflict("it is running"), 409)])
async def test_given_a_job_that_cannot_be_run_when_asked_then_that_is_said(host: Any, error: Any, status: int) -> None:
    def refuse(_: Any) -> None:
        raise error

    host.system.answers[RunCronJob] = refuse

    assert (await host.call("POST", "/api/cron/1000/a/run")).status == status


async def test_given_others_when_they_ask_for_jobs_then_they_are_refused(host: Any) -> None:
    assert (await host.get("/api/cron/1000", token=None)).status == 401
    assert (await host.get("/api/cron/2000")).status == 403
    assert (await host.call("POST", "/api/cron/2000/a/run")).status == 403
    assert host.system.of(ListCronJobs) + host.system.of(RunCronJob) == []
