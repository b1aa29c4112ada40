"""disnake for transport only: websocket, heartbeat, resume, identify, shards. Its models and caches are never used.

Five places of disnake 2.12 are replaced: the table of parsers, which would build objects for every event;
`received_message` of the socket, by a shorter one for dispatches; its making, so that a shard can go on with the session of a
process that was killed; the pauses of a reconnecting shard; and the making of a websocket, so that none is left open.
`event_socket.py` has the websocket and the pauses. Everything rare goes through disnake's own code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
import disnake
from disnake import shard as disnake_shard
from disnake.http import HTTPClient, Route

from flora.actors.discord.event_socket import EventSocket, ShardBackoff, let_go_of
from flora.actors.discord.http import connector
from flora.actors.discord.intents import INTENT_BITS, PRIVILEGED, intents_from
from flora.actors.discord.payloads import event_name
from flora.actors.discord.scope import ScopeCache
from flora.actors.discord.sink import EventSink
from flora.messages.errors import ConfigError, FloraError, Unavailable
from flora.messages.gateway import ShardSession

log = logging.getLogger(__name__)

LOGIN_WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses between attempts to reach the API at start; the last one repeats for ever."""
_MAPPED = (
    "MESSAGE_CREATE",
    "MESSAGE_UPDATE",
    "MESSAGE_DELETE",
    "MESSAGE_DELETE_BULK",
    "MESSAGE_REACTION_ADD",
    "MESSAGE_REACTION_REMOVE",
    "MESSAGE_REACTION_REMOVE_EMOJI",
    "MESSAGE_REACTION_REMOVE_ALL",
)


@dataclass(frozen=True, slots=True)
class ClientHooks:
    """What the client reports. Called on the loop; must not block."""

    ready: Callable[
        [str, str, tuple[str, ...]], None
    ]  # (application id, bot's user id, guilds), once all shards were READY
    guild: Callable[[str, bool], None]  # (guild id, True: available, False: left)
    session: Callable[[ShardSession], None]  # a shard has identified, or resumed what an earlier process had


