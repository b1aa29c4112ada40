"""Messages of a channel: read, send, edit, delete, pin, crosspost, react."""

from __future__ import annotations

import time
from typing import Any

from flora.http.simulator import errors, forms
from flora.http.simulator.errors import ApiError, JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.permissions import Permission
from flora.http.simulator.reactions import parse_emoji
from flora.http.simulator.rest.routing import Call, Routes, visible
from flora.http.simulator.snowflakes import age_s, is_snowflake

BULK_DELETE_MAX_AGE_S = 14 * 86_400
MAX_PINS = 250


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    messages = "/channels/{channel_id}/messages"
    one = messages + "/{message_id}"
    routes.add("POST", messages)(create)
    routes.add("GET", messages)(list_messages)
    routes.add("POST", messages + "/bulk-delete")(bulk_delete)
    routes.add("GET", one)(fetch)
    routes.add("PATCH", one)(edit)
    routes.add("DELETE", one)(delete)
    routes.add("POST", one + "/crosspost")(crosspost)
    routes.add("POST", "/channels/{channel_id}/typing")(typing)
    routes.add("GET", "/channels/{channel_id}/pins")(list_pins)
    routes.add("GET", messages + "/pins")(list_pins_paged)
    for pins in ("/channels/{channel_id}/pins/{message_id}", messages + "/pins/{message_id}"):
        routes.add("PUT", pins)(pin)
        routes.add("DELETE", pins)(unpin)
    reactions = one + "/reactions"
    routes.add("DELETE", reactions)(clear_reactions)
    routes.add("DELETE", reactions + "/{emoji}")(clear_reactions)
    routes.add("GET", reactions + "/{emoji}")(list_reactions)
    routes.add("PUT", reactions + "/{emoji}/{user_id}")(react)
    routes.add("DELETE", reactions + "/{emoji}/{user_id}")(unreact)


def sendable(call: Call) -> Channel:
    """The channel in the path, if the bot may write there."""
    channel = call.channel()
    guild = call.sim.world.guild(channel.guild_id)
    bits = guild.permissions_in(channel, call.user_id)
    if not bits & (Permission.SEND_MESSAGES_IN_THREADS if channel.is_thread else Permission.SEND_MESSAGES):
        raise errors.missing_permissions()
    if channel.data["type"] in (4, 15):
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    if channel.is_thread and channel.data["thread_metadata"]["locked"] and not bits & Permission.MANAGE_THREADS:
        raise ApiError(400, 160005, "Thread is locked")
    return channel


def create(call: Call) -> Any:
    """Sends a message; a reply to something a person posted ends its latency measurement."""
    channel = sendable(call)
    body = call.form
    reference = body.get("message_reference")
    if reference:
        call.sim.stats.replied(str(reference.get("message_id")), call.arrived_at)
        _check_reference(channel, reference)
    forms.check_message(body, has_attachments=bool(call.uploads))
    author = call.sim.world.users[call.user_id]
    attachments = call.store_uploads(channel) if call.uploads else ()
    return call.sim.posting.post(channel, author, forms.settable(body), attachments=attachments)


