"""Messages: making, changing and removing them, reactions and pins."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flora.http.simulator import errors, shapes
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.permissions import Permission
from flora.http.simulator.world import World, now_iso

DEFAULT, REPLY, CHAT_INPUT_COMMAND, CONTEXT_MENU_COMMAND, PIN_NOTICE, THREAD_CREATED = 0, 19, 20, 23, 6, 18
_USER_MENTION = re.compile(r"<@!?(\d{1,20})>")
_ROLE_MENTION = re.compile(r"<@&(\d{1,20})>")
_EDITABLE = ("content", "embeds", "components", "attachments", "flags")
_MEMBER_IN_MESSAGE = ("nick", "avatar", "roles", "joined_at", "premium_since", "deaf", "mute", "flags", "pending",
                      "communication_disabled_until")  # fmt: skip


class Posting:
    """Everything that happens to messages."""

    def __init__(self, world: World) -> None:
        self.world = world

    def message(self, channel: Channel, message_id: str) -> JsonObject:
        """A message that everybody in the channel may see.

        Raises:
            ApiError: 10008.
        """
        found = channel.messages.get(message_id)
        if found is None or found["flags"] & shapes.EPHEMERAL:
            raise errors.unknown("Message")
        return found

    def post(
        self,
        channel: Channel,
        author: JsonObject,
        body: JsonObject,
        *,
        kind: int = DEFAULT,
        attachments: Sequence[JsonObject] = (),
        extra: JsonObject | None = None,
    ) -> JsonObject:
        """Stores a new message and announces it, unless it is ephemeral.

        Args:
            body: Checked message body; content, embeds, components, flags, tts, nonce and message_reference count.
            extra: Further keys of the message: webhook_id, interaction_metadata, application_id …
        """
        content = body.get("content") or ""
        message: JsonObject = {
            "id": self.world.ids.next(),
            "channel_id": channel.id,
            "author": author,
            "content": content,
            "timestamp": now_iso(),
            "edited_timestamp": None,
            "tts": bool(body.get("tts")),
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "mention_channels": [],
            "attachments": list(attachments),
            "embeds": body.get("embeds") or [],
            "components": body.get("components") or [],
            "pinned": False,
            "type": kind,
            "flags": int(body.get("flags") or 0),
        }
        if "nonce" in body:
            message["nonce"] = body["nonce"]
        self._refer(channel, message, body)
        if "@" in content:
            self._mention(channel, message, body.get("allowed_mentions"))
        if extra:
            message.update(extra)
        self._store(channel, message)
        return message

    def _refer(self, channel: Channel, message: JsonObject, body: JsonObject) -> None:
        reference = body.get("message_reference")
        if not reference:
            return
        target_id = str(reference.get("message_id"))
        target = channel.messages.get(target_id)
        if target is None:
            return
        message["type"] = REPLY
        message["message_reference"] = {
            "type": 0, "message_id": target_id, "channel_id": channel.id, "guild_id": channel.guild_id
        }  # fmt: skip
        # One level only, as Discord does: otherwise a conversation would nest without end.
        message["referenced_message"] = {k: v for k, v in target.items() if k != "referenced_message"}
        allowed = body.get("allowed_mentions")
        if allowed is None or allowed.get("replied_user"):
            message["mentions"].append(target["author"])

    def _mention(self, channel: Channel, message: JsonObject, allowed: JsonObject | None) -> None:
        content = message["content"]
        parse = {"users", "roles", "everyone"} if allowed is None else set(allowed.get("parse") or ())
        named_users = {str(i) for i in (allowed or {}).get("users") or ()}
        named_roles = {str(i) for i in (allowed or {}).get("roles") or ()}
        seen = {user["id"] for user in message["mentions"]}
        for user_id in dict.fromkeys(_USER_MENTION.findall(content)):
            if user_id in self.world.users and user_id not in seen and ("users" in parse or user_id in named_users):
                message["mentions"].append(self.world.users[user_id])
        guild = self.world.guilds[channel.guild_id]
        message["mention_roles"] = [
            role_id
            for role_id in dict.fromkeys(_ROLE_MENTION.findall(content))
            if role_id in guild.roles and ("roles" in parse or role_id in named_roles)
        ]
        if "everyone" in parse and ("@everyone" in content or "@here" in content):
            bits = guild.permissions_in(channel, message["author"]["id"])
            message["mention_everyone"] = bool(bits & Permission.MENTION_EVERYONE)

    def _store(self, channel: Channel, message: JsonObject) -> None:
        messages = channel.messages
        messages[message["id"]] = message
        while len(messages) > self.world.config.max_messages_per_channel:
            oldest = next(iter(messages))
            del messages[oldest]
            channel.reactors.pop(oldest, None)
        if message["flags"] & shapes.EPHEMERAL:
            self.world.emit("SIM_EPHEMERAL", self.for_gateway(channel, message), channel.guild_id)
            return
        channel.data["last_message_id"] = message["id"]
        if channel.is_thread:
            channel.data["message_count"] += 1
            channel.data["total_message_sent"] += 1
        self.announce("MESSAGE_CREATE", channel, message)

    def for_gateway(self, channel: Channel, message: JsonObject) -> JsonObject:
        """A message with what only gateway events carry: guild id, channel type and the author's membership."""
        member = self.world.guilds[channel.guild_id].members.get(message["author"]["id"])
        data = {**message, "guild_id": channel.guild_id, "channel_type": channel.data["type"]}
        if member is not None and "webhook_id" not in message:
            data["member"] = {key: member[key] for key in _MEMBER_IN_MESSAGE}
        return data

    def announce(self, event: str, channel: Channel, message: JsonObject) -> None:
        """Emits a message event to those who may see the channel."""
        if message["flags"] & shapes.EPHEMERAL:
            event = "SIM_EPHEMERAL"
        if self.world.bot_can_view(channel):
            self.world.emit(event, self.for_gateway(channel, message), channel.guild_id)
        else:
            self.world.emit(f"SIM_{event}", self.for_gateway(channel, message), channel.guild_id)

    def edit(
        self, channel: Channel, message: JsonObject, body: JsonObject, *, attachments: list[JsonObject] | None = None
    ) -> JsonObject:
        """Changes what `body` names."""
        for key in _EDITABLE:
            if key in body and key not in ("attachments", "flags"):
                message[key] = body[key] if body[key] is not None else ("" if key == "content" else [])
        if "flags" in body and body["flags"] is not None:
            kept = message["flags"] & (shapes.EPHEMERAL | shapes.LOADING)
            message["flags"] = int(body["flags"]) | kept
        if attachments is not None:
            message["attachments"] = attachments
        message["edited_timestamp"] = now_iso()
        if "content" in body:
            message["mentions"], message["mention_roles"], message["mention_everyone"] = [], [], False
            self._mention(channel, message, body.get("allowed_mentions"))
        self.announce("MESSAGE_UPDATE", channel, message)
        return message

    def delete(self, channel: Channel, message_ids: Sequence[str]) -> None:
        """Removes messages; more than one is announced as a bulk."""
        gone = [channel.messages.pop(i) for i in message_ids if i in channel.messages]
        for message in gone:
            channel.reactors.pop(message["id"], None)
        scope = {"channel_id": channel.id, "guild_id": channel.guild_id}
        public = [m["id"] for m in gone if not m["flags"] & shapes.EPHEMERAL]
        for message in gone:
            if message["flags"] & shapes.EPHEMERAL:
                self.world.emit("SIM_MESSAGE_DELETE", {"id": message["id"], **scope}, channel.guild_id)
        if len(public) == 1 and len(message_ids) == 1:
            self.world.emit("MESSAGE_DELETE", {"id": public[0], **scope}, channel.guild_id)
        elif public:
            self.world.emit("MESSAGE_DELETE_BULK", {"ids": public, **scope}, channel.guild_id)

    def pin(self, channel: Channel, message: JsonObject, pinned: bool) -> None:
        message["pinned"] = pinned
        if pinned:
            channel.data["last_pin_timestamp"] = now_iso()
        scope = {"channel_id": channel.id, "guild_id": channel.guild_id}
        at = channel.data.get("last_pin_timestamp")
        self.world.emit("CHANNEL_PINS_UPDATE", {**scope, "last_pin_timestamp": at}, channel.guild_id)
        self.announce("MESSAGE_UPDATE", channel, message)
