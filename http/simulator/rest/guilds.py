"""A guild itself, its roles and what else hangs on it."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Guild
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest.routing import Call, Reply, Routes

_SETTABLE = frozenset({
    "name", "description", "verification_level", "default_message_notifications", "explicit_content_filter",
    "afk_channel_id", "afk_timeout", "system_channel_id", "system_channel_flags", "rules_channel_id",
    "public_updates_channel_id", "preferred_locale", "premium_progress_bar_enabled", "safety_alerts_channel_id",
})  # fmt: skip
_ROLE_SETTABLE = frozenset({"name", "color", "colors", "hoist", "mentionable", "unicode_emoji"})


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    routes.add("GET", "/guilds/{guild_id}")(fetch)
    routes.add("PATCH", "/guilds/{guild_id}")(edit)
    routes.add("GET", "/guilds/{guild_id}/preview")(fetch)
    routes.add("GET", "/guilds/{guild_id}/roles")(list_roles)
    routes.add("POST", "/guilds/{guild_id}/roles")(create_role)
    routes.add("GET", "/guilds/{guild_id}/roles/{role_id}")(fetch_role)
    routes.add("PATCH", "/guilds/{guild_id}/roles/{role_id}")(edit_role)
    routes.add("DELETE", "/guilds/{guild_id}/roles/{role_id}")(delete_role)
    for nothing in ("emojis", "stickers", "invites", "integrations", "scheduled-events", "soundboard-sounds"):
        routes.add("GET", f"/guilds/{{guild_id}}/{nothing}")(empty)


def fetch(call: Call) -> Any:
    guild = call.guild()
    data = call.sim.world.rest_guild(guild)
    if call.flag("with_counts"):
        data |= {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
    return data


def edit(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_GUILD)
    name = call.form.get("name")
    if name is not None and not 2 <= len(str(name)) <= 100:
        raise errors.invalid_form(("name",), "BASE_TYPE_BAD_LENGTH", "Must be between 2 and 100 in length.")
    call.sim.world.edit_guild(guild, {k: v for k, v in call.form.items() if k in _SETTABLE})
    return call.sim.world.rest_guild(guild)


def empty(call: Call) -> Any:
    call.guild()
    return []


def list_roles(call: Call) -> Any:
    return list(call.guild().roles.values())


def _role(call: Call, guild: Guild) -> JsonObject:
    role = guild.roles.get(call.id("role_id"))
    if role is None:
        raise errors.unknown("Role")
    return role


def fetch_role(call: Call) -> Any:
    return _role(call, call.guild())


def _role_changes(call: Call, guild: Guild) -> JsonObject:
    """What a form says about a role. Nobody hands out permissions they do not have."""
    form = call.form
    changes = {k: v for k, v in form.items() if k in _ROLE_SETTABLE and v is not None}
    if form.get("permissions") is not None:
        wanted = int(form["permissions"])
        if wanted & ~guild.permissions_of(call.user_id):
            raise errors.missing_permissions()
        changes["permissions"] = str(wanted)
    return changes


def create_role(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_ROLES)
    if len(guild.roles) >= 250:
        raise errors.ApiError(400, 30005, "Maximum number of guild roles reached (250)")
    changes = _role_changes(call, guild)
    default = guild.roles[guild.id]["permissions"]
    name = str(changes.pop("name", None) or "new role")
    permissions = int(changes.pop("permissions", default))
    return call.sim.world.add_role(guild, name, permissions, **changes)


def _below_bot(call: Call, guild: Guild, role: JsonObject) -> None:
    if guild.owner_id != call.user_id and role["position"] >= guild.top_role_position(call.user_id):
        raise errors.missing_permissions()


def edit_role(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_ROLES)
    role = _role(call, guild)
    _below_bot(call, guild, role)
    return call.sim.world.edit_role(guild, role["id"], _role_changes(call, guild))


def delete_role(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_ROLES)
    role = _role(call, guild)
    _below_bot(call, guild, role)
    if role["managed"]:
        raise errors.ApiError(400, 50028, "Invalid Role")
    call.sim.world.delete_role(guild, role["id"])
    return Reply(204, None)
