"""What Discord sends → what a script sees. Pure, table-driven, no model objects.

A script payload is camelCase; ids are decimal strings, timestamps RFC 3339 strings, and what Discord left out is None.
Interaction `data` stays snake_case, as Discord sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Raw = dict[str, Any]
"""The `d` of a gateway dispatch, or a part of it."""

DROPPABLE = frozenset({"messageCreate", "messageUpdate"})
"""Script events that are shed first when too much arrives."""

_INTERACTION_EVENTS = {2: "interactionCreate", 3: "componentInteraction", 5: "modalSubmit"}  # 1 ping, 4 autocomplete

_NAMES = {
    "READY": "ready",
    "MESSAGE_CREATE": "messageCreate",
    "MESSAGE_UPDATE": "messageUpdate",
    "MESSAGE_DELETE": "messageDelete",
    "MESSAGE_DELETE_BULK": "messageDeleteBulk",
    "MESSAGE_REACTION_ADD": "reactionAdd",
    "MESSAGE_REACTION_REMOVE": "reactionRemove",
    "MESSAGE_REACTION_REMOVE_EMOJI": "reactionRemoveEmoji",
    "MESSAGE_REACTION_REMOVE_ALL": "reactionRemoveAll",
}


def event_name(dispatch: str, raw: Raw) -> str | None:
    """Script event for a gateway dispatch: `messageCreate` for MESSAGE_CREATE; None when scripts never see it."""
    if dispatch == "INTERACTION_CREATE":
        return _INTERACTION_EVENTS.get(raw["type"])
    return _NAMES.get(dispatch)


def user(raw: Raw) -> Raw:
    """`{id, username, discriminator: number | None, bot}`; a discriminator of "0" means there is none."""
    discriminator = raw.get("discriminator")
    return {
        "id": raw["id"],
        "username": raw.get("username"),
        "discriminator": (int(discriminator) or None) if discriminator and discriminator != "0" else None,
        "bot": raw.get("bot", False),
    }


def _message_member(raw: Raw, author: Raw) -> Raw:
    """Member of a message event: always without what Discord does not promise there."""
    return {
        "user": author,
        "nick": raw.get("nick"),
        "avatar": None,
        "roles": raw.get("roles", []),
        "joinedAt": raw.get("joined_at"),
        "premiumSince": None,
        "deaf": raw.get("deaf", False),
        "mute": raw.get("mute", False),
        "flags": 0,
        "pending": raw.get("pending", False),
        "permissions": None,
        "communicationDisabledUntil": None,
    }


def _interaction_member(raw: Raw, who: Raw) -> Raw:
    """Member of an interaction, complete; `permissions` is a decimal string."""
    return {
        "user": who,
        "nick": raw.get("nick"),
        "avatar": raw.get("avatar"),
        "roles": raw.get("roles", []),
        "joinedAt": raw.get("joined_at"),
        "premiumSince": raw.get("premium_since"),
        "deaf": raw.get("deaf", False),
        "mute": raw.get("mute", False),
        "flags": raw.get("flags", 0),
        "pending": raw.get("pending", False),
        "permissions": raw.get("permissions"),
        "communicationDisabledUntil": raw.get("communication_disabled_until"),
    }


def message(raw: Raw) -> Raw:
    """`{id, channelId, guildId, content, author, member}`; a webhook's message has no member."""
    raw_author = raw.get("author")
    author = user(raw_author) if raw_author is not None else None
    member = raw.get("member")
    return {
        "id": raw["id"],
        "channelId": raw["channel_id"],
        "guildId": raw.get("guild_id"),
        "content": raw.get("content", ""),
        "author": author,
        "member": _message_member(member, author) if member is not None and author is not None else None,
    }


def _message_update(raw: Raw) -> Raw:
    new = message(raw)
    return {
        "id": new["id"],
        "channelId": new["channelId"],
        "guildId": new["guildId"],
        "content": new["content"],
        "author": new["author"],
        "editedTimestamp": raw.get("edited_timestamp"),
        "old": None,  # no messages are cached
        "new": new,
    }


