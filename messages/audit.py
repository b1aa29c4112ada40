"""Anybody → deployer: who changed what, for table `audit_log`.

RecordAudit → Ok.   Sent by `flora.actors.audit_trail`, which sends it again until it is answered; a line's id makes that harmless.
ReadAudit → Ok: one page, for GET /api/audit.

Actions are `<what>.<verb>`: deploy.create, deploy.fail, deploy.rollback, deploy.undeploy, guild.place, guild.migrate,
guild.quarantine, guild.unquarantine, workers.scale, workers.drain, workers.undrain, workers.recycle, secret.*, kv.*, token.*.
Neither target nor details ever hold the value of a secret, a token, or the contents of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flora.messages.base import Request
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One change somebody made."""

    line_id: str  # uuid in its usual text form
    at: datetime  # aware UTC, on the clock of who made the change
    guild_id: GuildId | None  # None: it concerns no guild, such as a token
    actor: DeployActor
    action: str
    target: str  # what was changed: the id of a revision, the name of a secret or store
    details: Mapping[str, Any] = field(default_factory=dict)  # plain JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCursor:
    """Where a page ended: the last line that was seen."""

    at: datetime
    line_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAudit(Request):
    """Store these lines. Lines that are stored already are left alone. Failed: UNAVAILABLE (send again), STORAGE_ERROR."""

    lines: tuple[AuditLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAudit(Request):
    """Ok.value: tuple of `AuditLine`, newest first, strictly older than `before`."""

    guild_id: GuildId | None  # None: of everything
    limit: int
    before: AuditCursor | None = None
