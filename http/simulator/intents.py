"""Gateway intents: which events a session asked for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any


class Intent(IntFlag):
    """Bits of IDENTIFY's `intents`."""

    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_MODERATION = 1 << 2
    GUILD_EXPRESSIONS = 1 << 3
    GUILD_INTEGRATIONS = 1 << 4
    GUILD_WEBHOOKS = 1 << 5
    GUILD_INVITES = 1 << 6
    GUILD_VOICE_STATES = 1 << 7
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15
    GUILD_SCHEDULED_EVENTS = 1 << 16
    AUTO_MODERATION_CONFIGURATION = 1 << 20
    AUTO_MODERATION_EXECUTION = 1 << 21
    GUILD_MESSAGE_POLLS = 1 << 24
    DIRECT_MESSAGE_POLLS = 1 << 25


KNOWN = sum(Intent)
PRIVILEGED = Intent.GUILD_MEMBERS | Intent.GUILD_PRESENCES | Intent.MESSAGE_CONTENT

_PREFIXES: tuple[tuple[str, int], ...] = (
    ("MESSAGE_REACTION_", Intent.GUILD_MESSAGE_REACTIONS),
    ("MESSAGE_", Intent.GUILD_MESSAGES),
    ("CHANNEL_", Intent.GUILDS),
    ("THREAD_", Intent.GUILDS),
    ("GUILD_ROLE_", Intent.GUILDS),
    ("GUILD_MEMBER_", Intent.GUILD_MEMBERS),
    ("GUILD_BAN_", Intent.GUILD_MODERATION),
    ("GUILD_", Intent.GUILDS),
    ("WEBHOOKS_", Intent.GUILD_WEBHOOKS),
    ("TYPING_", Intent.GUILD_MESSAGE_TYPING),
)
_cache: dict[str, int] = {}


def needed_for(event: str) -> int:
    """Intent bits of which a session needs one to get `event`; 0 means everybody gets it."""
    bits = _cache.get(event)
    if bits is None:
        bits = next((int(intent) for prefix, intent in _PREFIXES if event.startswith(prefix)), 0)
        _cache[event] = bits
    return bits


def without_content(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as a session without MESSAGE_CONTENT sees it."""
    return {**message, "content": "", "embeds": [], "attachments": [], "components": []}


def may_read_content(message: Mapping[str, Any], bot_id: str) -> bool:
    """Whether the bot sees the content anyway: its own messages, and those that mention it."""
    if "author" not in message or message["author"]["id"] == bot_id:
        return True
    return any(user["id"] == bot_id for user in message.get("mentions", ()))
