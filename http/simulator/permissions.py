"""Who may do what: Discord's permission bits and how roles and channel overwrites combine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Permission:
    """The bits that mean something here; other bits are kept as they are.

    Plain integers: `&` on an IntFlag costs more than all else in a check, and every request makes some.
    """

    CREATE_INSTANT_INVITE = 1 << 0
    KICK_MEMBERS = 1 << 1
    BAN_MEMBERS = 1 << 2
    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_AUDIT_LOG = 1 << 7
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    SEND_TTS_MESSAGES = 1 << 12
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_EXTERNAL_EMOJIS = 1 << 18
    CONNECT = 1 << 20
    SPEAK = 1 << 21
    MUTE_MEMBERS = 1 << 22
    DEAFEN_MEMBERS = 1 << 23
    MOVE_MEMBERS = 1 << 24
    CHANGE_NICKNAME = 1 << 26
    MANAGE_NICKNAMES = 1 << 27
    MANAGE_ROLES = 1 << 28
    MANAGE_WEBHOOKS = 1 << 29
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38
    MODERATE_MEMBERS = 1 << 40
    PIN_MESSAGES = 1 << 51


P = Permission
ALL = (1 << 53) - 1

EVERYONE_DEFAULT = (
    P.CREATE_INSTANT_INVITE | P.ADD_REACTIONS | P.VIEW_CHANNEL | P.SEND_MESSAGES | P.EMBED_LINKS | P.ATTACH_FILES
    | P.READ_MESSAGE_HISTORY | P.USE_EXTERNAL_EMOJIS | P.CONNECT | P.SPEAK | P.CHANGE_NICKNAME
    | P.USE_APPLICATION_COMMANDS | P.CREATE_PUBLIC_THREADS | P.SEND_MESSAGES_IN_THREADS
)  # fmt: skip
"""What `@everyone` may do in a new guild."""

BOT_DEFAULT = (
    P.KICK_MEMBERS | P.BAN_MEMBERS | P.MANAGE_CHANNELS | P.ADD_REACTIONS | P.VIEW_CHANNEL | P.SEND_MESSAGES
    | P.MANAGE_MESSAGES | P.EMBED_LINKS | P.ATTACH_FILES | P.READ_MESSAGE_HISTORY | P.MENTION_EVERYONE
    | P.MANAGE_NICKNAMES | P.MANAGE_ROLES | P.MANAGE_WEBHOOKS | P.MANAGE_THREADS | P.CREATE_PUBLIC_THREADS
    | P.CREATE_PRIVATE_THREADS | P.SEND_MESSAGES_IN_THREADS | P.MODERATE_MEMBERS | P.CHANGE_NICKNAME
    | P.MUTE_MEMBERS | P.DEAFEN_MEMBERS | P.MOVE_MEMBERS | P.PIN_MESSAGES
)  # fmt: skip
"""What the bot's own role may do in a new guild: what moderation bots ask for, without being administrator."""


def guild_permissions(
    *, user_id: str, owner_id: str, guild_id: str, role_ids: Iterable[str], roles: Mapping[str, Mapping[str, Any]]
) -> int:
    """Permissions of a member in the whole guild: owner and administrators have all of them."""
    if user_id == owner_id:
        return ALL
    bits = int(roles[guild_id]["permissions"])  # the @everyone role has the guild's id
    for role_id in role_ids:
        if role_id in roles:
            bits |= int(roles[role_id]["permissions"])
    return ALL if bits & P.ADMINISTRATOR else bits


def channel_permissions(
    base: int, *, user_id: str, guild_id: str, role_ids: Iterable[str], overwrites: Iterable[Mapping[str, Any]]
) -> int:
    """Permissions of a member in one channel.

    Overwrites apply in Discord's order: `@everyone`, then all roles together, then the member. Without
    VIEW_CHANNEL nothing is left, without SEND_MESSAGES nothing that needs a message.

    Args:
        base: From `guild_permissions`; administrators pass through unchanged.
    """
    if base & P.ADMINISTRATOR:
        return ALL
    held = set(role_ids)
    roles_allow = roles_deny = member_allow = member_deny = 0
    for overwrite in overwrites:
        allow, deny = int(overwrite["allow"]), int(overwrite["deny"])
        if overwrite["id"] == guild_id:
            base = base & ~deny | allow
        elif overwrite["id"] in held:
            roles_allow |= allow
            roles_deny |= deny
        elif overwrite["id"] == user_id:
            member_allow, member_deny = allow, deny
    bits = base & ~roles_deny | roles_allow
    bits = bits & ~member_deny | member_allow
    if not bits & P.VIEW_CHANNEL:
        return 0
    if not bits & P.SEND_MESSAGES:
        bits &= ~(P.MENTION_EVERYONE | P.SEND_TTS_MESSAGES | P.ATTACH_FILES | P.EMBED_LINKS)
    return bits


def top_position(role_ids: Iterable[str], roles: Mapping[str, Mapping[str, Any]]) -> int:
    """The highest position among a member's roles; 0 is `@everyone`."""
    return max((int(roles[r]["position"]) for r in role_ids if r in roles), default=0)
