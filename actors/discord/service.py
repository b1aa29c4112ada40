"""Everything the gateway does on its asyncio loop, put together. Knows nothing of actors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import disnake

from flora.actors.discord.access import GuildAccess
from flora.actors.discord.client import ClientHooks, FloraClient
from flora.actors.discord.http import DiscordRest
from flora.actors.discord.rest import RestExecutor, Result
from flora.actors.discord.scope import Authoriser, ScopeCache, SharedScopes
from flora.actors.discord.sink import EventSink
from flora.messages.errors import BugError, FloraError
from flora.messages.gateway import ShardSession
from flora.messages.settings import Settings
from flora.storage.redis import DegradingCache, GuardedCache, RedisCache, make_client

log = logging.getLogger(__name__)

CANCEL_LIMIT_S = 0.5
CACHE_CONNECTIONS = 4  # one look-up takes a fraction of a millisecond


@dataclass(frozen=True, slots=True)
class Reports:
    """What the service tells its actor. Called on the loop; must not block."""

    events: Callable[[], None]  # the sink has events
    result: Callable[[str, Result], None]  # (origin, result of one REST call)
    ready: Callable[[str, str, tuple[str, ...]], None]  # (application id, bot's user id, guilds), once
    guild: Callable[[str, bool], None]  # (guild id, True: available, False: left)
    failed: Callable[[FloraError], None]  # Discord refused for good
    session: Callable[[ShardSession], None]  # a shard has a session


class _SharedCache:
    """Scopes in Redis, which may be away: then nothing is found there, and nothing waits for it."""

    def __init__(self, url: str) -> None:
        self._client = make_client(url, CACHE_CONNECTIONS)
        self._guard = GuardedCache(RedisCache(self._client), self._client.ping)
        self.scopes = SharedScopes(DegradingCache(self._guard))

    async def close(self) -> None:
        await self.scopes.close()
        await self._guard.close()
        await self._client.aclose()


class GatewayService:
    """The connection to Discord. Made and used on the loop, but for `sink.take`."""

    def __init__(self, settings: Settings, reports: Reports) -> None:
        self.sink = EventSink(reports.events)
        self._redis = _SharedCache(settings.cache.url) if settings.cache.url is not None else None
        self.scopes = ScopeCache(shared=self._redis.scopes if self._redis is not None else None)
        self.client = FloraClient(
            token=settings.discord.bot_token,
            api_base=settings.discord.api_base,
            intents=settings.discord.intents,
            sink=self.sink,
            scopes=self.scopes,
            hooks=ClientHooks(ready=self._ready, guild=reports.guild, session=reports.session),
        )
        self.rest = DiscordRest(self.client.http, settings.runtime.rest_timeout_ms / 1000)
        self.executor = RestExecutor(
            self.rest,
            Authoriser(self.scopes, self.rest.get),
            reports.result,
            guild_concurrency=settings.runtime.guild_concurrency,
        )
        self.access = GuildAccess(self.rest.get)
        self.may_connect = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._reports = reports

    async def run(self) -> None:
        """Logs in, connects when it may, and stays connected until `close`; what only a person can repair is reported."""
        self._running = asyncio.current_task()
        try:
            await self.client.log_in()
            await self._learn_application()
            await self.may_connect.wait()
            await self.client.stay_connected()
        except FloraError as exc:
            log.error("the connection to Discord is over: %s", exc, extra={"action": "gateway_failed"})
            self._reports.failed(exc)
        except Exception:
            log.exception("the gateway failed", extra={"action": "bug"})
            self._reports.failed(BugError("the gateway failed; see its log"))

    async def close(self) -> None:
        """Says goodbye to Discord. A login under way is given up first: it would open new connections behind our back."""
        self.sink.close()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running], timeout=CANCEL_LIMIT_S)
        await self.client.close()
        connector = self.client.http.connector
        if connector is not None:
            await connector.close()
        if self._redis is not None:
            await self._redis.close()

    async def _learn_application(self) -> None:
        # Scripts register commands while they load, which at boot is before READY.
        try:
            found = await self.client.http.application_info()
        except disnake.HTTPException:
            log.warning("the application could not be fetched; REST calls wait for READY")
            return
        self._open_rest(str(found["id"]))

    def _open_rest(self, application_id: str) -> None:
        self.executor.application_id = application_id
        self.rest.open.set()

    def _ready(self, application_id: str, bot_user_id: str, guild_ids: tuple[str, ...]) -> None:
        self._open_rest(application_id)
        self._reports.ready(application_id, bot_user_id, guild_ids)
