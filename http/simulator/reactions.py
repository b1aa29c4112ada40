"""Reactions on messages. A message keeps, per emoji, who reacted; wire counts are made from that."""

from __future__ import annotations

import re
from urllib.parse import unquote

from flora.http.simulator import errors
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.world import World

_CUSTOM = re.compile(r"^(?:a:)?(\w{2,32}):(\d{1,20})$")
_WORDY = re.compile(r"^[\x20-\x7e]*$")
_KEYCAPS = re.compile(r"^[0-9#*]\ufe0f?\u20e3$")


def parse_emoji(raw: str) -> JsonObject:
    """The emoji in a reaction route: a character, or `name:id`.

    Raises:
        ApiError: 10014 if it is neither.
    """
    text = unquote(raw)
    custom = _CUSTOM.match(text)
    if custom:
        return {"id": custom[2], "name": custom[1], "animated": text.startswith("a:")}
    if not text or len(text) > 32 or (_WORDY.match(text) and not _KEYCAPS.match(text)):
        raise errors.unknown("Emoji")
    return {"id": None, "name": text}


def emoji_key(emoji: JsonObject) -> str:
    return str(emoji["id"] or emoji["name"])


class Reactions:
    """Adds, removes and lists reactions."""

    MAX_KINDS = 20

    def __init__(self, world: World) -> None:
        self.world = world

    def add(self, channel: Channel, message: JsonObject, emoji: JsonObject, user_id: str) -> None:
        """A second time by the same user changes nothing.

        Raises:
            ApiError: 30010 beyond 20 kinds.
        """
        kinds = self._of(channel, message)
        key = emoji_key(emoji)
        if key not in kinds and len(kinds) >= self.MAX_KINDS:
            raise errors.ApiError(400, 30010, "Maximum number of reactions reached (20)")
        users = kinds.setdefault(key, {})
        if user_id in users:
            return
        users[user_id] = None
        self._refresh(channel, message, emoji)
        data = self._event(channel, message, emoji)
        data |= {"user_id": user_id, "message_author_id": message["author"]["id"]}
        guild = self.world.guilds[channel.guild_id]
        if user_id in guild.members:
            data["member"] = self.world.member(guild, user_id)
        self.world.emit("MESSAGE_REACTION_ADD", data | {"burst": False, "type": 0}, channel.guild_id)

    def remove(self, channel: Channel, message: JsonObject, emoji: JsonObject, user_id: str) -> None:
        users = self._of(channel, message).get(emoji_key(emoji), {})
        if user_id not in users:
            return
        del users[user_id]
        self._refresh(channel, message, emoji)
        data = self._event(channel, message, emoji) | {"user_id": user_id, "burst": False, "type": 0}
        self.world.emit("MESSAGE_REACTION_REMOVE", data, channel.guild_id)

    def clear(self, channel: Channel, message: JsonObject, emoji: JsonObject | None = None) -> None:
        """Removes all of one kind, or all kinds."""
        if emoji is None:
            channel.reactors.pop(message["id"], None)
            message.pop("reactions", None)
            data = {"channel_id": channel.id, "message_id": message["id"], "guild_id": channel.guild_id}
            self.world.emit("MESSAGE_REACTION_REMOVE_ALL", data, channel.guild_id)
            return
        self._of(channel, message).pop(emoji_key(emoji), None)
        self._refresh(channel, message, emoji)
        event = self._event(channel, message, emoji) | {"burst": False, "type": 0}
        self.world.emit("MESSAGE_REACTION_REMOVE_EMOJI", event, channel.guild_id)

    def users(self, channel: Channel, message: JsonObject, emoji: JsonObject) -> list[JsonObject]:
        return [
            self.world.users[u] for u in self._of(channel, message).get(emoji_key(emoji), {}) if u in self.world.users
        ]

    def _of(self, channel: Channel, message: JsonObject) -> dict[str, dict[str, None]]:
        return channel.reactors.setdefault(message["id"], {})

    def _event(self, channel: Channel, message: JsonObject, emoji: JsonObject) -> JsonObject:
        return {
            "channel_id": channel.id, "message_id": message["id"], "guild_id": channel.guild_id, "emoji": emoji
        }  # fmt: skip

    def _refresh(self, channel: Channel, message: JsonObject, emoji: JsonObject) -> None:
        """Writes the counts of one emoji into the message."""
        users = self._of(channel, message).get(emoji_key(emoji), {})
        listed: list[JsonObject] = message.setdefault("reactions", [])
        listed[:] = [r for r in listed if emoji_key(r["emoji"]) != emoji_key(emoji)]
        if users:
            count = len(users)
            listed.append({
                "emoji": emoji, "count": count, "count_details": {"burst": 0, "normal": count},
                "me": self.world.bot_id in users, "me_burst": False, "burst_colors": [],
            })  # fmt: skip
        else:
            self._of(channel, message).pop(emoji_key(emoji), None)
        if not listed:
            message.pop("reactions", None)
