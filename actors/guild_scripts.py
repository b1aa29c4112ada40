"""What this process knows of each guild's script, and the one way to load a stored one. Shared by deploys and restores."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flora.actors.compile_cache import CompileCache, Script
from flora.actors.deployment_record import as_stored
from flora.actors.guild_turns import GuildTurns
from flora.messages.deployment import Compiled, Deployment
from flora.messages.errors import FloraError, Unavailable
from flora.messages.ids import GuildId
from flora.storage.backoff import Backoff
from flora.storage.ports import DeploymentStore

T = TypeVar("T")

MAX_WAITING_PER_GUILD = 8  # a person who deploys faster than this has a loop in a script of theirs
STORE_BACKOFF = Backoff(first_s=0.2, cap_s=5.0)
STORE_TRIES = 6  # with the backoff above about six seconds: a killed Postgres is back by then


class ScriptHost(Protocol):
    """Where scripts are compiled and run. All methods raise `FloraError`; TimedOut says that the outcome is unknown."""

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        """Turns sources into what an isolate runs. BundleFailed: the sources are wrong."""

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        """Makes this the guild's running script; the one before stays when this raises anything but TimedOut."""

    def stored(self, guild_id: GuildId) -> None:
        """What was loaded last is stored."""

    async def unload(self, guild_id: GuildId) -> None:
        """Stops the guild's script. A guild without one is fine."""


@dataclass(slots=True)
class GuildScript:
    """What this process knows of a guild. Forgotten when it restarts; the store knows better then."""

    loaded: bool = False
    left: bool = False
    broken: bool = False  # its stored script did not load; only a deploy changes that
    loading: bool = False  # its stored script is being loaded


class GuildScripts:
    """Turns, knowledge and loads, guild by guild. Lives on one asyncio loop."""

    def __init__(
        self,
        store: DeploymentStore,
        host: ScriptHost,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.host = host
        self.sleep = sleep
        self.rng = random.Random()
        self.turns = GuildTurns(MAX_WAITING_PER_GUILD)
        self.compiling: set[GuildId] = set()  # they wait for each other at the compiler, which says nothing about them
        self._cache = CompileCache()
        self._guilds: dict[GuildId, GuildScript] = {}

    def of(self, guild_id: GuildId) -> GuildScript:
        """What is known of a guild; to be changed by who has its turn."""
        return self._guilds.setdefault(guild_id, GuildScript())

    def wanted(self) -> tuple[GuildId, ...]:
        """Guilds that have a script running, or whose stored one is being loaded."""
        return tuple(g for g, guild in self._guilds.items() if (guild.loaded or guild.loading) and not guild.left)

    def deployed(self, guild_id: GuildId) -> None:
        """A new script runs and is stored: whatever was wrong before is over."""
        self._guilds[guild_id] = GuildScript(loaded=True)

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        """Compiles, unless the same was compiled a moment ago."""
        self.compiling.add(guild_id)
        try:
            return await self._cache.get(guild_id, script, lambda missing: self.host.compile(guild_id, missing))
        finally:
            self.compiling.discard(guild_id)

    async def run(self, deployment: Deployment) -> None:
        """Loads a stored deployment. The caller has the guild's turn."""
        guild = self.of(deployment.guild_id)
        guild.loading = True
        try:
            compiled = await self.compile(deployment.guild_id, as_stored(deployment))
            await self.host.load(deployment.guild_id, compiled, restore=True)
        except FloraError as exc:
            guild.loaded, guild.broken = False, not isinstance(exc, Unavailable)
            raise
        finally:
            guild.loading = False
        guild.loaded, guild.broken = True, False

    async def stored(self, guild_id: GuildId) -> Deployment | None:
        """The guild's stored deployment, tried again while the store is away."""
        return await self.patiently(lambda: self.store.current(guild_id))

    async def patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """A read that is tried again while the store is away, STORE_TRIES times in all."""
        for failures in range(1, STORE_TRIES):
            try:
                return await read()
            except Unavailable:
                await self.sleep(STORE_BACKOFF.delay_s(failures, self.rng))
        return await read()
