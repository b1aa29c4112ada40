"""Members of a guild: read, listed, changed, kicked, banned, given roles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flora.http.simulator import errors
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Guild
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest.routing import Call, Routes

_NEEDED_FOR = {
    "nick": Permission.MANAGE_NICKNAMES,
    "roles": Permission.MANAGE_ROLES,
    "mute": Permission.MUTE_MEMBERS,
    "deaf": Permission.DEAFEN_MEMBERS,
    "channel_id": Permission.MOVE_MEMBERS,
    "communication_disabled_until": Permission.MODERATE_MEMBERS,
    "flags": Permission.MODERATE_MEMBERS,
}
_RANK_COUNTS_FOR = frozenset({"nick", "communication_disabled_until"})
MAX_TIMEOUT = timedelta(days=28)
_SEVEN_DAYS_S = 604_800


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    members = "/guilds/{guild_id}/members"
    routes.add("GET", members)(list_members)
    routes.add("GET", members + "/search")(search)
    routes.add("PATCH", members + "/@me")(edit_me)
    routes.add("GET", members + "/{user_id}")(fetch)
    routes.add("PATCH", members + "/{user_id}")(edit)
    routes.add("DELETE", members + "/{user_id}")(kick)
    routes.add("PUT", members + "/{user_id}/roles/{role_id}")(add_role)
    routes.add("DELETE", members + "/{user_id}/roles/{role_id}")(remove_role)
    routes.add("GET", "/guilds/{guild_id}/bans")(list_bans)
    routes.add("GET", "/guilds/{guild_id}/bans/{user_id}")(fetch_ban)
    routes.add("PUT", "/guilds/{guild_id}/bans/{user_id}")(ban)
    routes.add("DELETE", "/guilds/{guild_id}/bans/{user_id}")(unban)


def outrank(guild: Guild, actor_id: str, target_id: str) -> None:
    """Nobody acts on the owner or on someone whose highest role is not below their own.

    Raises:
        ApiError: 50013.
    """
    if actor_id == guild.owner_id or target_id not in guild.members:
        return
    if target_id == guild.owner_id or guild.top_role_position(target_id) >= guild.top_role_position(actor_id):
        raise errors.missing_permissions()


def fetch(call: Call) -> Any:
    return call.sim.world.member(call.guild(), call.id("user_id"))


def list_members(call: Call) -> Any:
    guild = call.guild()
    after = int(call.query.get("after", "0"))
    ids = sorted((u for u in guild.members if int(u) > after), key=int)
    return [call.sim.world.member(guild, u) for u in ids[: call.number("limit", 1, 1, 1000)]]


def search(call: Call) -> Any:
    guild = call.guild()
    prefix = call.query.get("query", "").lower()
    members = [call.sim.world.member(guild, user_id) for user_id in guild.members]
    found = [m for m in members if (m["nick"] or m["user"]["username"]).lower().startswith(prefix)]
    return found[: call.number("limit", 1, 1, 1000)]


def edit(call: Call) -> Any:
    guild = call.guild()
    user_id = call.id("user_id")
    member = call.sim.world.member(guild, user_id)
    changes = {k: v for k, v in call.form.items() if k in _NEEDED_FOR}
    for key in changes:
        call.guild(_NEEDED_FOR[key])
        if key in _RANK_COUNTS_FOR:
            outrank(guild, call.user_id, user_id)
    if "channel_id" in changes:
        raise errors.ApiError(400, 40032, "Target user is not connected to voice.")
    if "roles" in changes:
        changes["roles"] = [str(r) for r in changes["roles"] or []]
        _check_roles(call, guild, set(changes["roles"]) ^ set(member["roles"]))
    _check_values(guild, user_id, changes)
    return call.sim.world.edit_member(guild, user_id, changes)


def _check_values(guild: Guild, user_id: str, changes: JsonObject) -> None:
    nick = changes.get("nick")
    if nick is not None and len(str(nick)) > 32:
        faults = errors.FormErrors()
        faults.too_long(32, "nick")
        faults.raise_if_any()
    until = changes.get("communication_disabled_until")
    if until is None:
        return
    if guild.permissions_of(user_id) & Permission.ADMINISTRATOR:
        raise errors.missing_permissions()
    try:
        when = datetime.fromisoformat(str(until))
    except ValueError:
        path = ("communication_disabled_until",)
        text = f"Could not parse {until}. Should be ISO8601."
        raise errors.invalid_form(path, "DATE_TIME_TYPE_PARSE", text) from None
    if when.tzinfo is None or when - datetime.now(UTC) > MAX_TIMEOUT:
        text = "Communication disabled timestamp cannot be more than 28 days in the future."
        raise errors.invalid_form(("communication_disabled_until",), "INVALID_COMMUNICATION_DISABLED_TIMESTAMP", text)


def _check_roles(call: Call, guild: Guild, changed: set[str]) -> None:
    """Roles one gives or takes must exist, be below one's own, and not be managed."""
    for role_id in changed:
        role = guild.roles.get(role_id)
        if role is None:
            raise errors.unknown("Role")
        below = call.user_id == guild.owner_id or role["position"] < guild.top_role_position(call.user_id)
        if not below or role["managed"] or role_id == guild.id:
            raise errors.missing_permissions()


