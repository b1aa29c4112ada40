from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flora.actors.discord.rest import Call, Result
from flora.actors.discord.service import GatewayService, Reports
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.running import RunningSimulator
from flora.messages.errors import FloraError
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
    wakes: int = 0

    def events(self) -> list[tuple[str, str, str]]:
        """(guild id, event, payload) that came since the last call."""
        return [row[:3] for row in self.service.sink.take(1 << 20)]

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

    async def make(api_base: str, *, token: str = SimulatorConfig().bot_token, **runtime: Any) -> Connected:
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
                ready=lambda app, bot: found.ready.append((app, bot)),
                guild=lambda guild_id, joined: found.guilds.append((guild_id, joined)),
                failed=lambda error: found.failures.append(error),  # noqa: PLW0108  # `found` comes later
            ),
        )
        found = Connected(service, asyncio.create_task(service.run()))
        made.append(found)
        return found

    yield make
    for connected in made:
        await connected.service.close()
        with suppress(asyncio.CancelledError):
            connected.task.cancel()
            await connected.task
