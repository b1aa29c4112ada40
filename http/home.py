"""What a person sees who opens flora's address in a browser: the simulated Discord, or where to go."""

from __future__ import annotations

from aiohttp import hdrs, web

from flora.http.deps import DEPS

_TEXT = "flora is running. The admin API is below /api; the command line tool is `flora`.\n"


async def home(request: web.Request) -> web.Response:
    """Leads to the page of the simulated Discord where there is one. Never cached: tomorrow there may be a real one."""
    page = request.app[DEPS].simulator_url
    if page is None:
        return web.Response(text=_TEXT)
    return web.Response(status=302, headers={hdrs.LOCATION: page}, text=_TEXT)
