"""One shard's websocket: disnake's, but for what each dispatch costs, for whose session it goes on with, and for its pauses."""

from __future__ import annotations

import logging
import re
from typing import Any

import aiohttp
import disnake
import orjson
from disnake.backoff import ExponentialBackoff
from disnake.gateway import DiscordWebSocket, ReconnectWebSocket

from flora.actors.discord.sink import Reached
from flora.messages.gateway import ShardSession

log = logging.getLogger(__name__)

_DISPATCH_HEAD = re.compile(rb'\{"t":"([A-Z_]+)","s":(\d+),"op":0,')
"""How Discord begins a dispatch; should it ever change, everything is parsed and nothing breaks."""
ZLIB_SUFFIX = b"\x00\x00\xff\xff"


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


def let_go_of(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Drops a websocket's connection at once, without the closing handshake; one that is closed already stays so."""
    socket._response.close()