def _message_delete(raw: Raw) -> Raw:
    return {"id": raw["id"], "channelId": raw["channel_id"], "guildId": raw.get("guild_id")}


def _message_delete_bulk(raw: Raw) -> Raw:
    return {"ids": raw["ids"], "channelId": raw["channel_id"], "guildId": raw.get("guild_id")}


def _emoji(raw: Raw) -> Raw:
    if raw.get("id") is None:
        return {"name": raw.get("name")}
    return {"animated": raw.get("animated", False), "id": raw["id"], "name": raw.get("name")}


def _reaction(raw: Raw) -> Raw:
    return {
        "userId": raw.get("user_id"),
        "channelId": raw["channel_id"],
        "messageId": raw["message_id"],
        "guildId": raw.get("guild_id"),
        "emoji": _emoji(raw["emoji"]),
        "burst": raw.get("burst", False),
    }


def _reaction_remove_all(raw: Raw) -> Raw:
    return {"messageId": raw["message_id"], "channelId": raw["channel_id"], "guildId": raw.get("guild_id")}


def _interaction(raw: Raw) -> Raw:
    member = raw.get("member")
    who = user(member["user"] if member is not None else raw["user"])
    return {
        "interactionId": raw["id"],
        "interactionToken": raw["token"],
        "applicationId": raw["application_id"],
        "guildId": raw.get("guild_id"),
        "channelId": raw.get("channel_id") or (raw.get("channel") or {}).get("id"),
        "user": who,
        "member": _interaction_member(member, who) if member is not None else None,
        "data": raw.get("data"),
        "locale": raw.get("locale"),
        "guildLocale": raw.get("guild_locale"),
    }


def _command(raw: Raw) -> Raw:
    data = raw["data"]
    payload = _interaction(raw)
    payload["commandName"] = data["name"]
    payload["data"] = {**data, "resolved": data.get("resolved") or {}, "options": data.get("options") or []}
    payload["data"].setdefault("target_id", None)
    return payload


def _component(raw: Raw) -> Raw:
    payload = _interaction(raw)
    payload["messageId"] = (raw.get("message") or {}).get("id")
    payload["data"] = {**raw["data"], "values": raw["data"].get("values")}
    return payload


def _modal(raw: Raw) -> Raw:
    payload = _interaction(raw)
    payload["messageId"] = (raw.get("message") or {}).get("id")
    return payload


def _ready(raw: Raw) -> Raw:
    return {"user": user(raw["user"]), "guildIds": []}  # which guilds the bot serves is nobody's business in a guild


PAYLOADS: dict[str, Callable[[Raw], Raw]] = {
    "ready": _ready,
    "messageCreate": message,
    "messageUpdate": _message_update,
    "messageDelete": _message_delete,
    "messageDeleteBulk": _message_delete_bulk,
    "interactionCreate": _command,
    "componentInteraction": _component,
    "modalSubmit": _modal,
    "reactionAdd": _reaction,
    "reactionRemove": _reaction,
    "reactionRemoveEmoji": _reaction,
    "reactionRemoveAll": _reaction_remove_all,
}
"""Script event name → function from the raw dispatch to the script payload."""


def script_event(dispatch: str, raw: Raw) -> tuple[str, str | None, Raw] | None:
    """Maps one gateway dispatch.

    Args:
        dispatch: Discord's name, such as `MESSAGE_CREATE`.
        raw: Its data as decoded JSON; not changed.
    Returns:
        (script event name, guild id or None, script payload), or None for what scripts never see.
    Raises:
        KeyError: Discord left out what it promises to send.
    """
    name = event_name(dispatch, raw)
    if name is None:
        return None
    return name, raw.get("guild_id"), PAYLOADS[name](raw)
