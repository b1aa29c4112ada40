"""disnake for transport only: websocket, heartbeat, resume, identify, shards. Its models and caches are never used.

Five places of disnake 2.12 are replaced: the table of parsers, which would build objects for every event;
`received_message` of the socket, by a shorter one for dispatches; its making, so that a shard can go on with the session of a
process that was killed; the pauses of a reconnecting shard; and the making of a websocket, so that none is left open.
Everything rare goes through disnake's own code.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
import disnake
import orjson
from disnake import shard as disnake_shard
from disnake.backoff import ExponentialBackoff
from disnake.gateway import DiscordWebSocket, ReconnectWebSocket
from disnake.http import HTTPClient, Route

from flora.actors.discord.http import connector
from flora.actors.discord.payloads import event_name
from flora.actors.discord.scope import ScopeCache
from flora.actors.discord.sink import EventSink, Reached
from flora.messages.errors import ConfigError, FloraError, Unavailable
from flora.messages.gateway import ShardSession

log = logging.getLogger(__name__)

_DISPATCH_HEAD = re.compile(rb'\{"t":"([A-Z_]+)","s":(\d+),"op":0,')
"""How Discord begins a dispatch; should it ever change, everything is parsed and nothing breaks."""
ZLIB_SUFFIX = b"\x00\x00\xff\xff"
LOGIN_WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses between attempts to reach the API at start; the last one repeats for ever."""
PRIVILEGED = ("guild_members", "guild_presences", "message_content")

INTENT_BITS = {
    "guilds": 0,
    "guild_members": 1,
    "guild_moderation": 2,
    "guild_expressions": 3,
    "guild_integrations": 4,
    "guild_webhooks": 5,
    "guild_invites": 6,
    "guild_voice_states": 7,
    "guild_presences": 8,
    "guild_messages": 9,
    "guild_message_reactions": 10,
    "guild_message_typing": 11,
    "direct_messages": 12,
    "direct_message_reactions": 13,
    "direct_message_typing": 14,
    "message_content": 15,
    "guild_scheduled_events": 16,
    "auto_moderation_configuration": 20,
    "auto_moderation_execution": 21,
    "guild_message_polls": 24,
    "direct_message_polls": 25,
}
"""Discord's intents and their bits; disnake has its own names for them."""

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


def intents_from(names: tuple[str, ...]) -> disnake.Intents:
    """Intents for the setting `discord.intents`.

    Args:
        names: `all`, `unprivileged`, or names as Discord's documentation has them, in lower case.
    Raises:
        ConfigError: a name is unknown.
    """
    intents = disnake.Intents.none()
    for name in names:
        if name in {"all", "unprivileged"}:
            intents |= disnake.Intents.all() if name == "all" else disnake.Intents.default()
        elif name in INTENT_BITS:
            intents.value |= 1 << INTENT_BITS[name]
        else:
            raise ConfigError(
                f"discord.intents: there is no intent {name!r}; known are all, unprivileged, {', '.join(INTENT_BITS)}"
            )
    return intents


@dataclass(frozen=True, slots=True)
class ClientHooks:
    """What the client reports. Called on the loop; must not block."""

    ready: Callable[
        [str, str, tuple[str, ...]], None
    ]  # (application id, bot's user id, guilds), once all shards were READY
    guild: Callable[[str, bool], None]  # (guild id, True: available, False: left)
    session: Callable[[ShardSession], None]  # a shard has identified, or resumed what an earlier process had


class ShardBackoff(ExponentialBackoff[bool]):
    """Pauses between a shard's attempts to reconnect: full jitter, up to 32 s.

    disnake's go up to 17 minutes, long after Discord is back. Connecting is not rationed, identifying is, and that has a
    pause of its own.
    """

    def __init__(self, base: int = 1) -> None:
        super().__init__(base)
        self._max = 5


