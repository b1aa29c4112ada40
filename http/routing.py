"""The route table: what a route is, and how its promises are kept around every handler.

For each request, in this order: time limit, identity, guild permission; only then the handler, which is the first to
read the body.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from flora.http.auth import Identity, authenticate, check_operator, check_same_site, is_operator
from flora.http.deps import DEPS, IDENTITY
from flora.http.errors import RequestTimedOut
from flora.http.sessions import SESSION_COOKIE, SessionCookies
from flora.messages.errors import BadRequest, Unauthorized
from flora.messages.ids import GuildId

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_SNOWFLAKE = 2**64 - 2  # the highest 64-bit value is reserved


class Access(enum.Enum):
    """Who may use a route."""

    ANYBODY = enum.auto()
    USER = enum.auto()  # a session or an API token
    SESSION = enum.auto()  # somebody who logged in with a browser
    GUILD_ADMIN = enum.auto()  # one that may administer the guild in the path
    OPERATOR = enum.auto()  # the bearer of api.operator_secret
    GUILD_ADMIN_OR_OPERATOR = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of a route table. Paths are below `/api`, without trailing slash; both forms are served."""

    method: str
    path: str
    handler: Handler
    access: Access
    timed: bool = True  # False: has an end of its own (deploys, streams)
    compressed: bool = True
    when_draining: bool = False  # True: answered while the server goes down
    traced: bool = True  # False: asked for all the time, or without an end


ROUTE_OF = web.AppKey("route_of", dict[Any, Route])  # by the endpoint that aiohttp calls


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Puts a table into the application."""
    for route in routes:
        endpoint = _endpoint(route)
        app[ROUTE_OF][endpoint] = route
        for path in (f"/api{route.path}", f"/api{route.path}/"):
            app.router.add_route(route.method, path, endpoint, expect_handler=_expect_later)
            if route.method == "GET" and route.timed:
                app.router.add_route("HEAD", path, endpoint, expect_handler=_expect_later)


def route_of(request: web.Request) -> Route | None:
    """The table's line for a request; None for an unknown path or method."""
    return request.app[ROUTE_OF].get(request.match_info.handler)


def guild_id_of(request: web.Request) -> GuildId:
    """The guild in the path, or where the path has none, in the query.

    Raises:
        BadRequest: it is no snowflake in its one decimal form, or absent.
    """
    given = request.match_info.get("guild_id") or request.query.get("guild_id")
    if given is None:
        raise BadRequest("`guild_id` is required", parameter="guild_id")
    return checked_guild_id(given)


def checked_guild_id(text: str) -> GuildId:
    """A guild's id that somebody gave.

    Raises:
        BadRequest: it is no snowflake in its one decimal form.
    """
    if not (text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= 20 and int(text) <= MAX_SNOWFLAKE):
        raise BadRequest("Invalid guild ID", guild_id=text[:100])
    return GuildId(text)


def _endpoint(route: Route) -> Handler:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        limit_s = request.app[DEPS].limits.request_s if route.timed else None
        try:
            async with asyncio.timeout(limit_s) as limit:
                await _admit(request, route.access)
                return await route.handler(request)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestTimedOut(f"not answered within {limit_s:g} s", limit_s=limit_s) from None

    return endpoint


async def _admit(request: web.Request, access: Access) -> None:
    deps = request.app[DEPS]
    if access is Access.GUILD_ADMIN_OR_OPERATOR:
        access = Access.ANYBODY if is_operator(request, deps.operator_secret) else Access.GUILD_ADMIN
    if access is Access.OPERATOR:
        check_operator(request, deps.operator_secret)
    if access is Access.SESSION:
        deps.boot.check_storage()
        request[IDENTITY] = await _session_of(request)
    if access in {Access.USER, Access.GUILD_ADMIN}:
        deps.boot.check_storage()
        request[IDENTITY] = await authenticate(request, deps.identity)
    if IDENTITY in request and request[IDENTITY].kind == "session":
        check_same_site(request, deps.redirect_uri)
    if access is Access.GUILD_ADMIN:
        await deps.access.check(request[IDENTITY], guild_id_of(request))


async def _session_of(request: web.Request) -> Identity:
    if SESSION_COOKIE not in request.cookies:
        raise Unauthorized("Login required")
    login = request.app[DEPS].login
    identity = None if login is None else await SessionCookies(login.sessions).resolve(request)
    if identity is None:
        raise Unauthorized("Session expired")
    return identity


async def _expect_later(request: web.Request) -> None:
    """Leaves `Expect: 100-continue` unanswered until the body is wanted: nobody uploads 8 MiB to hear 401."""
