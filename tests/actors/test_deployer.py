"""The deployer as an actor: its own process, the real compiler, a real Postgres, and a router that only remembers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flora.actors.deployer import LOAD_MARGIN_S, load_limit_s
from flora.messages.settings import RuntimeSettings
from flora.storage.postgres import migrate

pytestmark = pytest.mark.service

# In a file of its own: actor classes are found by module name in every process.
ROUTER = '''
from flora.actors.base import FloraActor
from flora.messages.errors import LoadFailed
from flora.messages.lifecycle import ReadMetrics


class MemoryRouter(FloraActor):
    """Takes every script but those that throw."""

    def __init__(self):
        super().__init__()
        self.running = {}

    def receiveMsg_LoadGuild(self, msg, sender):
        if "throw " in msg.script:
            raise LoadFailed("Error: thrown at top level")
        self.running[msg.guild_id] = msg.script
        self.reply_ok(msg, sender, {"worker": 0, "replaced": False})

    def receiveMsg_ListRunning(self, msg, sender):
        self.reply_ok(msg, sender, {"running": (), "unstored": ()})

    def receiveMsg_ScriptStored(self, msg, sender):
        pass

    def receiveMsg_UnloadGuild(self, msg, sender):
        self.running.pop(msg.guild_id, None)
        self.reply_ok(msg, sender)

    def receiveMsg_ReadMetrics(self, msg, sender):
        self.reply_ok(msg, sender, dict(self.running))
'''

DRIVER = """
import dataclasses, json, sys, time
from pathlib import Path
from flora.actors import system
from flora.actors.compiler import Compiler
from flora.actors.deployer import Deployer
from flora.messages.base import Ok
from flora.messages.deployment import *
from flora.messages.gateway import GuildJoined, GuildLeft
from flora.messages.lifecycle import Drain, Peers, PeersChanged, ReadMetrics, Start
from flora.messages.settings import DatabaseSettings, RuntimeSettings, SecretsSettings, Settings
from memory_router import MemoryRouter

settings = Settings(
    data_dir=Path(sys.argv[2]),
    database=DatabaseSettings(url=sys.argv[1]),
    runtime=RuntimeSettings(max_workers=1),
    secrets=SecretsSettings(master_key=b"k" * 32),
)
running = system.start(b"s" * 32, "flora=info", settings.data_dir)
numbers = iter(range(1000))
result = {}


def ask(to, kind, **fields):
    reply = running.ask(to, kind(req_id=str(next(numbers)), **fields), 30)
    while isinstance(reply, RestoreProgress):
        result["progress"], reply = dataclasses.asdict(reply), running.listen(30)
    return reply.value if isinstance(reply, Ok) else {"code": reply.code, "message": reply.message, **reply.details}


def start(kind, name, peers):
    actor = running.create(kind)
    ask(actor, Start, settings=settings, peers=peers, name=name)
    return actor


def deploy(text, guild="1"):
    files = (SourceFile(path="src/main.ts", contents=text),)
    return ask(
        deployer, Deploy, guild_id=guild, entry="src/main.ts", files=files, bundle=None, source_map=None,
        source="cli", actor=DeployActor(kind="token", user_id="7"),
    )


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("not in time")
        time.sleep(0.02)


try:
    router, compiler = start(MemoryRouter, "router", Peers()), start(Compiler, "compiler", Peers())
    peers = Peers(router=router, compiler=compiler)
    deployer = start(Deployer, "deployer", peers)
    result["deployed"] = deploy("const answer: number = 1; on('ready', () => answer)")
    result["syntax"] = deploy("const answer: number = ;")
    result["throws"] = deploy("throw new Error('x')")
    result["shown"] = ask(deployer, GetDeployment, guild_id="1", include_bundle=True)
    result["absent"] = ask(deployer, GetDeployment, guild_id="2")
    running.tell(deployer, GuildJoined(guild_id="2"))
    eventually(lambda: "2" in ask(router, ReadMetrics))
    eventually(lambda: len(ask(deployer, ListDeployments)) == 2)
    result["list"] = ask(deployer, ListDeployments)
    running.tell(deployer, GuildLeft(guild_id="2"))
    eventually(lambda: "2" not in ask(router, ReadMetrics))

    router = start(MemoryRouter, "router", Peers())
    running.tell(deployer, PeersChanged(peers=dataclasses.replace(peers, router=router)))
    result["reloaded"] = ask(deployer, ReloadGuilds, guild_ids=("1", "2", "3"))
    result["running"] = ask(router, ReadMetrics)
    deployer = start(Deployer, "deployer", dataclasses.replace(peers, router=router))
    result["restored"] = ask(deployer, RestoreDeployments)
    result["drained"] = ask(deployer, Drain, limit_s=1.0)
    result["late"] = deploy("1")
    print(json.dumps(result))
finally:
    running.shutdown(2)
"""


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployer")
    (folder / "memory_router.py").write_text(ROUTER, encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    return folder


@pytest.mark.timeout(90)
def test_given_a_real_compiler_and_postgres_then_the_deployer_serves_every_request(
    drive: Path, postgres_url: str
) -> None:
    migrate(postgres_url)

    done = subprocess.run(
        [sys.executable, str(drive / "driver.py"), postgres_url, str(drive)],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
        env=os.environ | {"PYTHONPATH": str(drive)},
    )

    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["deployed"]["guild_id"] == "1"
    assert result["syntax"]["code"] == "BUNDLE_FAILED"
    assert (result["syntax"]["file"], result["syntax"]["line"]) == ("src/main.ts", 1)
    assert result["throws"]["code"] == "LOAD_FAILED"
    assert result["shown"]["files"][0]["contents"].startswith("const answer")
    assert "sourceMappingURL" in result["shown"]["bundle"]
    assert result["absent"]["code"] == "NOT_FOUND"
    assert [entry["guild_id"] for entry in result["list"]] == ["1", "2"]
    assert result["reloaded"] == {"restored": 1, "failed": {"3": "nothing is deployed"}, "still_loading": []}
    assert list(result["running"]) == ["1"]
    assert "answer" in result["running"]["1"]
    assert "sourceMappingURL" not in result["running"]["1"]
    assert result["restored"] == {"restored": 2, "failed": {}, "still_loading": []}
    assert result["progress"]["total"] == 2
    assert result["drained"] is None
    assert result["late"]["code"] == "SHUTTING_DOWN"


def test_given_limits_of_zero_then_a_load_may_take_for_ever() -> None:
    assert load_limit_s(RuntimeSettings()) == 70 + LOAD_MARGIN_S
    assert load_limit_s(RuntimeSettings(load_timeout_s=0)) == 0
    assert load_limit_s(RuntimeSettings(boot_timeout_s=0)) == 0
