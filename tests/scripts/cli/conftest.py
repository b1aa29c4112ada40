"""The real command as a process of its own, against the real API server with a few played answers behind it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flora.http.access import GuildAccess
from flora.http.auth import BearerTokens
from flora.http.deps import Deps
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.peers import PeerBook
from flora.http.server import ApiServer
from flora.http.traces import TraceFiles
from flora.messages.base import Message, Request
from flora.messages.errors import Forbidden
from flora.messages.gateway import CheckGuildAccess, DescribeMember
from flora.messages.ids import UserId
from flora.messages.lifecycle import Peers
from flora.storage.memory import MemoryTokenStore

GUILD = "1000"
TOKEN = "abcdefghijkl.abcdefghijklmnopqrstuvwxyz012345"
RUN_LIMIT_S = 15
PEERS = Peers(runtime="runtime", router="router", gateway="gateway", deployer="deployer", log_book="log_book")


@dataclass
class FakeSystem:
    """Actors that answer by message class, and remember what they were asked."""

    answers: dict[type, Callable[[Any], Any]] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)

    async def ask(self, to: object, request: Request, limit_s: float = 30) -> Any:
        self.asked.append(request)
        return self.answers[type(request)](request)

    def tell(self, to: object, message: Message) -> None: ...

    def of(self, kind: type) -> list[Any]:
        return [request for request in self.asked if type(request) is kind]


class FakeTokens(MemoryTokenStore):
    """One valid token, and those that are made."""

    async def authenticate(self, plaintext: str) -> UserId | None:
        return UserId("77") if plaintext == TOKEN else await super().authenticate(plaintext)


class NoAudit:
    """Nobody reads it here."""

    def record(self, *line: Any) -> None: ...


@dataclass
class Api:
    """A running API."""

    system: FakeSystem
    deps: Deps
    server: ApiServer
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"


def grant_own_guild(request: CheckGuildAccess) -> None:
    if request.guild_id != GUILD:
        raise Forbidden("Admin permission required")


async def start_api(system: FakeSystem, data_dir: Path, port: int = 0) -> Api:
    peers = PeerBook(system, PEERS)
    tokens = FakeTokens()
    deps = Deps(
        peers=peers,
        identity=(BearerTokens(tokens),),
        tokens=tokens,
        access=GuildAccess(peers),
        log_streams=LogStreams(peers),
        trace_files=TraceFiles(data_dir / "traces", HttpLimits()),
        audit=NoAudit(),
        operator_secret="operator-secret-for-tests",
    )
    server = ApiServer(deps)
    listening = await server.start("127.0.0.1", port)
    return Api(system, deps, server, listening.port)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    system = FakeSystem()
    system.answers[CheckGuildAccess] = grant_own_guild
    system.answers[DescribeMember] = lambda _: {"username": None}
    running = await start_api(system, tmp_path / "left")
    yield running
    await running.server.stop()


@pytest.fixture
def restart_api(tmp_path: Path) -> Callable[[Api], Any]:
    """Starts the API again on the port it had."""

    async def restart(api: Api) -> None:
        again = await start_api(api.system, tmp_path / "left", api.port)
        api.deps, api.server = again.deps, again.server

    return restart


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Flora:
    """Runs the command in a folder and with a home of its own."""

    def __init__(self, home: Path, project: Path, stack: AsyncExitStack) -> None:
        self.home = home
        self.project = project
        self.environment = {"XDG_CONFIG_HOME": str(home), "FLORA_TOKEN": TOKEN}
        self._stack = stack

    async def start(self, *args: str, terminal: int | None = None, **more: str) -> asyncio.subprocess.Process:
        """Starts the command; `terminal`: a descriptor that is its input and output."""
        kept = {name: value for name in ("PATH", "HOME") if (value := os.environ.get(name)) is not None}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "flora.scripts.cli.main",
            *args,
            cwd=self.project,
            env={**kept, **self.environment, **more},
            stdin=asyncio.subprocess.PIPE if terminal is None else terminal,
            stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
            stderr=asyncio.subprocess.PIPE,
        )
        self._stack.push_async_callback(_end, process)
        return process

    async def run(self, *args: str, stdin: str = "", **more: str) -> Done:
        process = await self.start(*args, **more)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), RUN_LIMIT_S)
        assert process.returncode is not None
        done = Done(process.returncode, out.decode(), err.decode())
        assert "Traceback" not in done.err or "--debug" in args, done.err
        return done

    def write(self, path: str, text: str) -> Path:
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.fixture
async def flora(tmp_path: Path) -> AsyncIterator[Flora]:
    (tmp_path / "home").mkdir()
    (tmp_path / "project").mkdir()
    async with AsyncExitStack() as stack:
        yield Flora(tmp_path / "home", tmp_path / "project", stack)


@pytest.fixture
async def plain_server() -> AsyncIterator[Callable[[Any], Any]]:
    """A server that is not flora: every path gets the same answer."""
    async with AsyncExitStack() as stack:

        async def start(handler: Any) -> str:
            runner = web.ServerRunner(web.Server(handler))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}/api"

        yield start
