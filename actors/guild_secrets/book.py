"""What a worker knows of the secrets of its guilds. Outside V8: isolates get placeholders only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flora.messages.secrets import NO_SECRETS, GuildSecrets, LiveSecret


@dataclass(frozen=True, slots=True)
class _Known:
    secrets: GuildSecrets = field(repr=False)
    placeholders: Mapping[str, str]
    by_placeholder: Mapping[str, LiveSecret] = field(repr=False)


_NOTHING = _Known(NO_SECRETS, {}, {})


class SecretBook:
    """The newest set of each guild that lives here.

    Changed on the worker's thread, read on the loop's, too: a set is replaced as a whole.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def __repr__(self) -> str:
        return f"<SecretBook of {len(self._known)} guilds>"

    def __contains__(self, guild_id: str) -> bool:
        return guild_id in self._known

    def give(self, guild_id: str, secrets: GuildSecrets) -> bool:
        """Takes a set over, unless the one that is known is newer: False."""
        known = self._known.get(guild_id)
        if known is not None and known.secrets.version > secrets.version:
            return False
        by_placeholder = {text: entry for entry in secrets.entries for text in entry.placeholders}
        self._known[guild_id] = _Known(secrets, secrets.placeholders(), by_placeholder)
        return True

    def export(self, guild_id: str) -> GuildSecrets:
        """The guild's set, for the worker that is to have the guild."""
        return self._known.get(guild_id, _NOTHING).secrets

    def forget(self, guild_id: str) -> None:
        """Nothing of the guild lives here any more."""
        self._known.pop(guild_id, None)

    def placeholders(self, guild_id: str) -> Mapping[str, str]:
        """What the guild's script may know: placeholders by name."""
        return self._known.get(guild_id, _NOTHING).placeholders

    def by_placeholder(self, guild_id: str) -> Mapping[str, LiveSecret]:
        """What the guild's fetches go by."""
        return self._known.get(guild_id, _NOTHING).by_placeholder
