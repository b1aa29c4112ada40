"""`/api/health` says that the server answers; `/api/ready` says that the whole system does."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from flora.http.deps import DEPS, TRACE
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import DescribeSystem

RETRY_AFTER_S = "1"


async def health(_: web.Request) -> web.Response:
    """Text `ok`, from the first moment, whatever else is up."""
    return web.Response(text="ok")


async def ready(request: web.Request) -> web.Response:
    """200 `{"ready": true, "stage": "ready"}` when the system serves.

    Else 503 with Retry-After and `{"ready": false, "stage": str}`; while it starts also `"progress": {"step", "steps"}`, and
    `"deployments", "restored", "failed"` while scripts are brought back.
    """
    deps = request.app[DEPS]
    stage = deps.boot.unready
    if stage is not None:  # Runtime has told us; no need to wait for it
        progress = {"progress": dict(stage.progress)} if stage.progress else {}
        return _not_ready(stage.stage, progress)
    try:
        described = await deps.peers.ask(
            "runtime", DescribeSystem(req_id=ReqId(""), trace=request[TRACE]), deps.limits.lookup_s
        )
    except FloraError:
        return _not_ready("the runtime does not answer")
    if not described["ready"]:
        return _not_ready(str(described["stage"]))
    return json_response({"ready": True, "stage": str(described["stage"])})


def _not_ready(stage: str, more: Mapping[str, object] | None = None) -> web.Response:
    response = json_response({"ready": False, "stage": stage, **(more or {})}, status=503)
    response.headers[hdrs.RETRY_AFTER] = RETRY_AFTER_S
    return response


ROUTES = (
    Route(method="GET", path="/health", handler=health, access=Access.ANYBODY, when_draining=True, traced=False),
    Route(method="GET", path="/ready", handler=ready, access=Access.ANYBODY, when_draining=True, traced=False),
)
