"""`/api/workers`: the processes that guilds run in, how many there are, and which of them take guilds; `/api/moves`.

What changes the pool is answered at once, 202 `{"operation": number}`; GET /api/workers/pool says how it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from flora.http.body import read_json_object
from flora.http.deps import DEPS, TRACE
from flora.http.errors import UnprocessableBody
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.base import Request
from flora.messages.deployment import DeployActor
from flora.messages.errors import NotFound
from flora.messages.ids import ReqId
from flora.messages.migration import DescribeMoves
from flora.messages.placement import DescribeWorkers
from flora.messages.pool import DescribePool, DrainWorker, RecycleWorker, ScaleWorkers, UndrainWorker

OPERATOR = DeployActor(kind="operator")
MAX_WORKER_DIGITS = 9


async def list_workers(request: web.Request) -> web.Response:
    """Every worker: shared or dedicated, how many guilds, what waits, restarts, memory, processor time. Shape: `DescribeWorkers`."""
    deps = request.app[DEPS]
    message = DescribeWorkers(req_id=ReqId(""), trace=request[TRACE])
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


async def pool(request: web.Request) -> web.Response:
    """Which shared workers there are to be, and how the last change of that stands. Shape: `DescribePool`."""
    return json_response(await _pool(request))


async def moves(request: web.Request) -> web.Response:
    """Moves of guilds that are under way, and the last 50. Shape: `DescribeMoves`."""
    deps = request.app[DEPS]
    message = DescribeMoves(req_id=ReqId(""), trace=request[TRACE])
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


async def scale(request: web.Request) -> web.Response:
    """Has so many shared workers, `{"count": n, "force"?: bool}`."""
    body = await read_json_object(request)
    count = body.get("count")
    if type(count) is not int:
        raise UnprocessableBody("`count` must be a whole number", field="count")
    message = ScaleWorkers(req_id=ReqId(""), trace=request[TRACE], count=count, force=_force(body))
    return await _order(request, message, "workers.scale", str(count), _more(message.force))


async def drain(request: web.Request) -> web.Response:
    """Moves a worker's guilds to the others, and lets none come, `{"force"?: bool}`."""
    worker, force = _worker(request), _force(await _options(request))
    message = DrainWorker(req_id=ReqId(""), trace=request[TRACE], worker_id=worker, force=force)
    return await _order(request, message, "workers.drain", str(worker), _more(force))


async def undrain(request: web.Request) -> web.Response:
    """Lets guilds come to a drained worker again."""
    worker = _worker(request)
    message = UndrainWorker(req_id=ReqId(""), trace=request[TRACE], worker_id=worker)
    return await _order(request, message, "workers.undrain", str(worker), {})


async def recycle(request: web.Request) -> web.Response:
    """Starts a fresh worker in place of this one, `{"force"?: bool}`."""
    worker, force = _worker(request), _force(await _options(request))
    message = RecycleWorker(req_id=ReqId(""), trace=request[TRACE], worker_id=worker, force=force)
    return await _order(request, message, "workers.recycle", str(worker), _more(force))


async def _order(
    request: web.Request, message: Request, action: str, target: str, details: dict[str, Any]
) -> web.Response:
    deps = request.app[DEPS]
    number = await deps.peers.ask("runtime", message, deps.limits.peer_s)
    deps.audit.record(None, OPERATOR, action, target, {**details, "operation": number})
    return json_response({"operation": number}, status=202)


async def _pool(request: web.Request) -> Any:
    deps = request.app[DEPS]
    return await deps.peers.ask("router", DescribePool(req_id=ReqId(""), trace=request[TRACE]), deps.limits.peer_s)


async def _options(request: web.Request) -> dict[str, Any]:
    return await read_json_object(request) if request.can_read_body else {}


def _worker(request: web.Request) -> int:
    text = request.match_info["worker"]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_WORKER_DIGITS):
        raise NotFound(f"there is no worker {text[:20]}")
    return int(text)


def _force(body: dict[str, Any]) -> bool:
    force = body.get("force", False)
    if type(force) is not bool:
        raise UnprocessableBody("`force` must be true or false", field="force")
    return force


def _more(force: bool) -> dict[str, Any]:
    return {"force": True} if force else {}


def _line(method: str, path: str, handler: Callable[[web.Request], Any]) -> Route:
    return Route(method=method, path=path, handler=handler, access=Access.OPERATOR)


ROUTES = (
    _line("GET", "/workers", list_workers),
    _line("GET", "/workers/pool", pool),
    _line("POST", "/workers/scale", scale),
    _line("POST", "/workers/{worker}/drain", drain),
    _line("POST", "/workers/{worker}/undrain", undrain),
    _line("POST", "/workers/{worker}/recycle", recycle),
    _line("GET", "/moves", moves),
)
