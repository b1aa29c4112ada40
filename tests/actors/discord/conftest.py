from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from disnake.http import HTTPClient, Route

from flora.actors.discord.http import DiscordRest, connector
from flora.actors.discord.rest import Call, RestExecutor, Result
from flora.actors.discord.scope import Authoriser, ScopeCache
from flora.actors.discord.service import GatewayService, Reports
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.running import RunningSimulator
from flora.messages.errors import FloraError
from flora.messages.gateway import ShardSession
from flora.messages.settings import DiscordSettings, RuntimeSettings, Settings


@dataclass
class Connected:
    """A gateway service and everything it reported."""

    service: GatewayService
    task: asyncio.Task[None]
    results: dict[int, Result] = field(default_factory=dict)
    guilds: list[tuple[str, bool]] = field(default_factory=list)
    ready: list[tuple[str, str]] = field(default_factory=list)
    failures: list[FloraError] = field(default_factory=list)
    sessions: list[ShardSession] = field(default_factory=list)
    wakes: int = 0

    def events(self) -> list[tuple[str, str, str]]:
        """(guild id, event, payload) that came since the last call."""
        return [row[:3] for row in self.service.sink.take(1 << 20)]

    def contents(self) -> list[str | None]:
        """What the messages that came since the last call say; None for other events."""
        return [orjson.loads(payload).get("content") for _, _, payload in self.events()]

    def call(self, call_id: int, guild_id: str, method: str, route: str, **more: Any) -> None:
        """Submits one REST call as worker `w` would."""
        self.service.executor.submit("w", [self.row(call_id, guild_id, method, route, **more)])

    @staticmethod
    def row(call_id: int, guild_id: str, method: str, route: str, **more: Any) -> Call:
        return (
            *(call_id, guild_id, method, route, more.get("scope", ()), more.get("body"), more.get("query", ())),
            *(more.get("reason"), more.get("retry", False)),
        )


Connect = Callable[..., Awaitable[Connected]]


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    """A simulated Discord on this test's loop, without rate limits."""
    async with RunningSimulator(SimulatorConfig(rate_limits=False)) as running:
        yield running


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """Makes gateway services for an API base; all are closed at the end."""
    made: list[Connected] = []

    async def make(
        api_base: str, *, token: str = SimulatorConfig().bot_token, at_once: bool = True, **runtime: Any
    ) -> Connected:
        intents = runtime.pop("intents", ("all",))
        settings = Settings(
            data_dir=tmp_path,
            discord=DiscordSettings(bot_token=token, api_base=api_base, intents=intents),
            runtime=RuntimeSettings(**runtime),
        )
        found: Connected

        def woken() -> None:
            found.wakes += 1

        service = GatewayService(
            settings,
            Reports(
                events=woken,
                result=lambda _, result: found.results.__setitem__(result[0], result),
                ready=lambda app, bot, guilds: found.ready.append((app, bot)),
                guild=lambda guild_id, joined: found.guilds.append((guild_id, joined)),
                failed=lambda error: found.failures.append(error),  # noqa: PLW0108  # `found` comes later
                session=lambda session: found.sessions.append(session),  # noqa: PLW0108
            ),
        )
        if at_once:
            service.may_connect.set()
        found = Connected(service, asyncio.create_task(service.run()))
        made.append(found)
        return found

    yield make
    for connected in made:
        await connected.service.close()
        with suppress(asyncio.CancelledError):
            connected.task.cancel()
            await connected.task


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(body: Any) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


class FaultyDiscord:
    """A REST server that does what a test tells it: answers by `METHOD /path`, everything else with `{"path": …}`."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[str] = []
        self.under_way: dict[str, int] = {}
        self.most_under_way: dict[str, int] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        if line == "GET /users/@me":
            return reply({"id": "1", "username": "flora", "discriminator": "0", "avatar": None})
        self.seen.append(line)
        owner = request.path.split("/")[2]
        self.under_way[owner] = self.under_way.get(owner, 0) + 1
        self.most_under_way[owner] = max(self.most_under_way.get(owner, 0), self.under_way[owner])
        try:
            answer = self.answers.get(line)
            return await answer(request) if answer is not None else reply({"path": request.path})
        finally:
            self.under_way[owner] -= 1


@dataclass
class Rig:
    """An executor on a faulty Discord."""

    discord: FaultyDiscord
    http: HTTPClient
    rest: DiscordRest
    executor: RestExecutor
    scopes: ScopeCache
    results: dict[int, Result] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def call(self, call_id: int, guild_id: str, method: str, route: str, **more: Any) -> None:
        self.executor.submit("w", [Connected.row(call_id, guild_id, method, route, **more)])


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Makes an executor against its own faulty Discord; options: limit_s, guild_concurrency, max_waiting."""
    opened: list[tuple[HTTPClient, web.AppRunner]] = []

    async def make(limit_s: float = 5.0, **options: Any) -> Rig:
        discord = FaultyDiscord()
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", discord.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        Route.BASE = f"http://127.0.0.1:{runner.addresses[0][1]}"
        http = HTTPClient(connector(), loop=asyncio.get_running_loop())
        await http.static_login("token")
        opened.append((http, runner))
        rest = DiscordRest(http, limit_s)
        rest.open.set()
        scopes = ScopeCache()
        rig: Rig

        def deliver(_: str, result: Result) -> None:
            rig.results[result[0]] = result
            rig.order.append(result[0])

        rig = Rig(discord, http, rest, RestExecutor(rest, Authoriser(scopes, rest.get), deliver, **options), scopes)
        return rig

    yield make
    for http, runner in opened:
        await http.close()
        await runner.cleanup()
