"""Front-end → deployer: PutSecret, DeleteSecret, ListSecrets, RotateSecrets → Ok | Failed. The deployer owns the table.

A set that has changed goes to the guild's worker before the answer, if that does not take long, else soon after: see messages/secrets.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.messages.base import Request
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId


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

    actor: DeployActor
