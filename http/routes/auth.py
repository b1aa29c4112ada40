"""`/api/auth`: in, out, and who the caller is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlencode, urlsplit

from aiohttp import hdrs, web

from flora.http.auth import check_same_site
from flora.http.deps import DEPS, IDENTITY, REQUEST_ID, Deps
from flora.http.login import STATE_COOKIE, STATE_TTL_S, Login, denied, local_path
from flora.http.pages import error_page, wants_page
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.http.sessions import SESSION_COOKIE
from flora.messages.errors import BadRequest, FloraError, Unavailable

CALLBACK_PATH = "/api/auth/callback"
LOGIN_PATH = "/api/auth/login"
_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def login_of(deps: Deps) -> Login:
    """The way in.

    Raises:
        Unavailable: this server has none.
    """
    if deps.login is None:
        raise Unavailable("logging in is not set up on this server")
    return deps.login


def for_people(handler: Handler) -> Handler:
    """Errors as a page where a browser asks."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except FloraError as error:
            if not wants_page(request):
                raise
            return error_page(error, request[REQUEST_ID], "Login did not work", LOGIN_PATH, "Try again")

    return handle


async def login(request: web.Request) -> web.Response:
    """Sends the browser to Discord. `next`: the local path to go to afterwards."""
    deps = request.app[DEPS]
    next_path = local_path(request.query.get("next"))
    elsewhere = _same_page_elsewhere(request, deps, next_path)
    if elsewhere is not None:
        return _to(elsewhere)
    state, url = await login_of(deps).begin(next_path, _redirect_uri(request, deps), request.remote)
    response = _to(url)
    _set_cookie(request, response, STATE_COOKIE, state, STATE_TTL_S)
    return response


async def callback(request: web.Request) -> web.Response:
    """Where Discord sends the browser back."""
    deps, query = request.app[DEPS], request.query
    code = query.get("code")
    if not code:
        raise denied(query.get("error", ""))
    way_in = login_of(deps)
    token, next_path = await way_in.finish(
        request.cookies.get(STATE_COOKIE), query.get("state", ""), code, _redirect_uri(request, deps)
    )
    with suppress(FloraError):  # the cookie is replaced: nobody could reach the old session, or end it
        await way_in.sessions.end(request.cookies.get(SESSION_COOKIE, ""))
    response = _to(next_path)
    _set_cookie(request, response, SESSION_COOKIE, token, way_in.sessions.ttl_s)
    _set_cookie(request, response, STATE_COOKIE, "", 0)
    return response


async def logout(request: web.Request) -> web.Response:
    """Ends the caller's session, here and at Discord: `{"logged_out": true}`; false: there was none."""
    check_same_site(request, request.app[DEPS].redirect_uri)
    token = request.cookies.get(SESSION_COOKIE)
    ended = await login_of(request.app[DEPS]).end(token) if token else False
    response = json_response({"logged_out": ended})
    _set_cookie(request, response, SESSION_COOKIE, "", 0)
    return response


async def me(request: web.Request) -> web.Response:
    """`{"user": {"id", "username", "global_name", "avatar"}}`. A token knows only the id."""
    caller, deps = request[IDENTITY], request.app[DEPS]
    user = {
        "id": caller.user_id,
        "username": caller.username or "",
        "global_name": caller.global_name,
        "avatar": caller.avatar,
    }
    response = json_response({"user": user})
    if caller.session is not None and deps.login is not None:
        # The session slides with each use; here, where every page begins, the browser learns of it.
        _set_cookie(request, response, SESSION_COOKIE, request.cookies[SESSION_COOKIE], deps.login.sessions.ttl_s)
    return response


def _to(url: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: url})


def _set_cookie(request: web.Request, response: web.Response, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(
        name,
        value,
        path="/",
        max_age=max_age_s,
        httponly=True,
        samesite="Lax",
        secure=request.app[DEPS].cookie_secure,
    )


def _redirect_uri(request: web.Request, deps: Deps) -> str:
    if deps.redirect_uri:
        return deps.redirect_uri
    if not _HOST.fullmatch(request.host):
        raise BadRequest("the Host header is no host")
    return f"{request.scheme}://{request.host}{CALLBACK_PATH}"


def _same_page_elsewhere(request: web.Request, deps: Deps, next_path: str) -> str | None:
    """The login page at the address that Discord sends people back to, if this is another one: cookies belong to one host.

    Tried once: behind a proxy that rewrites Host we never see the address that people use.
    """
    public = urlsplit(deps.redirect_uri)
    if not deps.redirect_uri or "moved" in request.query or public.netloc.lower() == request.host.lower():
        return None
    kept = {"moved": "1"} | ({} if next_path == "/" else {"next": next_path})
    return f"{public.scheme}://{public.netloc}{LOGIN_PATH}?{urlencode(kept)}"


ROUTES = (
    Route(method="GET", path="/auth/login", handler=for_people(login), access=Access.ANYBODY),
    Route(method="GET", path="/auth/callback", handler=for_people(callback), access=Access.ANYBODY),
    Route(method="POST", path="/auth/logout", handler=logout, access=Access.ANYBODY),
    Route(method="GET", path="/auth/me", handler=me, access=Access.USER),
)
