"""The way of a REST request: route, token, rate limit, body, handler, and the answer or Discord's refusal."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import BodyPartReader, web

from flora.http.simulator import errors
from flora.http.simulator.attachments import Upload
from flora.http.simulator.errors import ApiError
from flora.http.simulator.rate_limits import Verdict
from flora.http.simulator.rest.routing import Auth, Call, Reply, Route, Routes
from flora.http.simulator.simulator import Simulator

log = logging.getLogger(__name__)
_MAJOR = ("channel_id", "guild_id", "webhook_id", "token")
_EMPTY: dict[str, str] = {}


class RestServer:
    """Serves everything under `/api/v10`."""

    def __init__(self, sim: Simulator, routes: Routes) -> None:
        self._sim = sim
        self._routes = routes

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request; its path below the API's base is the match `tail`."""
        arrived_at = time.perf_counter()
        self._sim.base_url = self._sim.base_url or f"http://{request.host}"
        path = request.rel_url.raw_path.split("/", 3)[3] if request.rel_url.raw_path.count("/") > 2 else ""
        name, headers = "unknown", {"Via": "1.1 simulated-discord"}  # clients take a 429 without Via for a ban
        try:
            found = self._routes.find(request.method, path)
            if found is None:
                raise ApiError(404, 0, "404: Not Found")
            route, params = found
            name = route.name
            user_id, scope = self._authenticate(request, route)
            verdict = self._limit(route, params)
            if verdict is not None:
                headers |= _limit_headers(verdict, route)
                if verdict.retry_after_s is not None:
                    return self._finish(name, 429, _limited(verdict), headers)
            body, uploads = await _read(request)
            call = Call(
                self._sim, params, dict(request.query) if request.query_string else _EMPTY, body, uploads, user_id,
                scope, unquote(request.headers.get("X-Audit-Log-Reason", "")) or None, arrived_at,
            )  # fmt: skip
            result = route.handler(call)
        except ApiError as refusal:
            return self._finish(name, refusal.status, refusal.payload(), headers)
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
            # A body of another shape than the handler reads. Discord names the place, which is not known here.
            log.warning("a request to %s could not be understood", name, exc_info=True)
            return self._finish(name, 400, {"message": "Invalid Form Body", "code": 50035, "errors": {}}, headers)
        if isinstance(result, Reply):
            return self._finish(name, result.status, result.payload, headers)
        return self._finish(name, 204 if result is None else 200, result, headers)

    def _finish(self, name: str, status: int, payload: Any, headers: dict[str, str]) -> web.Response:
        self._sim.stats.answered(name, status)
        if payload is None:
            return web.Response(status=status, headers=headers)
        headers["Content-Type"] = "application/json"
        return web.Response(status=status, body=orjson.dumps(payload), headers=headers)

    def _authenticate(self, request: web.Request, route: Route) -> tuple[str, str | None]:
        """Whose token it is, and its scopes if it is a person's."""
        bot_id = self._sim.world.bot_id
        if route.auth is Auth.NONE:
            return bot_id, None
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bot" and secrets.compare_digest(token.encode(), self._sim.config.bot_token.encode()):
            return bot_id, None
        if kind == "Bearer" and route.auth is Auth.BEARER:
            grant = self._sim.grants.user_of(token)
            if grant is not None:
                return grant.user_id, grant.scope
        raise errors.unauthorized()

    def _limit(self, route: Route, params: dict[str, str]) -> Verdict | None:
        if not self._sim.rate_limits_on:
            return None
        major = ":".join(params[key] for key in _MAJOR if key in params)
        return self._sim.limits.take(
            route.method, route.template, major, time.monotonic(), counts_globally=route.counts_globally
        )


def _limit_headers(verdict: Verdict, route: Route) -> dict[str, str]:
    headers = {
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": f"{time.time() + verdict.reset_after_s:.3f}",
        "X-RateLimit-Reset-After": f"{verdict.reset_after_s:.3f}",
        "X-RateLimit-Bucket": f"{hash(route.name) & 0xFFFFFFFFFFFFFFFF:016x}",
    }
    if verdict.retry_after_s is not None:
        headers["X-RateLimit-Scope"] = verdict.scope
        headers["Retry-After"] = str(max(1, round(verdict.retry_after_s)))
        if verdict.scope == "global":
            headers["X-RateLimit-Global"] = "true"
    return headers


def _limited(verdict: Verdict) -> dict[str, Any]:
    return {
        "message": "You are being rate limited.",
        "retry_after": round(verdict.retry_after_s or 0.0, 3),
        "global": verdict.scope == "global",
    }


async def _read(request: web.Request) -> tuple[Any, list[Upload]]:
    """The decoded body and its files.

    Raises:
        ApiError: 50109 if it is not JSON.
    """
    if not request.body_exists:
        return {}, []
    if request.content_type == "multipart/form-data":
        return await _read_multipart(request)
    raw = await request.read()
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post()), []
    return (_decode(raw) if raw else {}), []


def _decode(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None


async def _read_multipart(request: web.Request) -> tuple[Any, list[Upload]]:
    body: Any = {}
    uploads: list[Upload] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        name = part.name or ""
        content = bytes(await part.read(decode=True))
        if name == "payload_json":
            body = _decode(content)
        elif part.filename is not None:
            index = name.removeprefix("files[").removesuffix("]")
            uploads.append(Upload(index, part.filename, content, part.headers.get("Content-Type")))
        elif isinstance(body, dict):
            body[name] = content.decode("utf-8", "replace")
    return body, uploads
