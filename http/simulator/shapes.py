"""Discord's wire objects, made from what is known here. State is kept in these shapes, as plain dicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flora.http.simulator.errors import JsonObject
from flora.http.simulator.permissions import EVERYONE_DEFAULT

TEXT, VOICE, CATEGORY, ANNOUNCEMENT, FORUM = 0, 2, 4, 5, 15
ANNOUNCEMENT_THREAD, PUBLIC_THREAD, PRIVATE_THREAD = 10, 11, 12
THREAD_TYPES = frozenset({ANNOUNCEMENT_THREAD, PUBLIC_THREAD, PRIVATE_THREAD})

EPHEMERAL = 1 << 6
LOADING = 1 << 7
IS_COMPONENTS_V2 = 1 << 15


def user(
    user_id: str, username: str, *, bot: bool = False, global_name: str | None = None, discriminator: str = "0"
) -> JsonObject:
    """A user object. `username` is what others type, `global_name` what they see.

    People have discriminator `0`, bots still have one of four digits, webhooks have `0000`.
    """
    return {
        "id": user_id,
        "username": username,
        "discriminator": discriminator,
        "global_name": global_name,
        "avatar": None,
        "bot": bot,
        "system": False,
        "banner": None,
        "accent_color": None,
        "public_flags": 0,
        "avatar_decoration_data": None,
        "collectibles": None,
        "primary_guild": None,
        "clan": None,
    }


def role(role_id: str, name: str, permissions: int, position: int, **extra: Any) -> JsonObject:
    """A role object."""
    return {
        "id": role_id,
        "name": name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": position,
        "permissions": str(permissions),
        "managed": False,
        "mentionable": False,
        "flags": 0,
        **extra,
    }


def everyone_role(guild_id: str) -> JsonObject:
    return role(guild_id, "@everyone", EVERYONE_DEFAULT, 0)


def member(joined_at: str, role_ids: Iterable[str] = (), nick: str | None = None) -> JsonObject:
    """The part of a member that is not its user."""
    return {
        "nick": nick,
        "avatar": None,
        "banner": None,
        "roles": list(role_ids),
        "joined_at": joined_at,
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
        "unusual_dm_activity_until": None,
    }


def channel(channel_id: str, guild_id: str, name: str, kind: int, position: int) -> JsonObject:
    """A channel object of a guild; threads add to it."""
    data: JsonObject = {
        "id": channel_id,
        "guild_id": guild_id,
        "type": kind,
        "name": name,
        "position": position,
        "parent_id": None,
        "permission_overwrites": [],
        "nsfw": False,
        "flags": 0,
    }
    if kind == VOICE:
        data |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None}
    if kind != CATEGORY:
        data |= {"last_message_id": None, "rate_limit_per_user": 0}
    if kind in (TEXT, ANNOUNCEMENT, FORUM):
        data |= {"topic": None, "last_pin_timestamp": None}
    if kind == FORUM:
        data |= {"available_tags": [], "default_reaction_emoji": None, "default_sort_order": None,
                 "default_forum_layout": 0}  # fmt: skip
    return data


def guild(guild_id: str, name: str, owner_id: str) -> JsonObject:
    """A guild object without its collections."""
    return {
        "id": guild_id,
        "name": name,
        "owner_id": owner_id,
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "description": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "emojis": [],
        "stickers": [],
        "features": [],
        "mfa_level": 0,
        "application_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "max_presences": None,
        "max_members": 500_000,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "preferred_locale": "en-US",
        "nsfw_level": 0,
        "nsfw": False,
        "hub_type": None,
        "incidents_data": None,
        "latest_onboarding_question_id": None,
        "home_header": None,
    }


def application(application_id: str, bot: JsonObject, owner: JsonObject, guild_count: int) -> JsonObject:
    """The bot's application."""
    return {
        "id": application_id,
        "name": bot["username"],
        "icon": None,
        "description": "",
        "summary": "",
        "type": None,
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": (1 << 12) | (1 << 14) | (1 << 18) | (1 << 23),  # the three privileged intents, commands in use
        "hook": True,
        "is_monetized": False,
        "owner": owner,
        "team": None,
        "bot": bot,
        "tags": [],
        "rpc_origins": [],
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "approximate_guild_count": guild_count,
        "approximate_user_install_count": 0,
        "integration_types_config": {"0": {}},
    }