def edit_me(call: Call) -> Any:
    guild = call.guild()
    changes = {k: v for k, v in call.form.items() if k == "nick"}
    if changes:
        call.guild(Permission.CHANGE_NICKNAME)
    _check_values(guild, call.user_id, changes)
    return call.sim.world.edit_member(guild, call.user_id, changes)


def kick(call: Call) -> None:
    guild = call.guild(Permission.KICK_MEMBERS)
    user_id = call.id("user_id")
    call.sim.world.member(guild, user_id)
    outrank(guild, call.user_id, user_id)
    call.sim.world.remove_member(guild, user_id)


def add_role(call: Call) -> None:
    guild = call.guild(Permission.MANAGE_ROLES)
    user_id, role_id = call.id("user_id"), call.id("role_id")
    roles = call.sim.world.member(guild, user_id)["roles"]
    _check_roles(call, guild, {role_id})
    if role_id not in roles:
        call.sim.world.edit_member(guild, user_id, {"roles": [*roles, role_id]})


def remove_role(call: Call) -> None:
    guild = call.guild(Permission.MANAGE_ROLES)
    user_id, role_id = call.id("user_id"), call.id("role_id")
    roles = call.sim.world.member(guild, user_id)["roles"]
    _check_roles(call, guild, {role_id})
    if role_id in roles:
        call.sim.world.edit_member(guild, user_id, {"roles": [r for r in roles if r != role_id]})


def _ban(call: Call, guild: Guild, user_id: str) -> JsonObject:
    if user_id not in guild.bans:
        raise errors.unknown("Ban")
    return {"reason": guild.bans[user_id], "user": call.sim.world.user(user_id)}


def list_bans(call: Call) -> Any:
    guild = call.guild(Permission.BAN_MEMBERS)
    limit = call.number("limit", 1000, 1, 1000)
    return [_ban(call, guild, user_id) for user_id in sorted(guild.bans, key=int)[:limit]]


def fetch_ban(call: Call) -> Any:
    return _ban(call, call.guild(Permission.BAN_MEMBERS), call.id("user_id"))


def ban(call: Call) -> None:
    """Bans, also somebody who is not a member; their messages of the last `delete_message_seconds` go."""
    guild = call.guild(Permission.BAN_MEMBERS)
    user_id = call.id("user_id")
    outrank(guild, call.user_id, user_id)
    seconds = int(call.form.get("delete_message_seconds") or 0)
    if not 0 <= seconds <= _SEVEN_DAYS_S:
        text = f"int value should be less than or equal to {_SEVEN_DAYS_S}."
        raise errors.invalid_form(("delete_message_seconds",), "NUMBER_TYPE_MAX", text)
    call.sim.world.ban(guild, user_id, call.reason)
    if seconds:
        _delete_recent(call, guild, user_id, seconds)


def _delete_recent(call: Call, guild: Guild, user_id: str, seconds: int) -> None:
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    for channel in guild.channels.values():
        recent = [
            m["id"]
            for m in channel.messages.values()
            if m["author"]["id"] == user_id and datetime.fromisoformat(m["timestamp"]) >= since
        ]
        if recent:
            call.sim.posting.delete(channel, recent)


def unban(call: Call) -> None:
    call.sim.world.unban(call.guild(Permission.BAN_MEMBERS), call.id("user_id"))
