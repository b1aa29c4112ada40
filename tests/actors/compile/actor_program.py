"""Run by test_compiler_actor.py in a process of its own: actors are forked, which V8 does not survive once it runs.

Starts an actor system with one compiler, sends it what the test wants to see answered, and prints the answers as JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from flora.actors import system
from flora.actors.compiler import Compiler
from flora.messages.base import Failed, Ok
from flora.messages.deployment import Compile, Compiled, SourceFile
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Drain, Peers, Start
from flora.messages.settings import Settings

NAME = f"compiler {os.getpid()}"  # shows in the process list
LIMIT_S = 15.0


def _compile(req_id: str, text: str) -> Compile:
    files = (SourceFile(path="main.ts", contents=text),)
    return Compile(
        req_id=ReqId(req_id), guild_id=GuildId("42"), entry="main.ts", files=files, bundle=None, source_map=None
    )


def _plain(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Failed):
        return {"code": answer.code, "message": answer.message, "details": dict(answer.details)}
    if isinstance(answer, Ok):
        return {"code": "OK", "script": answer.value.script if isinstance(answer.value, Compiled) else None}
    return {"code": repr(answer)}


def _pids() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"flora: {NAME}".encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _ask(running: system.RunningSystem, to: Any, *requests: Any) -> dict[str, Any]:
    for request in requests:
        running.tell(to, request)
    answers = [running.listen(LIMIT_S) for _ in requests]
    return {getattr(answer, "req_id", "none"): _plain(answer) for answer in answers}


def main(work_dir: Path) -> None:
    """Prints {"answers": {req_id: answer}, "stopped_s": …, "left": processes still there}."""
    running = system.start(secrets.token_bytes(32), "warn", work_dir)
    compiler = running.create(Compiler)
    start = Start(req_id=ReqId("start"), settings=Settings(data_dir=work_dir), peers=Peers(), name=NAME)
    answers = _ask(running, compiler, start)
    answers |= _ask(running, compiler, _compile("fault", "let a = ;"), _compile("deep", "(" * 20_000))
    answers |= _ask(running, compiler, _compile("fine", "const a: number = await 1"))
    answers |= _ask(
        running,
        compiler,
        _compile("last", "let a: 1"),
        Drain(req_id=ReqId("drain"), limit_s=10.0),
        _compile("late", ""),
    )
    started = time.monotonic()
    pids = _pids()
    running.shutdown(10.0)
    while _pids() and time.monotonic() - started < 10:
        time.sleep(0.01)
    stopped_s = time.monotonic() - started
    print(json.dumps({"answers": answers, "stopped_s": stopped_s, "left": _pids(), "processes": len(pids)}), flush=True)
    os._exit(0)


main(Path(sys.argv[1]))