class FloraClient(disnake.AutoShardedClient):
    """One process's connection to Discord: as many shards as Discord recommends. On the loop."""

    def __init__(
        self,
        *,
        token: str,
        api_base: str,
        intents: tuple[str, ...],
        sink: EventSink,
        scopes: ScopeCache,
        hooks: ClientHooks,
        shard_count: int | None = None,
    ) -> None:
        """Makes a client that is not connected yet.

        Args:
            token: Of the bot.
            api_base: REST base with version, such as `https://discord.com/api/v10`; it names the gateway.
            intents: See `intents_from`.
            sink: Takes script events.
            scopes: Learns which guild a channel or thread belongs to.
            hooks: What is reported.
            shard_count: None: ask Discord.
        """
        disnake.VoiceClient.warn_nacl = disnake.VoiceClient.warn_dave = False  # voice is not used
        disnake_shard.DiscordWebSocket = EventSocket  # type: ignore[attr-defined]  # how shards find these two
        disnake_shard.ExponentialBackoff = ShardBackoff  # type: ignore[attr-defined, assignment]
        if api_base:
            Route.BASE = api_base.rstrip("/")
        self._token = token
        self._sink = sink
        self._scopes = scopes
        self._report = hooks
        self._ready_shards: set[int] = set()
        self._guilds_at_start: list[str] = []
        self._announced = False
        self.reached = sink.reached
        self._saved: dict[int, ShardSession] = {}
        self._resuming: dict[int, ShardSession] = {}
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []
        super().__init__(
            loop=asyncio.get_running_loop(),
            connector=connector(),
            intents=intents_from(intents),
            shard_count=shard_count,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=disnake.MemberCacheFlags.none(),
            enable_gateway_error_handler=False,
        )
        self.http.ws_connect = self._ws_connect  # type: ignore[method-assign]
        parsers = self._connection.parsers
        parsers.clear()
        parsers.update(self._parsers())

    def resume_from(self, sessions: Iterable[ShardSession]) -> None:
        """Has the shards go on with these sessions instead of identifying. Before `stay_connected`."""
        self._saved = {session.shard_id: session for session in sessions}

    def saved_session(self, shard_id: int | None) -> ShardSession | None:
        """For `EventSocket`: what a shard's first connection is to resume; a session belongs to one number of shards."""
        saved = self._saved.get(shard_id or 0)
        return saved if saved is not None and saved.shard_count == self.shard_count else None

    def connected_with_saved(self, session: ShardSession) -> None:
        """For `EventSocket`: the session was asked for. If Discord does not know it any more, the shard identifies."""
        del self._saved[session.shard_id]
        self._resuming[session.shard_id] = session

    async def _ws_connect(self, url: str, *, compress: int = 0) -> aiohttp.ClientWebSocketResponse:
        socket = await HTTPClient.ws_connect(self.http, url, compress=compress)
        self._sockets = [known for known in self._sockets if not known._response.closed]
        self._sockets.append(socket)
        return socket

    async def close(self) -> None:
        """Says goodbye to Discord; a connection that was not yet ready to say it is dropped."""
        await super().close()
        for socket in self._sockets:
            let_go_of(socket)

    async def log_in(self) -> None:
        """Proves the token; tries again for ever while Discord cannot be reached.

        Raises:
            ConfigError: Discord refused the token.
        """
        for attempt in range(1 << 30):
            try:
                await self.login(self._token)
            except disnake.LoginFailure as exc:
                raise _token_refused() from exc
            except (disnake.HTTPException, aiohttp.ClientError, OSError, TimeoutError) as exc:
                wait_s = LOGIN_WAITS_S[min(attempt, len(LOGIN_WAITS_S) - 1)]
                log.warning("Discord cannot be reached: %s; next try in %g s", type(exc).__name__, wait_s)
                await self.http.close()
                self.http.connector = connector()
                await asyncio.sleep(wait_s)
            else:
                return

    async def stay_connected(self) -> None:
        """Runs the shards; disnake reconnects and resumes. Returns after `close`.

        Raises:
            ConfigError: Discord refused the token or the intents: only a person can repair that.
            Unavailable: Discord allows no further identify today, or closed for good.
        """
        for attempt in range(1 << 30):
            try:
                await self.connect()
            except (disnake.GatewayNotFound, aiohttp.ClientError, OSError, TimeoutError) as exc:
                wait_s = LOGIN_WAITS_S[min(attempt, len(LOGIN_WAITS_S) - 1)]
                log.warning("Discord's gateway cannot be reached: %s; next try in %g s", type(exc).__name__, wait_s)
                await asyncio.sleep(wait_s)
            except disnake.DiscordException as exc:
                raise self._fatal(exc) from exc
            else:
                return

    def dispatch(self, event: str, *args: Any, **kwargs: Any) -> None:
        """disnake's own events: nobody listens, except to a lost connection."""
        if event == "shard_disconnect":
            log.info("shard %s lost its connection", args[0], extra={"action": "shard_disconnected"})

    def _fatal(self, exc: disnake.DiscordException) -> FloraError:
        code = exc.code if isinstance(exc, disnake.ConnectionClosed) else None
        if code == 4004:
            return _token_refused()
        if isinstance(exc, disnake.PrivilegedIntentsRequired) or code == 4014:
            wanted = ", ".join(name for name in PRIVILEGED if self.intents.value >> INTENT_BITS[name] & 1)
            return ConfigError(
                f"Discord refused the privileged intents ({wanted}). Enable them for this application in the developer "
                "portal (Bot, Privileged Gateway Intents), or leave them out of discord.intents (DISCORD_INTENTS)."
            )
        if code == 4013:
            return ConfigError("Discord does not know one of the intents in discord.intents (DISCORD_INTENTS).")
        if isinstance(exc, disnake.SessionStartLimitReached):
            return Unavailable("Discord allows no further identify for now: the bot was restarted too often today.")
        return Unavailable(f"Discord closed the gateway for good: {exc}")

    def _parsers(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        table: dict[str, Callable[[dict[str, Any]], None]] = {
            "READY": self._ready_arrived,
            "RESUMED": self._resumed,
            "INTERACTION_CREATE": self._interaction,
            "GUILD_CREATE": self._guild_create,
            "GUILD_DELETE": self._guild_delete,
            "CHANNEL_DELETE": self._channel_gone,
            "THREAD_DELETE": self._channel_gone,
            "THREAD_LIST_SYNC": self._thread_list,
        }
        for dispatch in ("CHANNEL_CREATE", "CHANNEL_UPDATE", "THREAD_CREATE", "THREAD_UPDATE"):
            table[dispatch] = self._channel_seen
        for dispatch in _MAPPED:
            table[dispatch] = self._offer(dispatch)
        return table

    def _offer(self, dispatch: str) -> Callable[[dict[str, Any]], None]:
        name = event_name(dispatch, {})
        assert name is not None
        offer = self._sink.offer
        return lambda raw: offer(name, raw)

    def _interaction(self, raw: dict[str, Any]) -> None:
        name = event_name("INTERACTION_CREATE", raw)
        if name is not None:
            self._sink.offer(name, raw)

    def _ready_arrived(self, raw: dict[str, Any]) -> None:
        shard_id = raw["__shard_id__"] or 0
        session = ShardSession(
            shard_id=shard_id,
            shard_count=self.shard_count or 1,
            session_id=raw["session_id"],
            resume_url=raw["resume_gateway_url"],
            application_id=raw["application"]["id"],
            bot_user_id=raw["user"]["id"],
            guild_ids=tuple(guild["id"] for guild in raw["guilds"]),
        )
        self._resuming.pop(shard_id, None)
        self._sink.push("", "ready", raw)
        self._shard_is_ready(session)

    def _resumed(self, raw: dict[str, Any]) -> None:
        """Only of interest where an earlier process had the session: Discord does not say READY again, and scripts need not hear it."""
        session = self._resuming.pop(raw["__shard_id__"] or 0, None)
        if session is not None:
            self._shard_is_ready(session)

    def _shard_is_ready(self, session: ShardSession) -> None:
        self._ready_shards.add(session.shard_id)
        self._guilds_at_start.extend(session.guild_ids)
        self._report.session(session)
        if not self._announced and len(self._ready_shards) >= (self.shard_count or 1):
            self._announced = True
            self._ready.set()
            self._report.ready(session.application_id, session.bot_user_id, tuple(self._guilds_at_start))

    def _guild_create(self, raw: dict[str, Any]) -> None:
        if not raw.get("unavailable"):
            self._scopes.learn_guild(raw)
            self._report.guild(raw["id"], True)

    def _guild_delete(self, raw: dict[str, Any]) -> None:
        if not raw.get("unavailable"):  # an outage keeps everything
            self._report.guild(raw["id"], False)

    def _channel_seen(self, raw: dict[str, Any]) -> None:
        if raw.get("guild_id"):
            self._scopes.announce("channel", raw["id"], raw["guild_id"])

    def _channel_gone(self, raw: dict[str, Any]) -> None:
        self._scopes.forget("channel", raw["id"])

    def _thread_list(self, raw: dict[str, Any]) -> None:
        for thread in raw.get("threads", ()):
            self._scopes.announce("channel", thread["id"], raw["guild_id"])


def _token_refused() -> ConfigError:
    return ConfigError(
        "Discord refused the bot token. Set discord.bot_token (DISCORD_BOT_TOKEN) to the current token from the "
        "developer portal."
    )
