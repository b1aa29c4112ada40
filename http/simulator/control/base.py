"""What all control routes share: the simulator behind an application, request bodies, errors."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from flora.http.simulator import errors
from flora.http.simulator.errors import ApiError, JsonObject
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.simulator import Simulator

SIMULATOR: web.AppKey[Simulator] = web.AppKey("simulator", Simulator)


def sim_of(request: web.Request) -> Simulator:
    return request.app[SIMULATOR]


def reply(payload: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=orjson.dumps(payload), content_type="application/json")


async def body_of(request: web.Request) -> JsonObject:
    """The request's JSON object; {} without a body.

    Raises:
        ApiError: 400 if it is something else.
    """
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(400, 50035, "The request body must be a JSON object.")
    return body


def guild_of(request: web.Request) -> Guild:
    """The guild in the path, also during its outage."""
    guild = sim_of(request).world.guilds.get(request.match_info["guild_id"])
    if guild is None:
        raise errors.unknown("Guild")
    return guild


def channel_of(request: web.Request) -> Channel:
    return sim_of(request).world.channel(request.match_info["channel_id"])


def actor_of(sim: Simulator, guild: Guild, body: JsonObject, key: str = "user_id") -> str:
    """Who acts: the user named in the body, or the guild's owner.

    Raises:
        ApiError: 10007 if they are not a member.
    """
    user_id = str(body.get(key) or guild.owner_id)
    sim.world.member(guild, user_id)
    return user_id


@web.middleware
async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turns refusals into Discord's error shape, and keeps other web sites' scripts out of the control routes."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host and not _is_public(request.path):
        return reply({"message": "Requests from other sites are refused.", "code": 0}, 403)
    try:
        response: web.StreamResponse = await handler(request)
    except ApiError as refusal:
        return reply(refusal.payload(), refusal.status)
    except (TypeError, ValueError, AttributeError) as exc:
        return reply({"message": f"The request could not be understood: {exc}", "code": 50035}, 400)
    return response


def _is_public(path: str) -> bool:
    """What carries a token of its own, as on Discord, may be called from anywhere."""
    return path.startswith("/api/") or path == "/"
