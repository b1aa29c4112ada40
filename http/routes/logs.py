"""`/api/logs`: what a guild's script and the runtime said about it; kept lines, and live ones as server-sent events.

The guild is in the path, or in `guild_id`; the operator may leave it out and gets all guilds' lines since the log book began.
Which lines: `level` (and above), `source` (script, runtime), `since`, `until` (Unix milliseconds or RFC 3339), `q` (a text within the
message), `before` (older than the line of this id, to page back).

A stream sends unnamed events, `id: <n>` and `data: <LogEntry JSON>`; `event: lost` with `{"lost": n}` where lines are
missing; a comment every 15 s of silence. A client that returns with Last-Event-ID gets what it missed, as far as it is
kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web

from flora.http.deps import DEPS, TRACE, Deps
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogBatch, LogStream
from flora.http.query import count_parameter, log_filter
from flora.http.render import json_response
from flora.http.routing import Access, Route, checked_guild_id
from flora.messages.ids import GuildId, ReqId
from flora.messages.logs import ReadLogs

DEFAULT_LINES = 100
MAX_LINES = 1000
RECONNECT_MS = 2000  # what browsers wait before they come back
KEEP_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}

Entry = Mapping[str, Any]


async def read_logs(request: web.Request) -> web.Response:
    """The newest `limit` of the wanted lines, oldest first."""
    limit = count_parameter(request, "limit", DEFAULT_LINES, MAX_LINES)
    return json_response(await _kept_lines(request, limit))


async def stream_logs(request: web.Request) -> web.StreamResponse:
    """Server-sent events: `history=n` kept lines first, then live ones."""
    deps = request.app[DEPS]
    guild_id, wanted = _wanted_guild(request), log_filter(request)
    history = count_parameter(request, "history", 0, MAX_LINES)
    after_id = _last_event_id(request)
    kept: list[dict[str, Any]] = []
    if history and after_id is None:
        kept = await _kept_lines(request, history)
        after_id = kept[-1]["id"] if kept else 0
    async with await deps.log_streams.follow(guild_id, after_id, wanted) as stream:
        response = web.StreamResponse(headers=STREAM_HEADERS)
        await response.prepare(request)
        try:
            await _write(response, b"retry: %d\n\n" % RECONNECT_MS + _events(kept), deps.limits)
            await _pump(stream, response, deps.limits)
        except ConnectionError:
            pass  # the reader is gone
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # it takes nothing any more, so it would not take a proper ending either
    return response


async def _pump(stream: LogStream, response: web.StreamResponse, limits: HttpLimits) -> None:
    while (batch := await stream.take(limits.keep_alive_s)) is not None:
        await _write(response, _encoded(batch), limits)
    await _write(response, b": end\n\n", limits)


def _encoded(batch: LogBatch) -> bytes:
    if not batch.lines and not batch.lost:
        return KEEP_ALIVE
    lost = b'event: lost\ndata: {"lost":%d}\n\n' % batch.lost if batch.lost else b""
    return lost + _events(batch.lines)


async def _write(response: web.StreamResponse, chunk: bytes, limits: HttpLimits) -> None:
    async with asyncio.timeout(limits.stream_write_s):
        await response.write(chunk)


async def _kept_lines(request: web.Request, limit: int) -> list[dict[str, Any]]:
    deps: Deps = request.app[DEPS]
    message = ReadLogs(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=_wanted_guild(request),
        limit=limit,
        wanted=log_filter(request),
    )
    return [_entry(line) for line in await deps.peers.ask("log_book", message, deps.limits.peer_s)]


def _wanted_guild(request: web.Request) -> GuildId | None:
    """None: all guilds'; only the operator comes so far without naming one."""
    given = request.match_info.get("guild_id") or request.query.get("guild_id")
    return None if given is None else checked_guild_id(given)


def _entry(line: Entry) -> dict[str, Any]:
    """LogEntry of the API. Lines of no guild have a null guild_id."""
    return {
        "id": line["id"],
        "timestamp": line["timestamp"],
        "level": line["level"],
        "target": line["target"],
        "guild_id": line["guild_id"] or None,
        "message": line["message"],
    }


def _events(lines: Iterable[Entry]) -> bytes:
    return b"".join(b"id: %d\ndata: %s\n\n" % (line["id"], orjson.dumps(_entry(line))) for line in lines)


def _last_event_id(request: web.Request) -> int | None:
    """Where the client left off; what we never sent is ignored."""
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


ROUTES = (
    Route(method="GET", path="/logs", handler=read_logs, access=Access.GUILD_ADMIN_OR_OPERATOR, compressed=False),
    Route(
        method="GET",
        path="/logs/stream",
        handler=stream_logs,
        access=Access.GUILD_ADMIN_OR_OPERATOR,
        timed=False,
        compressed=False,
        traced=False,
    ),
    Route(
        method="GET",
        path="/logs/{guild_id}",
        handler=read_logs,
        access=Access.GUILD_ADMIN_OR_OPERATOR,
        compressed=False,
    ),
    Route(
        method="GET",
        path="/logs/{guild_id}/stream",
        handler=stream_logs,
        access=Access.GUILD_ADMIN_OR_OPERATOR,
        timed=False,
        compressed=False,
        traced=False,
    ),
)