def _check_reference(channel: Channel, reference: JsonObject) -> None:
    known = str(reference.get("message_id")) in channel.messages
    if not known and reference.get("fail_if_not_exists", True):
        raise errors.invalid_form(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")


def list_messages(call: Call) -> Any:
    """Newest first; `before`, `after` and `around` choose a window."""
    channel = call.channel()
    guild = call.sim.world.guild(channel.guild_id)
    if not guild.permissions_in(channel, call.user_id) & Permission.READ_MESSAGE_HISTORY:
        return []
    limit = call.number("limit", 50, 1, 100)
    found = visible(channel.messages)
    if "around" in call.query:
        centre = int(call.query["around"])
        older = [m for m in found if int(m["id"]) <= centre][-(limit // 2 + 1) :]
        newer = [m for m in found if int(m["id"]) > centre][: limit - len(older)]
        return [*reversed(newer), *reversed(older)]
    if "after" in call.query:
        after = int(call.query["after"])
        return list(reversed([m for m in found if int(m["id"]) > after][:limit]))
    if "before" in call.query:
        before = int(call.query["before"])
        found = [m for m in found if int(m["id"]) < before]
    return list(reversed(found[-limit:]))


def fetch(call: Call) -> Any:
    return call.message(call.channel(Permission.READ_MESSAGE_HISTORY))


def edit(call: Call) -> Any:
    channel = call.channel()
    message = call.message(channel)
    body = call.form
    if message["author"]["id"] != call.user_id:
        if set(body) - {"flags"}:
            raise errors.not_own_message()
        call.channel(Permission.MANAGE_MESSAGES)
    forms.check_message(body, has_attachments=True, may_be_empty=True)
    attachments = call.edited_attachments(channel, message)
    return call.sim.posting.edit(channel, message, forms.settable(body), attachments=attachments)


def delete(call: Call) -> None:
    channel = call.channel()
    message = call.message(channel)
    if message["author"]["id"] != call.user_id:
        call.channel(Permission.MANAGE_MESSAGES)
    call.sim.posting.delete(channel, [message["id"]])


def bulk_delete(call: Call) -> None:
    channel = call.channel(Permission.MANAGE_MESSAGES)
    listed = call.form.get("messages")
    ids = [str(i) for i in listed] if isinstance(listed, list) else []
    if not isinstance(listed, list) or not all(is_snowflake(i) for i in ids):
        raise errors.invalid_form(("messages",), "BASE_TYPE_REQUIRED", "This field is required")
    if not 2 <= len(ids) <= 100:
        raise ApiError(400, 50016, "Provided too few or too many messages to delete. Must provide at least 2 and fewer "
                                   "than 100 messages to delete.")  # fmt: skip
    if any(age_s(i, time.time()) > BULK_DELETE_MAX_AGE_S for i in ids):
        raise ApiError(400, 50034, "You can only bulk delete messages that are under 14 days old.")
    call.sim.posting.delete(channel, list(dict.fromkeys(ids)))


def crosspost(call: Call) -> Any:
    channel = call.channel(Permission.SEND_MESSAGES)
    message = call.message(channel)
    if channel.data["type"] != 5:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    if message["flags"] & 1:
        raise ApiError(400, 40033, "This message has already been crossposted.")
    return call.sim.posting.edit(channel, message, {"flags": message["flags"] | 1})


def typing(call: Call) -> None:
    channel = call.channel(Permission.SEND_MESSAGES)
    data = {
        "channel_id": channel.id,
        "guild_id": channel.guild_id,
        "user_id": call.user_id,
        "timestamp": int(time.time()),
    }
    call.sim.world.emit("TYPING_START", data, channel.guild_id)


def _pinned(channel: Channel) -> list[JsonObject]:
    return [m for m in reversed(visible(channel.messages)) if m["pinned"]]


def list_pins(call: Call) -> Any:
    return _pinned(call.channel(Permission.READ_MESSAGE_HISTORY))


def list_pins_paged(call: Call) -> Any:
    pinned = _pinned(call.channel(Permission.READ_MESSAGE_HISTORY))
    limit = call.number("limit", 50, 1, 50)
    items = [{"pinned_at": m["timestamp"], "message": m} for m in pinned[:limit]]
    return {"items": items, "has_more": len(pinned) > limit}


def _pin(call: Call, pinned: bool) -> None:
    channel = call.channel()
    bits = call.sim.world.guild(channel.guild_id).permissions_in(channel, call.user_id)
    if not bits & (Permission.MANAGE_MESSAGES | Permission.PIN_MESSAGES):
        raise errors.missing_permissions()
    message = call.message(channel)
    if pinned and len(_pinned(channel)) >= MAX_PINS:
        raise ApiError(400, 30003, f"Maximum number of pins reached ({MAX_PINS})")
    if message["pinned"] != pinned:
        call.sim.posting.pin(channel, message, pinned)


def pin(call: Call) -> None:
    _pin(call, True)


def unpin(call: Call) -> None:
    _pin(call, False)


def react(call: Call) -> None:
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    message = call.message(channel)
    emoji = parse_emoji(call.params["emoji"])
    if not any(r["emoji"] == emoji for r in message.get("reactions", ())):
        call.channel(Permission.ADD_REACTIONS)
    call.sim.reactions.add(channel, message, emoji, call.id("user_id"))


def unreact(call: Call) -> None:
    channel = call.channel()
    user_id = call.id("user_id")
    if user_id != call.user_id:
        call.channel(Permission.MANAGE_MESSAGES)
    call.sim.reactions.remove(channel, call.message(channel), parse_emoji(call.params["emoji"]), user_id)


def clear_reactions(call: Call) -> None:
    channel = call.channel(Permission.MANAGE_MESSAGES)
    emoji = parse_emoji(call.params["emoji"]) if "emoji" in call.params else None
    call.sim.reactions.clear(channel, call.message(channel), emoji)


def list_reactions(call: Call) -> Any:
    channel = call.channel()
    users = call.sim.reactions.users(channel, call.message(channel), parse_emoji(call.params["emoji"]))
    after = int(call.query.get("after", "0"))
    return [u for u in users if int(u["id"]) > after][: call.number("limit", 25, 1, 100)]
