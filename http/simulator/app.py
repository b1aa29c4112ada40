"""The simulated Discord as one aiohttp application: gateway, REST, login, control routes and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from aiohttp import hdrs, web

from flora.http.simulator import login
from flora.http.simulator.config import API_PREFIX, SimulatorConfig
from flora.http.simulator.control import bench, events, guilds, messages, use
from flora.http.simulator.control.base import SIMULATOR, refusals, sim_of
from flora.http.simulator.gateway.connection import Connection
from flora.http.simulator.rest.server import RestServer
from flora.http.simulator.rest.table import all_routes
from flora.http.simulator.simulator import Simulator

PAGE_DIR = Path(__file__).parent / "page"
MAX_BODY_BYTES = 32 * 1024 * 1024
SAVE_EVERY_S = 2.0
PAUSE_PER_SAVE = 20  # a large world takes long to save, and nothing else happens meanwhile: at most 5 % of the time
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: http: https:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Named here: browsers refuse scripts with another media type, and the system's own table may have any.
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_SHOWN_INLINE = ("image/png", "image/jpeg", "image/gif", "image/webp")


def create_app(config: SimulatorConfig) -> web.Application:
    """An application to be served on one port. Its `simulator` is under the key `SIMULATOR`."""
    sim = Simulator(config)
    sim.load()
    app = web.Application(middlewares=[refusals], client_max_size=MAX_BODY_BYTES)
    app[SIMULATOR] = sim
    rest = RestServer(sim, all_routes())
    app.router.add_get("/", home)
    app.router.add_get("/sim", page)
    app.router.add_get("/page/{name}", page_file)
    app.router.add_get("/attachments/{channel_id}/{attachment_id}/{filename}", attachment)
    login.add_routes(app)
    for module in (guilds, messages, use, bench, events):
        module.add_routes(app)
    for prefix in (API_PREFIX, "/api/v9", "/api"):
        app.router.add_route("*", prefix + "/{tail:.*}", rest.handle)
    app.cleanup_ctx.append(_keep_saved)
    app.on_shutdown.append(_say_goodbye)
    return app


async def home(request: web.Request) -> web.StreamResponse:
    """The gateway for websockets, as Discord has it at its root; the page for browsers."""
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        sim = sim_of(request)
        return await Connection(sim.config, sim.world, sim.hub, request).serve()
    return await page(request)


async def page(request: web.Request) -> web.StreamResponse:
    return _file(PAGE_DIR / "index.html")


async def page_file(request: web.Request) -> web.StreamResponse:
    found = next((file for file in PAGE_DIR.iterdir() if file.name == request.match_info["name"]), None)
    if found is None or found.suffix not in _MEDIA_TYPES:
        raise web.HTTPNotFound
    return _file(found)


def _file(path: Path) -> web.Response:
    media_type = _MEDIA_TYPES[path.suffix]
    return web.Response(body=path.read_bytes(), content_type=media_type, charset="utf-8", headers=_PAGE_HEADERS)


async def attachment(request: web.Request) -> web.Response:
    """An uploaded file. Only pictures are shown; the rest is saved, so that it cannot run as part of the page."""
    found = sim_of(request).attachments.content(request.match_info["attachment_id"])
    if found is None:
        raise web.HTTPNotFound
    media_type, content = found
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}
    if media_type not in _SHOWN_INLINE:
        headers["Content-Disposition"] = "attachment"
        media_type = "application/octet-stream"
    return web.Response(body=content, content_type=media_type, headers=headers)


async def _keep_saved(app: web.Application) -> AsyncIterator[None]:
    """Saves at once, so that the first guild keeps its id whatever happens; then a moment after each change, and at the end."""
    sim = app[SIMULATOR]
    sim.save()
    saver = asyncio.create_task(_save_after_changes(sim))
    yield
    saver.cancel()
    with suppress(asyncio.CancelledError):
        await saver
    sim.save()


async def _save_after_changes(sim: Simulator) -> None:
    took_s = 0.0
    while sim.config.snapshot_path is not None:
        await sim.changed.wait()
        await asyncio.sleep(max(SAVE_EVERY_S, took_s * PAUSE_PER_SAVE))
        sim.changed.clear()
        started = time.monotonic()
        sim.save()
        took_s = time.monotonic() - started


async def _say_goodbye(app: web.Application) -> None:
    """Ends the gateway's websockets and the page's streams, which would otherwise hold up the shutdown."""
    sim = app[SIMULATOR]
    sim.save()  # first: whoever stops us may not wait for clients that take their time
    sim.hub.emit(events.GOODBYE, {})
    for connection in sim.connections():
        connection.close(1001, "Going away.")
    await asyncio.sleep(0)
