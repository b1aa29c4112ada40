"""Who changed what, in table `audit_log`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from flora.messages.audit import AuditCursor, AuditLine
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId
from flora.storage.postgres.database import Database, Row, Transaction


class PostgresAuditLog:
    """`AuditLog` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, lines: Sequence[AuditLine]) -> None:
        async with self._database.transaction("storing who changed what") as transaction:
            for line in lines:
                await record_with(transaction, line)

    async def page(
        self, limit: int, before: AuditCursor | None = None, guild_id: GuildId | None = None
    ) -> Sequence[AuditLine]:
        params = {
            "guild_id": guild_id,
            "limit": limit,
            "before_at": before.at if before else None,
            "before_id": before.line_id if before else None,
        }
        rows = await self._database.fetch_all("audit_page", params, "reading who changed what")
        return [_line(row) for row in rows]

    async def prune(self, older_than: datetime | None, keep_rows: int | None) -> int:
        params = {"older_than": older_than, "keep_rows": keep_rows}
        row = await self._database.fetch_one("prune_audit", params, "forgetting who changed what long ago")
        return int(row["pruned"]) if row else 0


async def record_with(transaction: Transaction, line: AuditLine) -> None:
    """Adds a line together with the change it tells of."""
    await transaction.execute("insert_audit_line", audit_params(line))


def audit_params(line: AuditLine) -> dict[str, Any]:
    """Parameters of the query that stores a line."""
    return {
        "id": line.line_id,
        "at": line.at,
        "guild_id": line.guild_id,
        "actor_type": line.actor.kind,
        "actor_user_id": line.actor.user_id,
        "actor_username": line.actor.username,
        "action": line.action,
        "target": line.target,
        "details": Jsonb(dict(line.details)),
    }


def _line(row: Row) -> AuditLine:
    guild_id = row["guild_id"]
    return AuditLine(
        line_id=str(row["id"]),
        at=row["at"],
        guild_id=None if guild_id is None else GuildId(guild_id),
        actor=DeployActor(kind=row["actor_type"], user_id=row["actor_user_id"], username=row["actor_username"]),
        action=row["action"],
        target=row["target"],
        details=row["details"],
    )
