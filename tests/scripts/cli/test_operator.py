"""What operators ask on the command line, and how the command finds their secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flora.messages.audit import AuditLine, ReadAudit
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId
from flora.messages.lifecycle import DescribeSystem, SystemStage
from flora.messages.placement import DescribeGuild, DescribeGuilds, DescribeWorkers, PlaceGuild
from flora.messages.pool import DescribePool
from flora.scripts.cli.output import duration
from flora.storage.secret_files import keep_secret

SECRET = "operator-secret-for-tests"


def a_guild(guild_id: str = "1000", **changes: Any) -> dict[str, Any]:
    usage = {
        "cpu_us": 95_000_000, "cpu_us_last_minute": 350_000, "throttled": 1, "events_done": 7, "heap_bytes": 3_500_000,
        "buffer_bytes": 0, "timers": 2, "pending_ops": 0, "ops_refused": 0, "log_lines_dropped": 12, "rebuilds": 1,
        "state": "serving", "resting_s": 0,
    }  # fmt: skip
    fields = {
        "guild_id": guild_id, "worker": 1, "placement": "shared", "state": "serving", "reason": None, "since": None,
        "waiting": 0, "unfinished": 2, "usage": usage,
    }  # fmt: skip
    return fields | changes


WORKERS = [
    {"worker": 0, "dedicated": False, "up": True, "guilds": 12, "unfinished": 5, "restarts": 1,
     "rss_bytes": 90_000_000, "cpu_us": 61_500_000, "age_s": 7260.0},
    {"worker": 1000, "dedicated": True, "up": False, "guilds": 1, "unfinished": 0, "restarts": 0,
     "rss_bytes": None, "cpu_us": None},
]  # fmt: skip


@pytest.mark.service
async def test_given_an_api_token_then_status_shows_the_guild(flora: Any, api: Any) -> None:
    reason = "it brought worker 1 down"
    api.system.answers[DescribeGuild] = lambda request: a_guild(
        request.guild_id, placement="quarantined", worker=1000, reason=reason, since="2026-01-31T12:00:00+00:00"
    )

    done = await flora.run("status", "1000", "--api", api.url)
    as_json = await flora.run("status", "1000", "--json", "--api", api.url)

    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:3] == ["guild      1000", "state      serving", "worker     1000 (quarantined)"]
    assert lines[3].startswith(f"reason     {reason} (since 2026-01-31 ")
    assert lines[4] == "events     0 waiting, 2 running, 7 done"
    assert lines[5] == "processor  1 min 35 s, 350 ms in the last minute; throttled 1 time"
    assert lines[6] == "memory     3.5 MB of heap, 0 B of buffers"
    assert json.loads(as_json.out)["reason"] == reason


@pytest.mark.service
async def test_given_the_operators_secret_then_workers_are_a_table(flora: Any, api: Any) -> None:
    api.system.answers[DescribeWorkers] = lambda _: WORKERS
    api.system.answers[DescribePool] = lambda _: {"members": [0], "drained": [], "operation": None}

    done = await flora.run("workers", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)
    as_json = await flora.run("workers", "--json", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)

    assert done.out.splitlines() == [
        "WORKER  KIND       STATE  GUILDS  EVENTS  RESTARTS  AGE        MEMORY   PROCESSOR",
        "0       shared     up     12      5       1         2 h 1 min  90.0 MB  1 min 1 s",
        "1000    dedicated  down   1       0       0         ?          ?        ?",
    ]
    assert json.loads(as_json.out) == WORKERS


@pytest.mark.service
async def test_given_the_operators_secret_then_status_tells_who_is_not_as_it_should_be(flora: Any, api: Any) -> None:
    api.system.answers[DescribeSystem] = lambda _: {"ready": True, "stage": "ready"}
    api.system.answers[DescribeWorkers] = lambda _: WORKERS
    failed = a_guild("7", state="failed", reason="it could not be made anew", usage=None, worker=None)
    api.system.answers[DescribeGuilds] = lambda _: [a_guild(), a_guild("1001"), failed]

    done = await flora.run("status", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)

    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "ready",
        "workers  1 shared, 1 dedicated; down: 1000; 90.0 MB of memory",
        "guilds   3: 2 serving, 1 failed",
        "events   6 waiting or running",
        "  7                    failed, shared: it could not be made anew",
    ]


@pytest.mark.service
async def test_given_a_system_that_starts_then_status_says_how_far_it_is_and_fails(flora: Any, api: Any) -> None:
    progress = (("step", 12), ("steps", 15), ("deployments", 900), ("restored", 40), ("failed", 1))
    api.deps.boot.update(SystemStage(stage="deployments", progress=progress))

    done = await flora.run("status", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)

    assert done.code == 1
    assert done.out == "not ready: deployments (step 12 of 15; 41 of 900 deployments)\n"


@pytest.mark.service
async def test_given_the_operators_secret_then_place_moves_the_guild(flora: Any, api: Any) -> None:
    api.system.answers[PlaceGuild] = lambda request: a_guild(request.guild_id, placement=request.placement)

    done = await flora.run("place", "1000", "dedicated", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)
    wrong = await flora.run("place", "1000", "elsewhere", "--api", api.url, FLORA_OPERATOR_SECRET=SECRET)

    assert "worker     1 (dedicated)" in done.out
    assert (wrong.code, wrong.out) == (2, "")
    assert len(api.system.of(PlaceGuild)) == 1


@pytest.mark.service
async def test_given_the_folder_where_flora_runs_then_its_secret_is_found_and_elsewhere_it_is_asked_for(
    flora: Any, api: Any
) -> None:
    api.system.answers[DescribeWorkers] = lambda _: WORKERS
    api.system.answers[DescribePool] = lambda _: {"members": [0], "drained": [], "operation": None}
    nowhere = await flora.run("workers", "--api", api.url)
    assert nowhere.code == 1
    assert "set FLORA_OPERATOR_SECRET" in nowhere.err
    assert not (flora.project / "data").exists(), "asking makes no secrets"

    folder = flora.project / "data" / "secrets"
    keep_secret(folder, "api_operator_secret")
    (folder / "api_operator_secret").write_text("0" * 64)
    refused = await flora.run("workers", "--api", api.url)
    assert "Invalid operator token" in refused.err

    (flora.project / "config.toml").write_text(f'[api]\noperator_secret = "{SECRET}"\n')
    found = await flora.run("workers", "--api", api.url)
    assert found.code == 0, found.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.35, "350 ms"), (2.5, "2.5 s"), (200, "3 min 20 s"), (3600 * 30 + 60 * 12, "30 h 12 min")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.service
async def test_given_the_operators_secret_then_the_audit_log_is_listed_and_says_how_to_go_on(
    flora: Any, api: Any
) -> None:
    line = AuditLine(
        line_id="00000000-0000-4000-8000-000000000001", at=datetime(2026, 1, 2, tzinfo=UTC), guild_id=GuildId("1000"),
        actor=DeployActor(kind="token", user_id="77", username="a\x1bb"), action="deploy.create", target="r-1",
        details={"entry": "main.ts", "error": None},
    )  # fmt: skip
    api.system.answers[ReadAudit] = lambda request: (line,) if request.before is None else ()
    secret = {"FLORA_OPERATOR_SECRET": SECRET}

    first = await flora.run("audit", "--guild", "1000", "--limit", "1", "--api", api.url, **secret)
    cursor = first.err.split("--cursor ")[1].strip()
    last = await flora.run("audit", "--cursor", cursor, "--api", api.url, **secret)

    assert first.code == 0, first.err
    assert "1000                 a\\x1bb" in first.out
    assert first.out.rstrip().endswith("deploy.create    r-1  entry=main.ts")
    assert (last.out, last.err) == ("Nothing was changed.\n", "")
