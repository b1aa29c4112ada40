"""The compiler as an actor: a process of its own, asked by message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flora.actors.compiler import MAX_WAITING, Compiler
from flora.messages.deployment import Compile
from flora.messages.errors import MailboxFull
from flora.messages.ids import GuildId, ReqId

pytestmark = pytest.mark.service


def test_given_a_full_line_when_asked_then_refused() -> None:
    compiler = Compiler()
    request = Compile(
        req_id=ReqId("1"), guild_id=GuildId("42"), entry="main.ts", files=None, bundle="1", source_map=None
    )
    for _ in range(MAX_WAITING + 1):  # one of them runs
        compiler.receiveMsg_Compile(request, None)

    with pytest.raises(MailboxFull):
        compiler.receiveMsg_Compile(request, None)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, typescript: Path) -> Any:
    """What a compiler answered to a fixed list of messages, see actor_program.py."""
    program = Path(__file__).with_name("actor_program.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path_factory.mktemp("actor"))],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        start_new_session=True,
    )
    return json.loads(done.stdout)


def test_given_a_project_when_asked_then_one_script_comes_back(story: Any) -> None:
    assert story["answers"]["start"]["code"] == "OK"
    assert story["answers"]["fine"]["code"] == "OK"
    assert story["answers"]["fine"]["script"].startswith("const a = await 1;")


def test_given_faulty_and_hostile_text_in_line_when_asked_then_each_gets_its_own_answer(story: Any) -> None:
    assert story["answers"]["fault"]["code"] == "BUNDLE_FAILED"
    assert story["answers"]["fault"]["details"] == {"file": "main.ts", "line": 1, "column": 9}
    assert "nested too deeply" in story["answers"]["deep"]["message"]


def test_given_work_under_way_when_drained_then_it_is_finished_and_nothing_new_is_taken(story: Any) -> None:
    assert story["answers"]["last"]["code"] == "OK"
    assert story["answers"]["drain"]["code"] == "OK"
    assert story["answers"]["late"]["code"] == "SHUTTING_DOWN"


def test_given_a_warm_compiler_when_the_system_ends_then_its_process_is_gone(story: Any) -> None:
    assert story["processes"] == 1
    assert story["left"] == []
    assert story["stopped_s"] < 5
