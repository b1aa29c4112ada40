"""All guilds, channels, users and roles, and every change to them. Each change is announced as a gateway event.

Messages are in `posting`, interactions in `interactions`. One thread only: the loop's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from flora.http.simulator import errors, shapes
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.permissions import BOT_DEFAULT, Permission
from flora.http.simulator.snowflakes import SnowflakeFactory


class Emit(Protocol):
    """Announces an event to the gateway's sessions and to open pages."""

    def __call__(self, event: str, data: JsonObject, guild_id: str | None = None) -> None: ...


def now_iso() -> str:
    """The time as Discord writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class World:
    """The state of the simulated Discord.

    Args:
        emit: Called for each change, with the data a fully privileged session sees.
        on_change: Called after each change, so that a snapshot can be planned.
    """

    def __init__(self, config: SimulatorConfig, emit: Emit, on_change: Callable[[], None]) -> None:
        self.config = config
        self.ids = SnowflakeFactory()
        self.users: dict[str, JsonObject] = {}
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self.webhooks: dict[str, JsonObject] = {}
        self.global_commands: dict[str, JsonObject] = {}
        self._emit = emit
        self._on_change = on_change
        self.bot_id = config.application_id  # as with every application made since 2016
        self.users[self.bot_id] = shapes.user(self.bot_id, config.bot_name, bot=True, discriminator="4242")

    def emit(self, event: str, data: JsonObject, guild_id: str | None = None) -> None:
        """Announces an event and notes that the state changed."""
        self._on_change()
        self._emit(event, data, guild_id)

    # Looking up

    def guild(self, guild_id: str) -> Guild:
        """Raises:
        ApiError: 10004, also for a guild that has an outage or that the bot left.
        """
        guild = self.guilds.get(guild_id)
        if guild is None or guild.unavailable:
            raise errors.unknown("Guild")
        return guild

    def channel(self, channel_id: str) -> Channel:
        """Raises:
        ApiError: 10003.
        """
        channel = self.channels.get(channel_id)
        if channel is None:
            raise errors.unknown("Channel")
        return channel

    def user(self, user_id: str) -> JsonObject:
        """Raises:
        ApiError: 10013.
        """
        user = self.users.get(user_id)
        if user is None:
            raise errors.unknown("User")
        return user

    def member(self, guild: Guild, user_id: str) -> JsonObject:
        """A member with its user.

        Raises:
            ApiError: 10007.
        """
        member = guild.members.get(user_id)
        if member is None:
            raise errors.unknown("Member")
        return {**member, "user": self.users[user_id]}

    def display_name(self, user_id: str) -> str:
        user = self.users[user_id]
        return str(user["global_name"] or user["username"])

    # Users and guilds

    def add_user(self, username: str, *, user_id: str | None = None, global_name: str | None = None) -> JsonObject:
        """Makes a person."""
        user = shapes.user(user_id or self.ids.next(), username, global_name=global_name)
        self.users[user["id"]] = user
        self._on_change()
        return user

    def add_guild(
        self, name: str, owner_id: str, *, guild_id: str | None = None, channels: Iterable[str] = ("general",)
    ) -> Guild:
        """Makes a guild with text channels, its owner and the bot in it; the bot sees it as just having joined.

        Raises:
            ApiError: 50035 if the id is taken.
        """
        if guild_id in self.guilds:
            raise errors.invalid_form(("id",), "SIMULATOR_ID_TAKEN", "There is already a guild with this id.")
        if guild_id:
            self.ids.never_below(guild_id)
        guild = Guild(shapes.guild(guild_id or self.ids.next(), name, owner_id))
        guild.roles[guild.id] = shapes.everyone_role(guild.id)
        bot_role = shapes.role(self.ids.next(), self.config.bot_name, BOT_DEFAULT, 1)
        bot_role |= {"managed": True, "tags": {"bot_id": self.bot_id}}
        guild.roles[bot_role["id"]] = bot_role
        guild.members[owner_id] = shapes.member(now_iso())
        guild.members[self.bot_id] = shapes.member(now_iso(), [bot_role["id"]])
        for position, channel_name in enumerate(channels):
            data = shapes.channel(self.ids.next(), guild.id, channel_name, shapes.TEXT, position)
            guild.channels[data["id"]] = self.channels[data["id"]] = Channel(data)
        text = next((c for c in guild.channels.values()), None)
        guild.data["system_channel_id"] = text.id if text else None
        self.guilds[guild.id] = guild
        self.emit("GUILD_CREATE", {"id": guild.id}, guild.id)
        return guild

    def remove_guild(self, guild_id: str) -> None:
        """The bot leaves, or is thrown out; the guild is gone."""
        guild = self.guilds.pop(guild_id, None)
        if guild is None:
            raise errors.unknown("Guild")
        for channel_id in guild.channels:
            self.channels.pop(channel_id, None)
        self.webhooks = {k: w for k, w in self.webhooks.items() if w["guild_id"] != guild_id}
        self.emit("GUILD_DELETE", {"id": guild_id}, guild_id)

    def set_unavailable(self, guild_id: str, unavailable: bool) -> None:
        """Begins or ends an outage of one guild."""
        guild = self.guilds.get(guild_id)
        if guild is None:
            raise errors.unknown("Guild")
        guild.unavailable = unavailable
        if unavailable:
            self.emit("GUILD_DELETE", {"id": guild_id, "unavailable": True}, guild_id)
        else:
            self.emit("GUILD_CREATE", {"id": guild_id}, guild_id)

    def guild_create_payload(self, guild: Guild, *, all_members: bool) -> JsonObject:
        """What GUILD_CREATE carries. Without GUILD_MEMBERS a session sees only the bot among the members."""
        user_ids = list(guild.members)[:1000] if all_members else [self.bot_id]
        return {
            **guild.data,
            "roles": list(guild.roles.values()),
            "channels": guild.plain_channels(),
            "threads": guild.threads(),
            "members": [self.member(guild, user_id) for user_id in user_ids if user_id in guild.members],
            "member_count": len(guild.members),
            "joined_at": guild.members[self.bot_id]["joined_at"],
            "large": len(guild.members) > 1000,
            "unavailable": False,
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "embedded_activities": [],
        }

    def rest_guild(self, guild: Guild) -> JsonObject:
        """A guild as REST shows it."""
        return {**guild.data, "roles": list(guild.roles.values())}

    def edit_guild(self, guild: Guild, changes: JsonObject) -> None:
        guild.data.update(changes)
        self.emit("GUILD_UPDATE", {**self.rest_guild(guild), "guild_id": guild.id}, guild.id)

    # Members and roles

    def add_member(self, guild: Guild, user_id: str, role_ids: Iterable[str] = ()) -> JsonObject:
        """Lets a user join."""
        guild.members[user_id] = shapes.member(now_iso(), role_ids)
        guild.changed()
        member = self.member(guild, user_id)
        self.emit("GUILD_MEMBER_ADD", {**member, "guild_id": guild.id}, guild.id)
        return member

    def remove_member(self, guild: Guild, user_id: str) -> None:
        if user_id not in guild.members:
            raise errors.unknown("Member")
        del guild.members[user_id]
        guild.changed()
        data = {"guild_id": guild.id, "user": self.users[user_id]}
        self.emit("GUILD_MEMBER_REMOVE", data, guild.id)

    def edit_member(self, guild: Guild, user_id: str, changes: JsonObject) -> JsonObject:
        if user_id not in guild.members:
            raise errors.unknown("Member")
        guild.members[user_id].update(changes)
        guild.changed()
        member = self.member(guild, user_id)
        self.emit("GUILD_MEMBER_UPDATE", {**member, "guild_id": guild.id}, guild.id)
        return member

    def ban(self, guild: Guild, user_id: str, reason: str | None) -> None:
        user = self.user(user_id)
        guild.bans[user_id] = reason
        if user_id in guild.members:
            self.remove_member(guild, user_id)
        self.emit("GUILD_BAN_ADD", {"guild_id": guild.id, "user": user}, guild.id)

    def unban(self, guild: Guild, user_id: str) -> None:
        if user_id not in guild.bans:
            raise errors.unknown("Ban")
        del guild.bans[user_id]
        self.emit("GUILD_BAN_REMOVE", {"guild_id": guild.id, "user": self.user(user_id)}, guild.id)

    def add_role(self, guild: Guild, name: str, permissions: int, **extra: Any) -> JsonObject:
        """Makes a role just above `@everyone`."""
        for other in guild.roles.values():
            if other["position"] > 0:
                other["position"] += 1
        role = shapes.role(self.ids.next(), name, permissions, 1, **extra)
        guild.roles[role["id"]] = role
        guild.changed()
        self.emit("GUILD_ROLE_CREATE", {"guild_id": guild.id, "role": role}, guild.id)
        return role

    def edit_role(self, guild: Guild, role_id: str, changes: JsonObject) -> JsonObject:
        role = guild.roles.get(role_id)
        if role is None:
            raise errors.unknown("Role")
        role.update(changes)
        guild.changed()
        self.emit("GUILD_ROLE_UPDATE", {"guild_id": guild.id, "role": role}, guild.id)
        return role

    def delete_role(self, guild: Guild, role_id: str) -> None:
        if role_id not in guild.roles or role_id == guild.id:
            raise errors.unknown("Role")
        del guild.roles[role_id]
        for member in guild.members.values():
            member["roles"] = [r for r in member["roles"] if r != role_id]
        guild.changed()
        self.emit("GUILD_ROLE_DELETE", {"guild_id": guild.id, "role_id": role_id}, guild.id)

    # Channels

    def add_channel(
        self, guild: Guild, name: str, kind: int = shapes.TEXT, changes: JsonObject | None = None
    ) -> Channel:
        """Makes a channel that is not a thread."""
        data = shapes.channel(self.ids.next(), guild.id, name, kind, len(guild.channels)) | (changes or {})
        channel = Channel(data)
        guild.channels[channel.id] = self.channels[channel.id] = channel
        self.emit("CHANNEL_CREATE", data, guild.id)
        return channel

    def add_thread(self, parent: Channel, data: JsonObject) -> Channel:
        """Registers a thread; `data` is a whole channel object."""
        thread = Channel(data)
        guild = self.guilds[parent.guild_id]
        guild.channels[thread.id] = self.channels[thread.id] = thread
        self.emit("THREAD_CREATE", {**data, "newly_created": True}, guild.id)
        return thread

    def edit_channel(self, channel: Channel, changes: JsonObject) -> None:
        channel.data.update(changes)
        self.guilds[channel.guild_id].changed()
        self.emit("THREAD_UPDATE" if channel.is_thread else "CHANNEL_UPDATE", channel.data, channel.guild_id)

    def delete_channel(self, channel: Channel) -> None:
        """Removes a channel, its threads and its webhooks."""
        guild = self.guilds[channel.guild_id]
        for thread in [c for c in guild.channels.values() if c.is_thread and c.data["parent_id"] == channel.id]:
            self.delete_channel(thread)
        del guild.channels[channel.id], self.channels[channel.id]
        self.webhooks = {k: w for k, w in self.webhooks.items() if w["channel_id"] != channel.id}
        guild.changed()
        if channel.is_thread:
            gone = {key: channel.data[key] for key in ("id", "guild_id", "parent_id", "type")}
            self.emit("THREAD_DELETE", gone, guild.id)
        else:
            self.emit("CHANNEL_DELETE", channel.data, guild.id)

    def bot_can_view(self, channel: Channel) -> bool:
        guild = self.guilds[channel.guild_id]
        return bool(guild.permissions_in(channel, self.bot_id) & Permission.VIEW_CHANNEL)
