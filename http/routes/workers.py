"""`/api/workers`: the processes that guilds run in."""

from __future__ import annotations

from aiohttp import web

from flora.http.deps import DEPS, TRACE
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.ids import ReqId
from flora.messages.placement import DescribeWorkers


async def list_workers(request: web.Request) -> web.Response:
    """Every worker: shared or dedicated, how many guilds, what waits, restarts, memory, processor time. Shape: `DescribeWorkers`."""
    deps = request.app[DEPS]
    message = DescribeWorkers(req_id=ReqId(""), trace=request[TRACE])
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


ROUTES = (Route(method="GET", path="/workers", handler=list_workers, access=Access.OPERATOR),)
