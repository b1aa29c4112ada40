"""What happens around every request, outermost first.

    identify   request id and trace, which ends with the request; counts the request as under way
    count      for the metrics
    refuse     503 for everything but health while the server goes down
    errors     every error as JSON, whoever raised it
    compress   gzip where the route allows it

Headers that every answer carries, streams included, are added when its head is about to be sent.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.typedefs import Handler

from flora.http.deps import DEPS, FAILURE, REQUEST_ID, TRACE
from flora.http.errors import error_response, from_framework
from flora.http.lifecycle import LIFECYCLE
from flora.http.request_traces import RequestFacts
from flora.http.routing import Route, guild_id_of, route_of
from flora.messages.errors import BadRequest, BugError, FloraError, ShuttingDown
from flora.messages.metrics import OTHER
from flora.messages.trace import working_on

log = logging.getLogger("flora.api")

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MIN_COMPRESSED_BYTES = 1_024  # below, the answer fits one packet anyway

CLIENT_LEFT = 499
"""As nginx counts it: there was nobody to answer any more."""

HSTS = "max-age=31536000"
"""Of this host only: what else is below its name is not ours to say."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id (an incoming one is kept if it is well-formed) and its trace."""
    incoming = request.headers.get(REQUEST_ID_HEADER, "")
    request[REQUEST_ID] = incoming if _REQUEST_ID.fullmatch(incoming) else str(uuid.uuid4())
    traces = request.app[DEPS].traces
    route = route_of(request)
    header = request.headers.get("traceparent", "")
    trace = traces.begin(header, request.remote, follow=route is not None and route.traced)
    request[TRACE] = trace.context
    status = 0
    try:
        with working_on(trace.context), request.app[LIFECYCLE].under_way():
            response = await handler(request)
            status = response.status
            return response
    finally:
        if route is not None and route.traced:
            traces.ended(trace, _facts(request, route, status))


def _facts(request: web.Request, route: Route, status: int) -> RequestFacts:
    changes_script = route.path.startswith("/deployments/") and route.method != "GET"
    return RequestFacts(
        name=f"http {request.method} /api{route.path}",
        status=status,
        error=request.get(FAILURE),
        guild_id=_guild_in(request),
        always_if_refused=changes_script,
        attrs={"request_id": request[REQUEST_ID]},
    )


def _guild_in(request: web.Request) -> str:
    try:
        return guild_id_of(request)
    except BadRequest:
        return ""


@web.middleware
async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts a request when it has been answered, under its route's template; all paths that are no route are one."""
    begun_s, status = time.monotonic(), CLIENT_LEFT
    try:
        response = await handler(request)
        status = response.status
    finally:
        route = route_of(request)
        path = f"/api{route.path}" if route is not None else request.path if request.path == "/" else OTHER
        request.app[DEPS].own.answered(request.method, path, status, time.monotonic() - begun_s)
    return response


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Takes nothing new while the server goes down."""
    route = route_of(request)
    if request.app[LIFECYCLE].draining and not (route and route.when_draining):
        response = _refused(request, ShuttingDown("the server is shutting down; try again in a moment"))
        response.force_close()
        return response
    return await handler(request)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever was raised into one JSON shape."""
    try:
        return await handler(request)
    except FloraError as error:
        return _refused(request, error)
    except web.HTTPException as exc:
        return _refused(request, from_framework(exc, request.path))
    except ConnectionError:
        raise  # the client is gone: nobody to answer
    except Exception:
        fields = {"action": "bug", "path": request.rel_url.raw_path, "request_id": request[REQUEST_ID]}
        log.exception("handler failed", extra=fields)
        return _refused(request, BugError("see the process log"))


def _refused(request: web.Request, error: FloraError) -> web.Response:
    request[FAILURE] = error
    return error_response(error, request[REQUEST_ID])


@web.middleware
async def compress(request: web.Request, handler: Handler) -> web.StreamResponse:
    """gzip, for clients that take it and answers that are worth it."""
    response = await handler(request)
    route = route_of(request)
    if route is None or not route.compressed or not isinstance(response, web.Response):
        return response
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    body = response.body
    if isinstance(body, bytes) and len(body) >= MIN_COMPRESSED_BYTES and _takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
    return response


def _takes_gzip(request: web.Request) -> bool:
    for item in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        name, _, parameters = item.partition(";")
        if name.strip() == "gzip":
            return parameters.replace(" ", "").rstrip("0.") != "q="
    return False


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """`on_response_prepare`: the headers of every answer."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.app[DEPS].redirect_uri.startswith("https://"):
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    response.headers[hdrs.SERVER] = "flora"
    response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID) or str(uuid.uuid4())


class AccessLog(AbstractAccessLogger):
    """One line per request, when its answer is complete; error level for 5xx. The query may be private."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        path = request.rel_url.raw_path
        fields = {
            "action": "http_request",
            "ip": request.remote or "-",
            "method": request.method,
            "path": path,
            "status": response.status,
            "duration_ms": round(time * 1000, 1),
            "user_agent": request.headers.get(hdrs.USER_AGENT, "-")[:200],
            "request_id": response.headers.get(REQUEST_ID_HEADER, "-"),
        }
        trace = request.get(TRACE)
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        level = logging.ERROR if response.status >= 500 else logging.INFO
        self.logger.log(level, "request", extra=fields)


MIDDLEWARES = (identify, count, refuse, errors, compress)
