"""`/api/health` says that the server answers; `/api/ready` says that the whole system does."""

from __future__ import annotations

from aiohttp import web

from flora.http.deps import DEPS, TRACE
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import DescribeSystem


async def health(_: web.Request) -> web.Response:
    """Text `ok`, from the first moment, whatever else is up."""
    return web.Response(text="ok")


async def ready(request: web.Request) -> web.Response:
    """200 when the system serves, else 503; `{"ready": bool, "stage": str}` either way."""
    deps = request.app[DEPS]
    try:
        described = await deps.peers.ask(
            "runtime", DescribeSystem(req_id=ReqId(""), trace=request[TRACE]), deps.limits.lookup_s
        )
        state = {"ready": bool(described["ready"]), "stage": str(described["stage"])}
    except FloraError:
        state = {"ready": False, "stage": "the runtime does not answer"}
    return json_response(state, status=200 if state["ready"] else 503)


ROUTES = (
    Route(method="GET", path="/health", handler=health, access=Access.ANYBODY, when_draining=True),
    Route(method="GET", path="/ready", handler=ready, access=Access.ANYBODY),
)
