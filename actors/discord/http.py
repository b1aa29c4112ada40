"""Our way into disnake's HTTP client: one request with a limit, errors as our own.

disnake keeps the buckets and waits out rate limits. What it does that would be wrong here is stopped by a small aiohttp
middleware: it sends writes again after a 5xx or a broken connection, and it sleeps through waits longer than our limit.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import aiohttp
import disnake
import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from disnake.http import HTTPClient

from flora.actors.discord.routes import CallRoute, shown
from flora.messages.errors import DiscordError, DiscordRateLimited

MAX_CONNECTIONS = 512
"""Calls under way over all guilds; those waiting for a bucket need none."""
KEEP_ALIVE_S = 60.0
MULTIPART = "multipart "
"""A body that starts with this is followed by `{"payload": …, "files": [{"name", "data": Base64}, …]}`."""
GLOBAL_GRACE_S = 0.25
_NO_TIMEOUT = aiohttp.ClientTimeout()  # ours covers the wait for a bucket too; a second timer per call costs 5 %


class RequestBroke(Exception):
    """5xx or transport failure: may be tried again when it was a read. Not an OSError: those disnake sends again."""

    def __init__(self, text: str, status: int | None = None, discord_code: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.discord_code = discord_code


class WaitTooLong(Exception):
    """Discord wants a longer wait than a call may take."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Timing:
    """Where the time of one call went, over all its attempts."""

    __slots__ = ("on_wire_s", "refused", "status")

    def __init__(self) -> None:
        self.on_wire_s = (
            0.0  # sent and not answered; the rest of its time it waited for a rate limit, or between attempts
        )
        self.status = 0  # of the last answer; 0: there was none
        self.refused = 0  # how often Discord said 429


def connector() -> aiohttp.TCPConnector:
    """Connection pool for REST and the gateway's websockets. On the loop."""
    return aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=300)


class DiscordRest:
    """Discord's REST API for this bot. On the loop."""

    def __init__(self, http: HTTPClient, limit_s: float = 8.0) -> None:
        """Wraps a logged-in client.

        Args:
            http: disnake's HTTP client.
            limit_s: How long one attempt may take, waiting for rate limits included; 0 for ever.
        """
        self._http = http
        self._limit_s = limit_s
        self.open = asyncio.Event()
        """Set when the client is logged in; calls made before wait for it, within their limit."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        query: Sequence[tuple[str, str]] = (),
        reason: str | None = None,
        timing: Timing | None = None,
    ) -> Any:
        """One attempt.

        Args:
            method: HTTP method.
            path: Below the API base, ids in it.
            body: JSON text, or `MULTIPART` and JSON text.
            query: Names and values.
            reason: For the audit log.
            timing: Is added to.
        Returns:
            Decoded JSON, or None for an empty answer.
        Raises:
            DiscordError: Discord refused; `status` and `discord_code` in its details.
            DiscordRateLimited: not finished within the limit.
            RequestBroke: 5xx or transport failure.
        """
        more: dict[str, Any] = {"middlewares": (partial(self._guard, timing or Timing()),), "timeout": _NO_TIMEOUT}
        if body is not None:
            more |= _body(body)
        if query:
            more["params"] = query
        if reason:
            more["reason"] = reason
        try:
            async with asyncio.timeout(self._limit_s or None):
                if not self.open.is_set():
                    await self.open.wait()
                data = await self._http.request(CallRoute(method, path), **more)
        except disnake.HTTPException as exc:
            raise _refused(exc, method, path) from exc
        except (TimeoutError, WaitTooLong) as exc:
            wait = {"retry_after_s": exc.wait_s} if isinstance(exc, WaitTooLong) else {}
            raise DiscordRateLimited(
                f"{shown(method, path)} did not finish within {self._limit_s:g} s (rate limit, or Discord is slow)",
                **wait,
            ) from exc
        except aiohttp.ClientError as exc:
            raise RequestBroke(_why(exc)) from exc
        return data if not isinstance(data, str) else _from_text(data)

    async def get(self, path: str) -> Any:
        """A read outside any script call; 5xx and transport failures are DiscordError here."""
        try:
            return await self.request("GET", path)
        except RequestBroke as exc:
            raise broken(exc, "GET", path) from exc

    async def _guard(self, timing: Timing, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        begun_s = time.monotonic()
        try:
            response = await handler(request)
        except (OSError, aiohttp.ClientError) as exc:
            raise RequestBroke(_why(exc)) from exc
        finally:
            timing.on_wire_s += time.monotonic() - begun_s
        timing.status = response.status
        if response.status >= 500:
            text, code = _error_text(await response.read())
            raise RequestBroke(text or response.reason or "server error", response.status, code)
        if response.status == 429:
            timing.refused += 1
            self._waits(response)
        return response

    def _waits(self, response: ClientResponse) -> None:
        try:
            wait_s = float(response.headers.get("Retry-After", "0"))
        except ValueError:
            wait_s = 0.0
        if response.headers.get("X-RateLimit-Global"):
            # disnake closes this gate, sleeps and opens it; if our limit ends its sleep, it would stay closed for good.
            gate = self._http._global_over
            asyncio.get_running_loop().call_later(wait_s + GLOBAL_GRACE_S, gate.set)
        elif self._limit_s and wait_s > self._limit_s:
            response.release()
            raise WaitTooLong(wait_s)


def broken(exc: RequestBroke, method: str, path: str) -> DiscordError:
    """What a script sees of a 5xx or transport failure."""
    status = f"HTTP {exc.status}: " if exc.status else ""
    return DiscordError(f"{status}{exc} ({shown(method, path)})", status=exc.status or 0, discord_code=exc.discord_code)


def _refused(exc: disnake.HTTPException, method: str, path: str) -> DiscordError:
    route = shown(method, path)
    if exc.status == 429:
        return DiscordRateLimited(f"{route} is rate limited", status=429, discord_code=exc.code)
    text = f"HTTP {exc.status}: {exc.text or exc.response.reason} ({route})"
    return DiscordError(text, status=exc.status, discord_code=exc.code)


def _body(body: str) -> dict[str, Any]:
    if not body.startswith(MULTIPART):
        return {"json": orjson.Fragment(body)}  # JSON already: copied in as it is
    parts = orjson.loads(body[len(MULTIPART) :])
    form = [
        {
            "name": f"files[{index}]",
            "value": base64.b64decode(file["data"]),
            "filename": file["name"],
            "content_type": "application/octet-stream",
        }
        for index, file in enumerate(parts["files"])
    ]
    return {"form": [{"name": "payload_json", "value": orjson.dumps(parts["payload"]).decode()}, *form]}


def _from_text(text: str) -> Any:
    """An answer that disnake did not decode: nothing at all, or JSON whose content type has a charset."""
    if not text:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _error_text(body: bytes) -> tuple[str, int]:
    try:
        data = orjson.loads(body)
        return str(data.get("message", "")), int(data.get("code", 0))
    except (ValueError, AttributeError, TypeError):
        return "", 0  # an HTML page of a proxy is no use to a script's author


def _why(exc: Exception) -> str:
    return f"connection to Discord failed: {type(exc).__name__}"
