"""Discord's intents: which dispatches a bot is sent."""

from __future__ import annotations

import disnake

from flora.messages.errors import ConfigError

PRIVILEGED = ("guild_members", "guild_presences", "message_content")

INTENT_BITS = {
    "guilds": 0,
    "guild_members": 1,
    "guild_moderation": 2,
    "guild_expressions": 3,
    "guild_integrations": 4,
    "guild_webhooks": 5,
    "guild_invites": 6,
    "guild_voice_states": 7,
    "guild_presences": 8,
    "guild_messages": 9,
    "guild_message_reactions": 10,
    "guild_message_typing": 11,
    "direct_messages": 12,
    "direct_message_reactions": 13,
    "direct_message_typing": 14,
    "message_content": 15,
    "guild_scheduled_events": 16,
    "auto_moderation_configuration": 20,
    "auto_moderation_execution": 21,
    "guild_message_polls": 24,
    "direct_message_polls": 25,
}
"""Discord's intents and their bits; disnake has its own names for them."""


def intents_from(names: tuple[str, ...]) -> disnake.Intents:
    """Intents for the setting `discord.intents`.

    Args:
        names: `all`, `unprivileged`, or names as Discord's documentation has them, in lower case.
    Raises:
        ConfigError: a name is unknown.
    """
    intents = disnake.Intents.none()
    for name in names:
        if name in {"all", "unprivileged"}:
            intents |= disnake.Intents.all() if name == "all" else disnake.Intents.default()
        elif name in INTENT_BITS:
            intents.value |= 1 << INTENT_BITS[name]
        else:
            raise ConfigError(
                f"discord.intents: there is no intent {name!r}; known are all, unprivileged, {', '.join(INTENT_BITS)}"
            )
    return intents
