"""`/api/metrics`: numbers for the operator, in Prometheus' formats and as JSON. How they come about: `flora.http.metrics`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import hdrs, web

from flora.http.deps import DEPS, METRICS, TRACE
from flora.http.metrics.exposition import exposition
from flora.http.metrics.facts import notable
from flora.http.metrics.families import families
from flora.http.query import flag_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.errors import FloraError, Unavailable
from flora.messages.ids import ReqId
from flora.messages.placement import DescribeGuilds, DescribeWorkers

log = logging.getLogger("flora.api")


async def metrics_json(request: web.Request) -> web.Response:
    """Every number by name; with `detail=true` also `"workers"` and the notable `"guilds"`, as the routes of that name give them."""
    if not flag_parameter(request, "detail"):
        return json_response(await _numbers(request))
    values, workers, guilds = await asyncio.gather(
        _numbers(request), _described(request, DescribeWorkers), _described(request, DescribeGuilds)
    )
    return json_response({**values, "workers": workers, "guilds": notable(guilds)})


async def metrics_text(request: web.Request) -> web.Response:
    """Everything. Actors that are away are left out: `flora_up` says so."""
    reading = await request.app[METRICS].read(request[TRACE])
    body, content_type = exposition(families(reading), request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


async def _numbers(request: web.Request) -> dict[str, float]:
    reading = await request.app[METRICS].read(request[TRACE], guilds=False)
    if not reading.up["router"]:
        raise Unavailable("the router does not tell its metrics; try again in a moment", role="router")
    return dict(reading.numbers)


async def _described(request: web.Request, kind: type[DescribeWorkers | DescribeGuilds]) -> list[dict[str, Any]]:
    """What the router says of workers or guilds; nothing when it does not in time: the plain numbers come all the same."""
    deps = request.app[DEPS]
    try:
        found: list[dict[str, Any]] = await deps.peers.ask(
            "router", kind(req_id=ReqId(""), trace=request[TRACE]), deps.limits.lookup_s
        )
    except FloraError as exc:
        log.warning("metrics without %s: %s", kind.__name__, exc, extra={"action": "metrics_partial"})
        return []
    return found


ROUTES = (
    Route(method="GET", path="/metrics", handler=metrics_text, access=Access.OPERATOR, traced=False),
    Route(method="GET", path="/metrics/json", handler=metrics_json, access=Access.OPERATOR, traced=False),
)
