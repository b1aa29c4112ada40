"""`flora history`, `revision show`, `rollback` and `undeploy`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flora.messages.deployment import GetDeployment, GetRevision, ListRevisions, RollBack, Undeploy
from flora.messages.errors import NotFound

pytestmark = pytest.mark.service

AT = "2026-01-02T03:04:05.000000+00:00"


def a_revision(number: int, status: str = "success", **more: Any) -> dict[str, Any]:
    fields = {
        "id": f"{number}0000000-0000-4000-8000-000000000000", "guild_id": "1000", "entry": "src/main.ts", "status": status,
        "deployed_at": AT, "deploy_source": "cli", "actor": {"actor_type": "token", "user_id": "77", "username": "ada"},
        "change_summary": {"added_files": 1, "removed_files": 0, "modified_files": 2},
    }  # fmt: skip
    return fields | more


HISTORY = [
    a_revision(4),
    a_revision(3, "failed", error_message="TypeError: no\x1b[2J\n    at src/main.ts:1:1"),
    a_revision(2),
    a_revision(1, actor={"actor_type": "system"}, change_summary=None),
]


@pytest.fixture
def telling(api: Any) -> Any:
    api.system.answers[ListRevisions] = lambda _: {"revisions": HISTORY, "more": True}
    api.system.answers[GetRevision] = lambda request: next(row for row in HISTORY if row["id"] == request.revision_id)
    api.system.answers[GetDeployment] = lambda _: {"guild_id": "1000"}
    api.system.answers[RollBack] = lambda _: a_revision(5)
    api.system.answers[Undeploy] = lambda _: {"guild_id": "1000", "undeployed": True}
    return api


async def test_given_a_history_then_there_is_a_line_per_attempt_and_a_way_on(flora: Any, telling: Any) -> None:
    done = await flora.run("history", "1000", "--limit", "4", "--api", telling.url)

    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert lines[0].endswith(f"success  {HISTORY[0]['id']}  cli       ada              +1 -0 ~2 files")
    assert lines[1].endswith("ada              TypeError: no\\x1b[2J")
    assert lines[3].endswith("cli       system")
    assert done.err == f"older ones: --before {HISTORY[3]['id']}\n"
    (asked,) = telling.system.of(ListRevisions)
    assert (asked.limit, asked.include_files) == (4, False)


async def test_given_a_revision_to_begin_after_then_the_page_goes_on_there(flora: Any, telling: Any) -> None:
    done = await flora.run("history", "-g", "1000", "--before", "2000", "--json", "--api", telling.url)

    assert json.loads(done.out) == HISTORY
    assert telling.system.of(ListRevisions)[-1].before[1] == HISTORY[2]["id"]


async def test_given_a_guild_without_history_then_it_is_said(flora: Any, telling: Any) -> None:
    telling.system.answers[ListRevisions] = lambda _: {"revisions": [], "more": False}

    done = await flora.run("history", "1000", "--api", telling.url)

    assert (done.code, done.out, done.err) == (0, "Nothing was deployed.\n", "")


async def test_given_a_revision_then_all_of_it_one_file_or_its_script_is_shown(flora: Any, telling: Any) -> None:
    whole = a_revision(
        2, error_message="Error: x\n    at y", base_revision_id="b", build_id="n", bundle="run()\n",
        files=[{"path": "src/main.ts", "contents": "é\n"}],
    )  # fmt: skip
    telling.system.answers[GetRevision] = lambda _: whole
    show = ("revision", "show", "2000", "--guild", "1000", "--api", telling.url)

    text = await flora.run(*show)
    file = await flora.run(*show, "--file", "src/main.ts")
    bundle = await flora.run(*show, "--bundle")
    missing = await flora.run(*show, "--file", "none.ts")

    assert text.code == 0, text.err
    lines = text.out.splitlines()
    assert lines[0] == f"revision  {HISTORY[2]['id']} (success)"
    assert lines[3] == "by        ada 77 (token), cli"
    assert lines[4:] == [
        *("build     n", "base      b", "changes   +1 -0 ~2 files", "error", "  Error: x", "      at y"),
        *("1 file:", "  src/main.ts  3 B"),
    ]
    assert (file.out, bundle.out) == ("é\n", "run()\n")
    assert (missing.code, missing.err) == (1, "error: this revision has no file none.ts\n")
    assert [request.include_bundle for request in telling.system.of(GetRevision)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("beginning", "code", "said"),
    [
        ("9999", 1, "no revision begins with 9999"),
        ("200", 2, "too short"),
    ],
)
async def test_given_a_beginning_of_no_id_then_it_is_said(
    flora: Any, telling: Any, beginning: str, code: int, said: str
) -> None:
    done = await flora.run("rollback", beginning, "--guild", "1000", "--api", telling.url)

    assert done.code == code
    assert said in done.err
    assert telling.system.of(RollBack) == []


@pytest.mark.parametrize(("args", "target"), [(["1000"], 3), ([HISTORY[3]["id"].upper()], 3), ([], 2)])
async def test_given_a_rollback_then_it_goes_to_that_revision_or_to_the_success_before(
    flora: Any, telling: Any, args: list[str], target: int
) -> None:
    done = await flora.run("rollback", *args, "--guild", "1000", "--api", telling.url)

    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == f"Rolled back guild 1000 to {HISTORY[target]['id']}"
    assert done.out.splitlines()[2] == f"  revision  {a_revision(5)['id']}"
    (asked,) = telling.system.of(RollBack)
    assert (asked.revision_id, asked.source) == (HISTORY[target]["id"], "cli")


async def test_given_nothing_deployed_when_rolled_back_then_the_last_success_comes_back(
    flora: Any, telling: Any
) -> None:
    def refuse(_: Any) -> None:
        raise NotFound("Deployment not found")

    telling.system.answers[GetDeployment] = refuse

    done = await flora.run("rollback", "--guild", "1000", "--json", "--api", telling.url)

    assert json.loads(done.out) == a_revision(5)
    assert telling.system.of(RollBack)[0].revision_id == HISTORY[0]["id"]


async def test_given_an_undeploy_then_somebody_must_have_said_yes(flora: Any, telling: Any) -> None:
    unsaid = await flora.run("undeploy", "--guild", "1000", "--api", telling.url)
    assert (unsaid.code, telling.system.of(Undeploy)) == (2, [])
    assert "--yes" in unsaid.err

    done = await flora.run("undeploy", "--guild", "1000", "--yes", "--api", telling.url)

    assert done.out == "Undeployed guild 1000; `flora rollback` brings a revision back\n"
    assert telling.system.of(Undeploy)[0].source == "cli"
