from __future__ import annotations

import json
from typing import Any

import pytest

from flora.messages.deployment import Deploy, SourceFile
from flora.messages.errors import BundleFailed, LoadFailed
from flora.scripts.cli.deploy import where
from flora.scripts.cli.sources import SourceText

pytestmark = pytest.mark.service

DONE = {
    "guild_id": "1000",
    "entry": "src/main.ts",
    "created_at": "2026-01-02T03:04:05+00:00",
    "updated_at": "2026-01-02T03:04:06+00:00",
}


@pytest.fixture
def target(flora: Any, api: Any) -> Any:
    """An API that takes deploys, and a project of two files."""
    api.system.answers[Deploy] = lambda _: DONE
    flora.environment.update(FLORA_API_URL=api.url, TZ="UTC")
    flora.write("src/main.ts", "import { answer } from './answer'\n")
    flora.write("src/answer.ts", "export const answer = 42 // ü\n")
    return api


async def test_a_project_is_sent_as_files_and_the_answer_shown(flora: Any, target: Any) -> None:
    done = await flora.run("deploy", "--guild", "1000")

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[:2] == ["Deployed guild 1000", "  entry  src/main.ts (2 files, 65 B)"]
    assert lines[2].startswith("  time   2026-01-02 03:04:06 UTC (took ")
    assert done.err == "Deploying src/main.ts (2 files, 65 B) to guild 1000 …\n"
    (sent,) = target.system.of(Deploy)
    assert (sent.entry, sent.source, sent.bundle, sent.source_map) == ("src/main.ts", "cli", None, None)
    assert sent.files == (
        SourceFile(path="src/answer.ts", contents="export const answer = 42 // ü\n"),
        SourceFile(path="src/main.ts", contents="import { answer } from './answer'\n"),
    )


async def test_for_programs_the_answer_is_json(flora: Any, target: Any) -> None:
    done = await flora.run("deploy", "--guild", "1000", "--json")

    assert json.loads(done.out) == DONE


async def test_entry_and_root_come_from_flags_before_the_configuration(flora: Any, target: Any) -> None:
    flora.write("bot/index.ts", "1")
    flora.write("flora.config.ts", "export default { deploy: { entry: 'index.ts', root: 'bot' } }")

    configured = await flora.run("deploy", "--guild", "1000")
    flagged = await flora.run("deploy", "main.ts", "--root", "src", "--guild", "1000")
    completed = await flora.run("deploy", "src/main.ts", "--root", "src", "--guild", "1000")

    assert [configured.code, flagged.code, completed.code] == [0, 0, 0]
    assert [sent.entry for sent in target.system.of(Deploy)] == ["index.ts", "main.ts", "main.ts"]
    assert [len(sent.files) for sent in target.system.of(Deploy)] == [1, 2, 2]


async def test_a_finished_bundle_is_sent_with_its_map(flora: Any, target: Any) -> None:
    flora.write("out/bot.js", "console.log(1)")
    flora.write("out/bot.js.map", "{}")

    done = await flora.run("deploy", "--guild", "1000", "--bundle", "out/bot.js")

    assert done.code == 0
    (sent,) = target.system.of(Deploy)
    assert (sent.entry, sent.files, sent.bundle) == ("bot.js", None, "console.log(1)")
    assert sent.source_map == SourceFile(path="bot.js.map", contents="{}")


async def test_given_a_syntax_error_when_deployed_then_the_line_is_shown_and_the_exit_code_is_1(
    flora: Any, target: Any
) -> None:
    def refuse(_: Deploy) -> None:
        raise BundleFailed("failed to parse src/answer.ts: ';' expected", file="src/answer.ts", line=1, column=21)

    target.system.answers[Deploy] = refuse

    done = await flora.run("deploy", "--guild", "1000")

    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[1:] == [
        "at src/answer.ts:1:21",
        "    1 | export const answer = 42 // ü",
        "      |                     ^",
        "error: Bad request: invalid deployment files: failed to parse src/answer.ts: ';' expected",
    ]


async def test_given_a_script_that_throws_when_deployed_then_programs_get_code_and_details(
    flora: Any, target: Any
) -> None:
    def refuse(_: Deploy) -> None:
        raise LoadFailed("Error: no\n    at src/main.ts:1:1", file="src/main.ts", line=1, column=1)

    target.system.answers[Deploy] = refuse

    done = await flora.run("deploy", "--guild", "1000", "--json")

    assert done.code == 1
    told = json.loads(done.out)
    assert (told["code"], told["details"]["line"]) == ("LOAD_FAILED", 1)
    assert "error: Bad request: deployment failed: Error: no\n    at src/main.ts:1:1\n" in done.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["missing.ts"], "entry file not found: "),
        (["../outside.ts"], "Entry file is not inside "),
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--bundle", "missing.js"], "missing.js cannot be read: No such file or directory"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_the_server_is_asked(
    flora: Any, target: Any, args: list[str], said: str
) -> None:
    (flora.project.parent / "outside.ts").write_text("1")

    done = await flora.run("deploy", "--guild", "1000", *args)

    assert done.code == 1
    assert said in done.err
    assert not target.system.asked


async def test_given_a_source_that_is_not_utf8_when_deployed_then_it_is_named(flora: Any, target: Any) -> None:
    (flora.project / "src" / "old.ts").write_bytes(b"// caf\xe9")

    done = await flora.run("deploy", "--guild", "1000")

    assert done.code == 1
    assert "old.ts is not UTF-8 text (byte 6)" in done.err


def test_given_a_place_already_in_the_message_when_shown_then_it_is_not_said_twice() -> None:
    sources = [SourceText("a.ts", "\tlet x = ;\n")]

    assert where({"file": "a.ts", "line": 1, "column": 10}, "a.ts:1:10: expression expected", sources) == [
        "    1 |  let x = ;",
        "      |          ^",
    ]


def test_given_only_a_stack_trace_when_shown_then_its_first_line_in_the_project_is_marked() -> None:
    trace = "Error: boom\n    at lib (flora:sdk:9:9)\n    at src/a.ts:2:3\n    at src/a.ts:1:1"

    assert where({}, trace, [SourceText("src/a.ts", "1\n  throw x\n")]) == ["    2 |   throw x", "      |   ^"]


def test_given_a_place_nobody_sent_when_shown_then_only_its_name_is_there() -> None:
    assert where({"file": "b.ts", "line": 7}, "no", []) == ["at b.ts:7"]
    assert where({"file": "b.ts", "line": 7, "column": 2}, "no", [SourceText("b.ts", "1\n")]) == ["at b.ts:7:2"]
    assert where({}, "no", []) == []
