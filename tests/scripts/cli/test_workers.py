"""Changing the pool of workers, and moving a guild, on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flora.messages.errors import Conflict, Unavailable
from flora.messages.migration import DescribeMoves, MigrateGuild
from flora.messages.pool import DescribePool, DrainWorker, RecycleWorker, ScaleWorkers, UndrainWorker
from flora.scripts.cli import pool_operations
from flora.scripts.cli.output import local_time

SECRET = {"FLORA_OPERATOR_SECRET": "operator-secret-for-tests"}


def an_operation(number: int = 7, **changes: Any) -> dict[str, Any]:
    fields = {
        "number": number, "kind": "scale", "target": 2, "automatic": False, "force": False, "state": "running",
        "began_at": "2026-01-31T12:00:00+00:00", "ended_at": None, "text": "", "moved": 3, "moving": 4, "left": 12, "loading": 0,
        "starting": [],
        "waiting": [{"guild_id": "1000", "worker": 3, "why": "migration_quiesce timed out", "tries": 2}],
    }  # fmt: skip
    return fields | changes


def answer_in_turn(api: Any, *operations: Any) -> None:
    """What the router says of the pool, look after look; the last one again and again. None: it is away."""
    left = list(operations)

    def answer(_: Any) -> Any:
        operation = left.pop(0) if len(left) > 1 else left[0]
        if operation is None:
            raise Unavailable("the router is not running yet; try again in a moment")
        return {"members": [0, 1], "drained": [], "operation": operation}

    api.system.answers[DescribePool] = answer


@pytest.mark.service
async def test_given_a_scale_then_it_returns_at_once_and_says_where_to_look(flora: Any, api: Any) -> None:
    api.system.answers[ScaleWorkers] = lambda _: 7

    done = await flora.run("workers", "scale", "2", "--api", api.url, **SECRET)
    as_json = await flora.run("workers", "scale", "2", "--force", "--json", "--api", api.url, **SECRET)

    assert (done.code, done.out) == (0, "operation 7 has begun; `flora workers` shows how it goes\n")
    assert json.loads(as_json.out) == {"operation": 7}
    assert [(asked.count, asked.force) for asked in api.system.of(ScaleWorkers)] == [(2, False), (2, True)]


@pytest.mark.service
async def test_given_wait_then_it_follows_to_the_end_across_a_restart_of_the_router(
    flora: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_operations, "LOOK_EVERY_S", 0.01)
    api.system.answers[DrainWorker] = lambda _: 7
    running = an_operation(kind="drain", target=1)
    ended = an_operation(
        kind="drain", target=1, state="done", text="16 guilds were moved", moving=0, left=0, waiting=[]
    )
    answer_in_turn(api, an_operation(6, state="done"), running, None, running, ended)

    done = await flora.run("workers", "drain", "1", "--wait", "--api", api.url, **SECRET)

    assert (done.code, done.out) == (0, "drain of worker 1 is done: 16 guilds were moved\n")
    assert done.err.splitlines() == [
        "drain of worker 1: 3 guilds moved; 4 under way, 12 to go; 1 guild did not come along at once"
    ]


@pytest.mark.service
@pytest.mark.parametrize("as_json", [False, True])
async def test_given_wait_when_it_does_not_get_on_then_it_fails_and_says_why(
    flora: Any, api: Any, as_json: bool
) -> None:
    api.system.answers[RecycleWorker] = lambda _: 7
    stuck = an_operation(kind="recycle", target=3, state="stuck", text="guild 1000 does not leave worker 3", moving=0)
    answer_in_turn(api, stuck)

    more = ["--json"] if as_json else []
    done = await flora.run("workers", "recycle", "3", "--wait", *more, "--api", api.url, **SECRET)

    assert done.code == 1
    if as_json:
        assert json.loads(done.out) == stuck
    else:
        assert done.out.splitlines() == [
            "recycle of worker 3 does not get on: guild 1000 does not leave worker 3",
            "  guild 1000 in worker 3: migration_quiesce timed out (2 attempts)",
        ]


@pytest.mark.service
async def test_given_wait_when_another_operation_takes_its_place_then_it_fails_and_names_that_one(
    flora: Any, api: Any
) -> None:
    api.system.answers[UndrainWorker] = lambda _: 7
    answer_in_turn(api, an_operation(8))

    done = await flora.run("workers", "undrain", "3", "--wait", "--api", api.url, **SECRET)

    assert (done.code, done.err) == (1, "error: operation 7 was replaced by scale to 2\n")


@pytest.mark.service
async def test_given_a_refusal_or_nonsense_then_it_is_said_in_a_sentence(flora: Any, api: Any) -> None:
    def refuse(_: Any) -> None:
        raise Conflict("scale to 2 is under way")

    api.system.answers[DrainWorker] = refuse

    refused = await flora.run("workers", "drain", "1", "--api", api.url, **SECRET)
    nonsense = await flora.run("workers", "scale", "many", "--api", api.url, **SECRET)

    assert (refused.code, refused.err) == (1, "error: Bad request: scale to 2 is under way\n")
    assert nonsense.code == 2


def test_given_a_running_operation_then_it_is_told_with_what_it_waits_for():
    waiting = [{"guild_id": str(n), "worker": 3, "why": "no", "tries": 1} for n in range(12)]

    lines = pool_operations.describe(an_operation(starting=[2, 3], waiting=waiting, loading=1))

    assert lines[0] == (
        "scale to 2: 3 guilds moved; 4 under way, 12 to go; 1 guild being loaded; starting worker 2, 3;"
        " 12 guilds did not come along at once"
    )
    assert lines[1] == "  guild 0 in worker 3: no (1 attempt)"
    assert lines[-1] == "  … and 2 more"
    assert pool_operations.describe(None) == []
    at = "2026-01-31T12:00:09+00:00"
    done = pool_operations.describe(an_operation(state="done", ended_at=at, text="1 guild was moved"))
    assert done == [f"scale to 2 is done since {local_time(at)}: 1 guild was moved"]


# Moves of one guild


@pytest.mark.service
async def test_given_a_guild_to_migrate_then_it_says_from_where_to_where(flora: Any, api: Any) -> None:
    api.system.answers[MigrateGuild] = lambda asked: {
        "source": 0, "target": asked.target or 1, "paused_us": 12_000, "queued": 3,
    }  # fmt: skip

    done = await flora.run("migrate", "1000", "--to", "2", "--api", api.url, **SECRET)
    there = await flora.run("migrate", "1000", "--to", "0", "--json", "--api", api.url, **SECRET)
    wrong = await flora.run("migrate", "1000", "--to", "-1", "--api", api.url, **SECRET)

    assert (done.code, done.out) == (0, "guild 1000 moved from worker 0 to worker 2; its events waited for 12 ms\n")
    assert json.loads(there.out)["source"] == 0
    assert (wrong.code, wrong.err.splitlines()[-1]) == (1, "error: Bad request: `to` must be the number of a worker")
    assert [asked.target for asked in api.system.of(MigrateGuild)] == [2, 0]


@pytest.mark.service
async def test_given_moves_then_they_are_a_table(flora: Any, api: Any) -> None:
    move = {
        "guild_id": "1000", "source": 0, "target": 2, "state": "failed", "why": "no", "at": "2026-01-31T12:00:00+00:00",
        "took_us": 51_000, "paused_us": 12_000, "queued": 3,
    }  # fmt: skip
    api.system.answers[DescribeMoves] = lambda _: [move]

    done = await flora.run("moves", "--api", api.url, **SECRET)
    api.system.answers[DescribeMoves] = lambda _: []
    none = await flora.run("moves", "--api", api.url, **SECRET)

    header, line = done.out.splitlines()
    assert header.split() == ["GUILD", "FROM", "TO", "STATE", "BEGAN", "TOOK", "PAUSED", "QUEUED", "WHY"]
    assert line.split()[:4] == ["1000", "0", "2", "failed"]
    assert line.split()[-6:] == ["51", "ms", "12", "ms", "3", "no"]
    assert none.out == "No guild has been moved.\n"
