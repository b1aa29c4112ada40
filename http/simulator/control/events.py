"""Live updates for the page: everything that happens, as server-sent events."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from flora.http.simulator.control.base import sim_of
from flora.http.simulator.errors import JsonObject

MAX_BEHIND = 2000
KEEP_ALIVE_S = 15.0
GOODBYE = "SIM_GOODBYE"  # emitted when the server stops: open streams would otherwise hold up its end


def add_routes(app: web.Application) -> None:
    """Adds this module's routes."""
    app.router.add_get("/sim/events", stream)


class _Feed:
    """Events one page has not taken yet. A page that falls too far behind is told to load everything anew."""

    def __init__(self, guild_id: str | None) -> None:
        self._guild_id = guild_id
        self._events: list[bytes] = []
        self._lost = False
        self.over = False
        self.ready = asyncio.Event()

    def __call__(self, event: str, data: JsonObject, guild_id: str | None) -> None:
        if event == GOODBYE:
            self.over = True
            self.ready.set()
            return
        if self._guild_id is not None and guild_id != self._guild_id and not event.startswith("GUILD_"):
            return
        if len(self._events) >= MAX_BEHIND:
            self._lost = True
            self._events.clear()
        if not self._lost:
            self._events.append(orjson.dumps({"event": event.removeprefix("SIM_"), "data": data}))
        self.ready.set()

    def take(self) -> bytes:
        """What to send now."""
        self.ready.clear()
        if self._lost:
            self._lost = False
            return b'data: {"event":"RELOAD","data":{}}\n\n'
        taken, self._events = self._events, []
        return b"".join(b"data: " + event + b"\n\n" for event in taken)


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events; `?guild_id=` leaves out other guilds' messages."""
    hub = sim_of(request).hub
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    feed = _Feed(request.query.get("guild_id"))
    hub.listeners.append(feed)
    try:
        await response.write(b": hello\n\n")
        while not feed.over:
            try:
                await asyncio.wait_for(feed.ready.wait(), KEEP_ALIVE_S)
                await response.write(feed.take())
            except TimeoutError:
                await response.write(b": still here\n\n")
    except ConnectionResetError:
        pass  # the page was closed
    finally:
        hub.listeners.remove(feed)
    return response
