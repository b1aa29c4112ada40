"""What a simulated guild consists of. Leaves are Discord's wire objects; these classes hold them together."""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.http.simulator import permissions, shapes
from flora.http.simulator.errors import JsonObject


@dataclass(slots=True)
class Channel:
    """A channel or thread of a guild with its messages, oldest first."""

    data: JsonObject
    messages: dict[str, JsonObject] = field(default_factory=dict)
    thread_members: dict[str, JsonObject] = field(default_factory=dict)
    reactors: dict[str, dict[str, dict[str, None]]] = field(default_factory=dict)  # message → emoji → users in order

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def guild_id(self) -> str:
        return str(self.data["guild_id"])

    @property
    def is_thread(self) -> bool:
        return self.data["type"] in shapes.THREAD_TYPES


@dataclass(slots=True)
class Guild:
    """A guild and everything in it."""

    data: JsonObject
    roles: dict[str, JsonObject] = field(default_factory=dict)
    members: dict[str, JsonObject] = field(default_factory=dict)  # by user id, without the user
    channels: dict[str, Channel] = field(default_factory=dict)  # threads too
    bans: dict[str, str | None] = field(default_factory=dict)  # user id → reason
    commands: dict[str, JsonObject] = field(default_factory=dict)
    command_permissions: dict[str, JsonObject] = field(default_factory=dict)
    unavailable: bool = False
    cached_permissions: dict[tuple[str, str], int] = field(default_factory=dict)  # (user, channel) → bits

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def owner_id(self) -> str:
        return str(self.data["owner_id"])

    def changed(self) -> None:
        """To be called after roles, members or overwrites changed: permissions are computed anew."""
        self.cached_permissions.clear()

    def permissions_of(self, user_id: str) -> int:
        """Permission bits of a member in the guild; 0 for others."""
        member = self.members.get(user_id)
        if member is None:
            return 0
        return permissions.guild_permissions(
            user_id=user_id, owner_id=self.owner_id, guild_id=self.id, role_ids=member["roles"], roles=self.roles
        )

    def permissions_in(self, channel: Channel, user_id: str) -> int:
        """Permission bits of a member in a channel; a thread has those of its parent."""
        key = (user_id, channel.id)
        bits = self.cached_permissions.get(key)
        if bits is None:
            bits = self._compute_permissions_in(channel, user_id)
            self.cached_permissions[key] = bits
        return bits

    def _compute_permissions_in(self, channel: Channel, user_id: str) -> int:
        if user_id not in self.members:
            return 0
        source = self.channels.get(channel.data["parent_id"], channel) if channel.is_thread else channel
        return permissions.channel_permissions(
            self.permissions_of(user_id),
            user_id=user_id,
            guild_id=self.id,
            role_ids=self.members[user_id]["roles"],
            overwrites=source.data["permission_overwrites"],
        )

    def top_role_position(self, user_id: str) -> int:
        return permissions.top_position(self.members[user_id]["roles"], self.roles)

    def threads(self) -> list[JsonObject]:
        return [c.data for c in self.channels.values() if c.is_thread]

    def plain_channels(self) -> list[JsonObject]:
        return [c.data for c in self.channels.values() if not c.is_thread]
