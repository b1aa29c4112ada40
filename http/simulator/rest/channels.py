"""Channels of a guild: listed, made, read, changed, moved, deleted; their permission overwrites."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors, shapes
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest.routing import Call, Routes

_CHANNEL_SETTABLE = frozenset({
    "name", "type", "position", "topic", "nsfw", "rate_limit_per_user", "bitrate", "user_limit",
    "permission_overwrites", "parent_id", "rtc_region", "video_quality_mode", "default_auto_archive_duration",
    "flags", "available_tags", "default_reaction_emoji", "default_sort_order", "default_forum_layout",
    "default_thread_rate_limit_per_user",
})  # fmt: skip
_THREAD_SETTABLE = frozenset({"name", "rate_limit_per_user", "flags", "applied_tags"})
_THREAD_METADATA = frozenset({"archived", "auto_archive_duration", "locked", "invitable"})
_CREATABLE = frozenset({0, 2, 4, 5, 13, 14, 15, 16})


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    routes.add("GET", "/channels/{channel_id}")(fetch)
    routes.add("PATCH", "/channels/{channel_id}")(edit)
    routes.add("DELETE", "/channels/{channel_id}")(delete)
    routes.add("PUT", "/channels/{channel_id}/permissions/{overwrite_id}")(set_overwrite)
    routes.add("DELETE", "/channels/{channel_id}/permissions/{overwrite_id}")(delete_overwrite)
    routes.add("GET", "/channels/{channel_id}/invites")(lambda call: call.channel(Permission.MANAGE_CHANNELS) and [])
    routes.add("GET", "/guilds/{guild_id}/channels")(list_channels)
    routes.add("POST", "/guilds/{guild_id}/channels")(create)
    routes.add("PATCH", "/guilds/{guild_id}/channels")(move)


def _check(form: JsonObject, *, creating: bool) -> None:
    faults = errors.FormErrors()
    name = form.get("name")
    if creating and not name:
        faults.required("name")
    elif name is not None and not 1 <= len(str(name)) <= 100:
        faults.add(("name",), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
    topic = form.get("topic")
    if topic is not None and len(str(topic)) > 1024:
        faults.too_long(1024, "topic")
    seconds = form.get("rate_limit_per_user")
    if seconds is not None and not 0 <= int(seconds) <= 21_600:
        faults.add(("rate_limit_per_user",), "NUMBER_TYPE_MAX", "int value should be less than or equal to 21600.")
    faults.raise_if_any()


def _overwrites(raw: Any) -> list[JsonObject]:
    return [
        {"id": str(o["id"]), "type": int(o.get("type") or 0), "allow": str(o.get("allow") or 0),
         "deny": str(o.get("deny") or 0)}
        for o in raw or []
    ]  # fmt: skip


def _changes(form: JsonObject, settable: frozenset[str]) -> JsonObject:
    changes = {k: v for k, v in form.items() if k in settable}
    if "permission_overwrites" in changes:
        changes["permission_overwrites"] = _overwrites(changes["permission_overwrites"])
    if changes.get("parent_id") is not None:
        changes["parent_id"] = str(changes["parent_id"])
    return changes


def fetch(call: Call) -> Any:
    return call.channel().data


def edit(call: Call) -> Any:
    channel = call.channel()
    form = call.form
    _check(form, creating=False)
    if channel.is_thread:
        _edit_thread(call, channel, form)
    else:
        call.channel(Permission.MANAGE_CHANNELS)
        if "permission_overwrites" in form:
            call.channel(Permission.MANAGE_ROLES)
        call.sim.world.edit_channel(channel, _changes(form, _CHANNEL_SETTABLE))
    return channel.data


def _edit_thread(call: Call, thread: Channel, form: JsonObject) -> None:
    bits = call.sim.world.guild(thread.guild_id).permissions_in(thread, call.user_id)
    if not bits & Permission.MANAGE_THREADS and thread.data["owner_id"] != call.user_id:
        raise errors.missing_permissions()
    metadata = thread.data["thread_metadata"] | {k: v for k, v in form.items() if k in _THREAD_METADATA}
    call.sim.world.edit_channel(thread, _changes(form, _THREAD_SETTABLE) | {"thread_metadata": metadata})


def delete(call: Call) -> Any:
    channel = call.channel()
    call.channel(Permission.MANAGE_THREADS if channel.is_thread else Permission.MANAGE_CHANNELS)
    call.sim.world.delete_channel(channel)
    return channel.data


def set_overwrite(call: Call) -> None:
    channel = call.channel(Permission.MANAGE_ROLES)
    target = call.id("overwrite_id")
    kept = [o for o in channel.data["permission_overwrites"] if o["id"] != target]
    call.sim.world.edit_channel(channel, {"permission_overwrites": kept + _overwrites([{**call.form, "id": target}])})


def delete_overwrite(call: Call) -> None:
    channel = call.channel(Permission.MANAGE_ROLES)
    target = call.id("overwrite_id")
    kept = [o for o in channel.data["permission_overwrites"] if o["id"] != target]
    call.sim.world.edit_channel(channel, {"permission_overwrites": kept})


def list_channels(call: Call) -> Any:
    return call.guild().plain_channels()


def create(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_CHANNELS)
    form = call.form
    _check(form, creating=True)
    kind = int(form.get("type") or shapes.TEXT)
    if kind not in _CREATABLE:
        raise errors.invalid_form(("type",), "BASE_TYPE_CHOICES", f"Value must be one of {set(_CREATABLE)}.")
    if len(guild.channels) >= 500:
        raise errors.ApiError(400, 30013, "Maximum number of guild channels reached (500)")
    parent_id = form.get("parent_id")
    if parent_id is not None and str(parent_id) not in guild.channels:
        raise errors.invalid_form(("parent_id",), "CHANNEL_PARENT_INVALID", "Category does not exist")
    channel = call.sim.world.add_channel(guild, str(form["name"]), kind, _changes(form, _CHANNEL_SETTABLE))
    return channel.data


def move(call: Call) -> None:
    guild = call.guild(Permission.MANAGE_CHANNELS)
    for item in call.body if isinstance(call.body, list) else []:
        channel = guild.channels.get(str(item.get("id")))
        if channel is not None:
            changes = {k: item[k] for k in ("position", "parent_id") if item.get(k) is not None}
            call.sim.world.edit_channel(channel, changes)
