"""`/api/metrics`: numbers for the operator, in Prometheus' formats and as JSON. How they come about: `flora.http.metrics`."""

from __future__ import annotations

from aiohttp import hdrs, web

from flora.http.deps import METRICS, TRACE
from flora.http.metrics.exposition import exposition
from flora.http.metrics.families import families
from flora.http.query import flag_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.errors import Unavailable


async def metrics_json(request: web.Request) -> web.Response:
    """Every number by name; with `detail=true` also `"workers"` and the notable `"guilds"`, as the routes of that name give them."""
    detailed = flag_parameter(request, "detail")
    reading = await request.app[METRICS].read(request[TRACE], guilds=detailed)
    if not reading.up["router"]:
        raise Unavailable("the router does not tell its metrics; try again in a moment", role="router")
    if not detailed:
        return json_response(dict(reading.numbers))
    workers = [{name: value for name, value in facts.items() if name != "metrics"} for facts in reading.workers]
    return json_response({**reading.numbers, "workers": workers, "guilds": reading.guilds.get("notable", [])})


async def metrics_text(request: web.Request) -> web.Response:
    """Everything. Actors that are away are left out: `flora_up` says so."""
    reading = await request.app[METRICS].read(request[TRACE])
    body, content_type = exposition(families(reading), request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


ROUTES = (
    Route(method="GET", path="/metrics", handler=metrics_text, access=Access.OPERATOR, traced=False),
    Route(method="GET", path="/metrics/json", handler=metrics_json, access=Access.OPERATOR, traced=False),
)
