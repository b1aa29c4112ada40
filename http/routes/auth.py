"""`/api/auth`: who the caller is."""

from __future__ import annotations

from aiohttp import web

from flora.http.deps import IDENTITY
from flora.http.render import json_response
from flora.http.routing import Access, Route


async def me(request: web.Request) -> web.Response:
    """`{"user": {"id", "username", "global_name", "avatar"}}`. A token knows only the id."""
    caller = request[IDENTITY]
    user = {
        "id": caller.user_id,
        "username": caller.username or "",
        "global_name": caller.global_name,
        "avatar": caller.avatar,
    }
    return json_response({"user": user})


ROUTES = (Route(method="GET", path="/auth/me", handler=me, access=Access.USER),)
