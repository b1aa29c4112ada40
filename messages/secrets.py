"""Secrets of guilds: front-end → deployer → router → worker.

Front-end → deployer   PutSecret, DeleteSecret, ListSecrets, RotateSecrets → Ok | Failed. The deployer owns the table.
Deployer → router      with every LoadGuild the guild's secrets; GiveSecrets when they change → Ok | Failed.
Router → worker        the same in LoadIsolate and GiveSecrets. From there only placeholders go on, into the isolate.

A value is in no `repr`. It crosses from process to process as everything does: signed, on loopback, not encrypted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.messages.base import Request
from flora.messages.deployment import DeployActor
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveSecrets(Request):
    """These are a guild's secrets now; its isolate and its fetches go by them from here on.

    Deployer → router, router → worker. Ok.value: whether anything of the guild runs. Failed: WORKER_GONE and the like; the same
    set may be given again.
    """

    guild_id: GuildId
    secrets: GuildSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSecret(Request):
    """Stores a secret under a name, new or in place of the one it had.

    Ok.value: {"name", "allowed_hosts", "delivered": whether the running script, if there is one, goes by it already}.
    Failed: BAD_REQUEST, CONFLICT (too many), STORAGE_ERROR, UNAVAILABLE.
    """

    guild_id: GuildId
    name: str
    value: str = field(repr=False)
    allowed_hosts: tuple[str, ...] = ()
    actor: DeployActor


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecret(Request):
    """Ok.value: {"deleted": true, "delivered": as at PutSecret}, also when there was none."""

    guild_id: GuildId
    name: str
    actor: DeployActor


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecrets(Request):
    """Ok.value: [{"name", "allowed_hosts", "readable": False when no configured key opens it}] by name; never values."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateSecrets(Request):
    """Encrypts every stored secret anew under the current master key and binds it to its guild and name.

    Can be asked for again at any time; goes on where it was cut off.
    Ok.value: {"key_id", "rotated": how many were, "bound": how many of those had been bound to nothing, "unreadable": [{"guild_id",
    "name"}] that no configured key opens, at most 100 of them, "unreadable_count": n}.
    """