class EventSocket(DiscordWebSocket):
    """A gateway connection that spends on a dispatch only what it needs: inflate, parse, count, hand over."""

    reached = Reached()  # of a socket that no client made

    @classmethod
    async def from_client(cls, client: Any, *, shard_id: int | None = None, **options: Any) -> EventSocket:
        """Makes a connection that identifies or resumes; the first of a shard resumes the session of an earlier process."""
        saved = None if options.get("resume") else client.saved_session(shard_id)
        if saved is None:
            socket = await super().from_client(client, shard_id=shard_id, **options)
        else:
            socket = await cls._resume_saved(client, saved, options.get("gateway"))
            client.connected_with_saved(saved)
        socket.reached = client.reached
        return socket

    @classmethod
    async def _resume_saved(cls, client: Any, saved: ShardSession, gateway: str | None) -> EventSocket:
        options: dict[str, Any] = {"resume": True, "session": saved.session_id, "sequence": saved.sequence}
        try:
            return await super().from_client(client, shard_id=saved.shard_id, gateway=saved.resume_url, **options)
        except (ReconnectWebSocket, disnake.ConnectionClosed, aiohttp.ClientError, OSError, TimeoutError) as exc:
            log.warning("shard %d: its resume address does not answer: %s", saved.shard_id, type(exc).__name__)
        return await super().from_client(client, shard_id=saved.shard_id, gateway=gateway, **options)

    async def poll_event(self) -> None:
        try:
            await super().poll_event()
        except (ReconnectWebSocket, disnake.ConnectionClosed):
            let_go_of(self.socket)  # disnake drops it without a word
            raise

    async def received_message(self, raw_msg: str | bytes, /) -> None:
        if isinstance(raw_msg, bytes):
            if self._buffer or raw_msg[-4:] != ZLIB_SUFFIX:
                self._buffer += raw_msg
                if self._buffer[-4:] != ZLIB_SUFFIX:
                    return
                raw_msg, self._buffer = bytes(self._buffer), bytearray()
            raw_msg = self._zlib.decompress(raw_msg)
        if isinstance(raw_msg, bytes) and self._skip(raw_msg):
            return
        msg = orjson.loads(raw_msg)
        event = msg.get("t")
        if msg["op"] == self.DISPATCH:
            session_id = msg["d"]["session_id"] if event == "READY" else self.session_id
            self.reached.begin(self.shard_id or 0, session_id or "", msg["s"])
        if msg["op"] != self.DISPATCH or event in {"READY", "RESUMED"}:
            await super().received_message(raw_msg if isinstance(raw_msg, str) else raw_msg.decode())
            if msg["op"] == self.HELLO:
                # From here on disnake's heartbeat thread closes a silent connection after this time. A timer per
                # message besides costs as much as all the rest of reading it.
                self._max_heartbeat_timeout = 0
            elif msg["op"] == self.DISPATCH:
                self.reached.end()
            return
        self.sequence = msg["s"]
        if self._keep_alive is not None:
            self._keep_alive.tick()
        parser = self._discord_parsers.get(event)
        if parser is not None:
            try:
                parser(msg["d"])
            except Exception:  # one dispatch in a shape we do not know must not end the connection
                log.exception("dispatch not handled", extra={"action": "dispatch_failed", "event": event})
        self.reached.end()

    def _skip(self, text: bytes) -> bool:
        """Counts a dispatch that nobody handles, such as a presence, without parsing it; False for anything else."""
        head = _DISPATCH_HEAD.match(text)
        if head is None or head[1].decode() in self._discord_parsers or head[1] == b"RESUMED":
            return False
        self.sequence = int(head[2])
        self.reached.begin(self.shard_id or 0, self.session_id or "", self.sequence)
        self.reached.end()
        if self._keep_alive is not None:
            self._keep_alive.tick()
        return True


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
            self._scopes.learn("channel", raw["id"], raw["guild_id"])

    def _channel_gone(self, raw: dict[str, Any]) -> None:
        self._scopes.forget("channel", raw["id"])

    def _thread_list(self, raw: dict[str, Any]) -> None:
        for thread in raw.get("threads", ()):
            self._scopes.learn("channel", thread["id"], raw["guild_id"])


def let_go_of(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Drops a websocket's connection at once, without the closing handshake; one that is closed already stays so."""
    socket._response.close()


def _token_refused() -> ConfigError:
    return ConfigError(
        "Discord refused the bot token. Set discord.bot_token (DISCORD_BOT_TOKEN) to the current token from the "
        "developer portal."
    )
