"""Where the gateway is, who the bot is, and its application."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors, shapes
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest.routing import Auth, Call, Routes

IDENTIFIES_PER_DAY = 1000


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    routes.add("GET", "/gateway", auth=Auth.NONE)(gateway)
    routes.add("GET", "/gateway/bot")(gateway_bot)
    routes.add("GET", "/users/@me", auth=Auth.BEARER)(me)
    routes.add("PATCH", "/users/@me")(edit_me)
    routes.add("GET", "/users/{user_id}")(user)
    routes.add("GET", "/users/@me/guilds", auth=Auth.BEARER)(my_guilds)
    routes.add("DELETE", "/users/@me/guilds/{guild_id}")(leave_guild)
    routes.add("GET", "/users/@me/guilds/{guild_id}/member", auth=Auth.BEARER)(my_membership)
    routes.add("GET", "/applications/@me")(application)
    routes.add("GET", "/oauth2/applications/@me")(application)
    routes.add("GET", "/oauth2/@me", auth=Auth.BEARER)(authorization)


def _ws_base(call: Call) -> str:
    return call.sim.base_url.replace("http", "ws", 1)


def gateway(call: Call) -> Any:
    return {"url": _ws_base(call)}


def gateway_bot(call: Call) -> Any:
    left = max(1, IDENTIFIES_PER_DAY - call.sim.hub.identified)  # told, not enforced
    limit = {"total": IDENTIFIES_PER_DAY, "remaining": left, "reset_after": 86_400_000, "max_concurrency": 1}
    return {"url": _ws_base(call), "shards": call.sim.config.shards, "session_start_limit": limit}


def me(call: Call) -> Any:
    user = call.sim.world.user(call.user_id)
    return {**user, "verified": True, "mfa_enabled": False, "locale": "en-US", "flags": 0, "email": None}


def edit_me(call: Call) -> Any:
    user = call.sim.world.user(call.user_id)
    if call.form.get("username"):
        user["username"] = str(call.form["username"])
    call.sim.world.emit("USER_UPDATE", user)
    return me(call)


def user(call: Call) -> Any:
    return call.sim.world.user(call.id("user_id"))


def _demand_scope(call: Call, scope: str) -> None:
    if call.scope is not None and scope not in call.scope.split():
        raise errors.missing_access()


def my_guilds(call: Call) -> Any:
    """Guilds of the token's owner with the permissions they have there."""
    _demand_scope(call, "guilds")
    guilds = sorted(call.sim.world.guilds.values(), key=lambda g: int(g.id))
    found = []
    for guild in guilds:
        if call.user_id not in guild.members or int(guild.id) <= int(call.query.get("after", "0")):
            continue
        bits = guild.permissions_of(call.user_id)
        entry = {
            "id": guild.id, "name": guild.data["name"], "icon": None, "banner": None,
            "owner": guild.owner_id == call.user_id, "permissions": str(bits), "permissions_new": str(bits),
            "features": [],
        }  # fmt: skip
        if call.flag("with_counts"):
            entry |= {"approximate_member_count": len(guild.members), "approximate_presence_count": 1}
        found.append(entry)
    return found[: call.number("limit", 200, 1, 200)]


def leave_guild(call: Call) -> None:
    call.sim.world.remove_guild(call.guild(Permission.VIEW_CHANNEL).id)


def my_membership(call: Call) -> Any:
    _demand_scope(call, "guilds.members.read")
    guild = call.sim.world.guilds.get(call.id("guild_id"))
    if guild is None:
        raise errors.unknown("Guild")
    return call.sim.world.member(guild, call.user_id)


def application(call: Call) -> Any:
    world = call.sim.world
    owner_id = next((g.owner_id for g in world.guilds.values()), world.bot_id)
    bot = world.users[world.bot_id]
    return shapes.application(call.sim.config.application_id, bot, world.users[owner_id], len(world.guilds))


def authorization(call: Call) -> Any:
    return {
        "application": application(call),
        "scopes": (call.scope or "bot").split(),
        "user": call.sim.world.user(call.user_id),
    }
