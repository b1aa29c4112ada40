"""Secrets of guilds on their way to where they are used: deployer → router → worker.

With every load    the guild's secrets are part of LoadGuild and LoadIsolate.
When they change   GiveSecrets → Ok | Failed, to the router, and on to the worker.

From the worker only placeholders go on, into the isolate. A value is in no `repr`. It crosses from process to process as
everything does: signed, on loopback, not encrypted. How secrets are changed: secret_changes.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.messages.base import Request
from flora.messages.ids import GuildId

PLACEHOLDER_PREFIX = "__FLORA_SECRET__:"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSecret:
    """One secret as a worker holds it, outside V8."""

    name: str
    placeholders: tuple[str, ...]  # what stands for it; scripts are given the first, those of previous keys still count
    value: str = field(repr=False)
    allowed_hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuildSecrets:
    """All secrets of a guild that can be read, at one time."""

    version: int  # rises with each look at the store: where two sets meet, the higher one counts
    entries: tuple[LiveSecret, ...] = ()

    def placeholders(self) -> dict[str, str]:
        """What `secrets.get` answers, by name."""
        return {entry.name: entry.placeholders[0] for entry in self.entries}


NO_SECRETS = GuildSecrets(version=0)
"""Of a guild that has none. Older than any set that was ever read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveSecrets(Request):
    """These are a guild's secrets now; its isolate and its fetches go by them from here on.

    Deployer → router, router → worker. Ok.value: whether anything of the guild runs. Failed: WORKER_GONE and the like; the same
    set may be given again.
    """

    guild_id: GuildId
    secrets: GuildSecrets
