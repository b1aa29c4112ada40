"""One websocket of the gateway: frames, compression, heartbeats, IDENTIFY and RESUME.

Dispatches are collected while the loop turns and written in one piece, one websocket frame each. The frames are
laid out here and not by aiohttp, whose per-frame cost is several times that of everything else on this path.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from flora.http.simulator import intents
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.gateway.hub import Hub
from flora.http.simulator.gateway.session import Session
from flora.http.simulator.world import World

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, VOICE_STATE, RESUME, RECONNECT, REQUEST_MEMBERS = 0, 1, 2, 3, 4, 6, 7, 8
INVALID_SESSION, HELLO, HEARTBEAT_ACK = 9, 10, 11
MAX_PAYLOAD_BYTES = 4096
HIGH_WATER_BYTES = 256 * 1024 * 1024  # a client this far behind is cut off, as Discord does
_TEXT_FRAME, _BINARY_FRAME = 0x81, 0x82


def frame(opcode_byte: int, payload: bytes) -> bytes:
    """A whole, unmasked websocket frame, as servers send them."""
    length = len(payload)
    if length < 126:
        header = bytes((opcode_byte, length))
    elif length < 65536:
        header = bytes((opcode_byte, 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((opcode_byte, 127)) + length.to_bytes(8, "big")
    return header + payload


class Closed(Exception):
    """The connection is to be closed with a gateway close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """Serves one websocket until it ends."""

    def __init__(self, config: SimulatorConfig, world: World, hub: Hub, request: web.Request) -> None:
        self._config = config
        self._world = world
        self._hub = hub
        self._request = request
        self._ws = web.WebSocketResponse(autoping=True, compress=False, max_msg_size=4 * MAX_PAYLOAD_BYTES)
        zipped = request.query.get("compress") == "zlib-stream"
        self._deflate = zlib.compressobj(config.compression_level) if zipped else None
        self._out: list[bytes] = []
        self._flush_planned = False
        self._session: Session | None = None
        self._heard_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[Any] | None = None

    async def serve(self) -> web.WebSocketResponse:
        """Speaks the protocol; returns when the connection is over."""
        await self._ws.prepare(self._request)
        self._send(HELLO, {"heartbeat_interval": self._config.heartbeat_interval_ms, "_trace": ["simulated"]})
        watchdog = self._loop.create_task(self._watch())
        try:
            if self._request.query.get("encoding", "json") != "json":
                raise Closed(4002, "Only the json encoding is spoken here.")
            async for message in self._ws:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                self._receive(message.data)
        except Closed as stop:
            self.close(stop.code, stop.reason)
        except (TypeError, ValueError, AttributeError):  # fields of another kind than Discord's
            self.close(4002, "Decode error.")
        finally:
            watchdog.cancel()
            if self._session is not None:
                self._session.detach(self)
                if self._ws.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY) and self._closing is None:
                    self._hub.end(self._session)  # a client that says goodbye with 1000 or 1001 ends its session
            if self._closing is not None:
                await self._closing
        return self._ws

    # Link

    def queue(self, payload: bytes) -> None:
        self._out.append(payload)
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._flush()
            self._closing = self._loop.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        await self._ws.close(code=code, message=reason.encode())

    def backlog_bytes(self) -> int:
        """What the client has not taken yet."""
        transport = self._request.transport
        queued = sum(map(len, self._out))
        return queued if transport is None else queued + transport.get_write_buffer_size()

    def abort(self) -> None:
        """Cuts the connection without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def _flush(self) -> None:
        self._flush_planned = False
        transport = self._request.transport
        payloads, self._out = self._out, []
        if transport is None or transport.is_closing() or self._ws.closed or not payloads:
            return
        if self._deflate is None:
            frames = [frame(_TEXT_FRAME, payload) for payload in payloads]
        else:
            deflate = self._deflate
            frames = [
                frame(_BINARY_FRAME, deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))
                for payload in payloads
            ]
        wire = transport
        wire.write(b"".join(frames))
        if wire.get_write_buffer_size() > HIGH_WATER_BYTES:
            wire.abort()

    def _send(self, op: int, data: object = None) -> None:
        self.queue(orjson.dumps({"t": None, "s": None, "op": op, "d": data}))

    def ask_to_reconnect(self) -> None:
        """Sends op 7: the client closes and resumes."""
        self._send(RECONNECT)

    def invalidate(self, *, resumable: bool) -> None:
        """Sends op 9; without `resumable` the session is over."""
        if self._session is not None and not resumable:
            self._hub.end(self._session)
        self._send(INVALID_SESSION, resumable)

    # Receiving

    def _receive(self, raw: str | bytes) -> None:
        if len(raw) > MAX_PAYLOAD_BYTES:
            raise Closed(4002, "Payload too large.")
        try:
            message = orjson.loads(raw)
            op, data = message["op"], message.get("d")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise Closed(4002, "Decode error.") from None
        if op == HEARTBEAT:
            self._heard_at = time.monotonic()
            if self._session is None or not self._session.frozen:
                self._send(HEARTBEAT_ACK)
        elif op == IDENTIFY:
            self._identify(data)
        elif op == RESUME:
            self._resume(data)
        elif self._session is None:
            raise Closed(4003, "Not authenticated.")
        elif op == REQUEST_MEMBERS:
            self._send_members(data)
        elif op not in (PRESENCE, VOICE_STATE, 31):
            raise Closed(4001, "Unknown opcode.")

    def _identify(self, data: Any) -> None:
        if self._session is not None:
            raise Closed(4005, "Already authenticated.")
        if not isinstance(data, dict) or not isinstance(data.get("intents"), int):
            raise Closed(4002, "Decode error.")
        self._check_token(data)
        wanted = data["intents"]
        if wanted & ~intents.KNOWN or wanted < 0:
            raise Closed(4013, "Invalid intent(s).")
        if wanted & intents.PRIVILEGED and not self._config.privileged_intents:
            raise Closed(4014, "Disallowed intent(s).")
        shard_id, shards = data.get("shard") or (0, 1)
        if not 0 <= shard_id < shards:
            raise Closed(4010, "Invalid shard.")
        session = self._session = Session(wanted, (shard_id, shards), self._config.replay_limit)
        session.attach(self)
        self._ready(session)
        self._hub.open(session)
        for guild in list(self._world.guilds.values()):
            if not guild.unavailable and session.wants("GUILD_CREATE", guild.id):
                self._hub.greet(session, guild.id)

    def _ready(self, session: Session) -> None:
        guilds = [g for g in self._world.guilds.values() if session.covers(g.id)]
        bot = self._world.users[self._world.bot_id]
        ready = {
            "v": 10,
            "user": {**bot, "verified": True, "mfa_enabled": False, "email": None, "flags": 0},
            "guilds": [{"id": g.id, "unavailable": True} for g in guilds],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": f"ws://{self._request.host}",
            "shard": list(session.shard),
            "application": {"id": self._config.application_id, "flags": 1 << 14 | 1 << 18},
            "private_channels": [],
            "user_settings": {},
            "relationships": [],
            "presences": [],
            "guild_join_requests": [],
            "geo_ordered_rtc_regions": [],
            "_trace": ["simulated"],
        }
        session.dispatch("READY", orjson.dumps(ready))

    def _resume(self, data: Any) -> None:
        if self._session is not None:
            raise Closed(4005, "Already authenticated.")
        if not isinstance(data, dict) or not isinstance(data.get("seq"), int):
            raise Closed(4002, "Decode error.")
        self._check_token(data)
        session = self._hub.sessions.get(str(data.get("session_id")))
        if session is None or not session.can_resume_from(data["seq"]):
            self._send(INVALID_SESSION, False)
            return
        self._session = session
        session.resume(self, data["seq"])
        session.dispatch("RESUMED", b'{"_trace":["simulated"]}')

    def _check_token(self, data: JsonObject) -> None:
        token = str(data.get("token")).removeprefix("Bot ")
        if token != self._config.bot_token:
            raise Closed(4004, "Authentication failed.")

    def _send_members(self, data: Any) -> None:
        """Answers op 8 with chunks of at most 1,000 members."""
        session = self._session
        guild = self._world.guilds.get(str(data.get("guild_id"))) if isinstance(data, dict) else None
        if session is None or guild is None:
            return
        chosen = [self._world.member(guild, user_id) for user_id in guild.members]
        ids = data.get("user_ids")
        if ids:
            wanted = {str(i) for i in (ids if isinstance(ids, list) else [ids])}
            chosen = [m for m in chosen if m["user"]["id"] in wanted]
        elif data.get("query"):
            prefix = str(data["query"]).lower()
            chosen = [m for m in chosen if (m["nick"] or m["user"]["username"]).lower().startswith(prefix)]
        chosen = chosen[: data.get("limit") or len(chosen)]
        pages = [chosen[i : i + 1000] for i in range(0, len(chosen), 1000)] or [[]]
        for index, page in enumerate(pages):
            body: JsonObject = {"guild_id": guild.id, "members": page, "chunk_index": index, "chunk_count": len(pages)}
            if data.get("nonce") is not None:
                body["nonce"] = data["nonce"]
            session.dispatch("GUILD_MEMBERS_CHUNK", orjson.dumps(body))

    async def _watch(self) -> None:
        """Closes the connection of a client whose heartbeats stopped."""
        interval_s = self._config.heartbeat_interval_ms / 1000
        while True:
            await asyncio.sleep(interval_s)
            if time.monotonic() - self._heard_at > 1.5 * interval_s:
                self.close(4009, "Session timed out.")
                return
