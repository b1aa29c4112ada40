"""`flora cron`: what is shown, and what is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flora.messages.cron import ListCronJobs, RunCronJob

pytestmark = pytest.mark.service
JOB = {
    "name": "morning", "expression": "0 8 * * *", "skip_if_running": False, "catch_up": "none", "running": False, "waiting": False,
    "next": ["2026-06-02T08:00:00.000000+00:00"], "runs": 3, "failures": 1, "skipped": 0, "missed": 2,
    "last": {"at": "2026-06-01T08:00:00.000000+00:00", "outcome": "threw", "duration_ms": 12.5},
}  # fmt: skip
NEW = JOB | {"name": "new \x1b[31m", "last": None, "next": [], "runs": 0}


async def test_given_jobs_when_listed_then_a_table_says_when_they_run_and_how_the_last_run_went(
    flora: Any, api: Any
) -> None:
    api.system.answers[ListCronJobs] = lambda _: [JOB, NEW]

    done = await flora.run("cron", "list", "1000", "--api", api.url, TZ="UTC")

    lines = done.out.splitlines()
    assert lines[0].split() == [
        "JOB",
        "SCHEDULE",
        "NEXT",
        "LAST",
        "OUTCOME",
        "TOOK",
        "RUNS",
        "FAILED",
        "SKIPPED",
        "MISSED",
    ]
    assert "morning" in lines[1]
    assert "2026-06-02 08:00:00 UTC  2026-06-01 08:00:00 UTC  threw" in lines[1]
    assert lines[1].split()[-4:] == ["3", "1", "0", "2"]
    assert "never" in lines[2]
    assert "\x1b" not in done.out


async def test_given_json_when_listed_then_it_is_the_apis_answer(flora: Any, api: Any) -> None:
    api.system.answers[ListCronJobs] = lambda _: [JOB]

    done = await flora.run("cron", "list", "--guild", "1000", "--json", "--api", api.url)

    assert json.loads(done.out) == [JOB]


@pytest.mark.parametrize(("outcome", "code"), [("ok", 0), ("timed_out", 1)])
async def test_given_a_job_when_it_is_run_then_its_end_is_told_and_is_the_exit_code(
    flora: Any, api: Any, outcome: str, code: int
) -> None:
    api.system.answers[RunCronJob] = lambda request: {"name": request.job, "outcome": outcome, "duration_ms": 250.0}

    done = await flora.run("cron", "run", "1000", "morning round", "--api", api.url)

    assert (done.code, done.out) == (code, f"morning round: {outcome} after 250 ms\n")
