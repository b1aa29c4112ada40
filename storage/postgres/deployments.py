"""Deployments and their revisions in tables `deployments` and `deployment_revisions`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from psycopg.types.json import Jsonb

from flora.messages.audit import AuditLine
from flora.messages.deployment import ChangeSummary, DeployActor, Deployment, Revision, SourceFile
from flora.messages.errors import BugError
from flora.messages.ids import GuildId
from flora.storage.ports import (
    KEEP_FAILED_BUNDLES,
    KEEP_REVISIONS,
    MAX_PAGE_BYTES,
    DeploymentSummary,
    Recorded,
    RevisionCursor,
)
from flora.storage.postgres.audit import record_with
from flora.storage.postgres.database import Database, Row, Transaction


class PostgresDeploymentStore:
    """`DeploymentStore` on Postgres."""

    def __init__(self, database: Database, keep_revisions: int = KEEP_REVISIONS) -> None:
        """
        Args:
            keep_revisions: How many of each status a guild keeps; 0: all.
        """
        self._database = database
        self._keep_revisions = keep_revisions

    async def current(self, guild_id: GuildId) -> Deployment | None:
        action = f"reading the deployment of guild {guild_id}"
        row = await self._database.fetch_one("deployment_of_guild", {"guild_id": guild_id}, action)
        return _deployment(row) if row else None

    async def summaries(self) -> Sequence[DeploymentSummary]:
        rows = await self._database.fetch_all("deployment_summaries", {}, "listing the deployments")
        return [DeploymentSummary(**row) for row in rows]

    async def record_success(
        self, deployment: Deployment, revision: Revision, audit: AuditLine | None = None
    ) -> Recorded:
        action = f"storing the deployment of guild {deployment.guild_id}"
        async with self._database.transaction(action) as transaction:
            stamped = await transaction.fetch_one("insert_revision", _revision_params(revision))
            stored = await transaction.fetch_one(
                "upsert_deployment",
                {
                    "guild_id": deployment.guild_id,
                    "entry": deployment.entry,
                    "bundle": deployment.bundle,
                    "files": _files_json(deployment.files),
                    "source_map": _file_json(deployment.source_map),
                    "deployed_at": _present(stamped)["deployed_at"],
                },
            )
            await self._tidy(transaction, revision, audit)
        return Recorded(**_present(stored))

    async def record_failure(self, revision: Revision, audit: AuditLine | None = None) -> Revision:
        action = f"storing a failed deployment of guild {revision.guild_id}"
        async with self._database.transaction(action) as transaction:
            stamped = _present(await transaction.fetch_one("insert_revision", _revision_params(revision)))
            await self._tidy(transaction, revision, audit)
        return replace(revision, deployed_at=stamped["deployed_at"])

    async def _tidy(self, transaction: Transaction, added: Revision, audit: AuditLine | None) -> None:
        if audit is not None:
            await record_with(transaction, audit)
        if self._keep_revisions:
            params = {"guild_id": added.guild_id, "status": added.status, "keep": self._keep_revisions}
            await transaction.execute("prune_revisions", params)
        if added.status == "failed":
            dropped = {"guild_id": added.guild_id, "keep": KEEP_FAILED_BUNDLES}
            await transaction.execute("drop_failed_bundles", dropped)

    async def remove(self, guild_id: GuildId, audit: AuditLine) -> bool:
        async with self._database.transaction(f"removing the deployment of guild {guild_id}") as transaction:
            removed = await transaction.fetch_one("delete_deployment", {"guild_id": guild_id})
            if removed is not None:
                await record_with(transaction, audit)
        return removed is not None

    async def latest_success(
        self, guild_id: GuildId, *, include_bundle: bool = False, must_be_live: bool = False
    ) -> Revision | None:
        params = {"guild_id": guild_id, "include_bundle": include_bundle, "must_be_live": must_be_live}
        action = f"reading the latest revision of guild {guild_id}"
        row = await self._database.fetch_one("latest_success", params, action)
        return _revision(row) if row else None

    async def latest(self, guild_id: GuildId) -> Revision | None:
        newest = await self.history(guild_id, 1, include_files=False)
        return newest[0] if newest else None

    async def revision(self, guild_id: GuildId, revision_id: str, *, include_bundle: bool = False) -> Revision | None:
        wanted = _uuid_or_none(revision_id)
        if wanted is None:
            return None
        params = {"guild_id": guild_id, "id": wanted, "include_bundle": include_bundle}
        row = await self._database.fetch_one("revision_by_id", params, f"reading a revision of guild {guild_id}")
        return _revision(row) if row else None

    async def history(
        self,
        guild_id: GuildId,
        limit: int,
        before: RevisionCursor | None = None,
        *,
        include_bundle: bool = False,
        include_files: bool = True,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> Sequence[Revision]:
        params = {
            "guild_id": guild_id,
            "limit": limit,
            "include_bundle": include_bundle,
            "include_files": include_files,
            "max_bytes": max_bytes,
            "before_at": before.deployed_at if before else None,
            "before_id": before.revision_id if before else None,
        }
        rows = await self._database.fetch_all("revision_history", params, f"reading the history of guild {guild_id}")
        return [_revision(row) for row in rows]


def _revision_params(revision: Revision) -> dict[str, Any]:
    summary = revision.change_summary
    return {
        "id": revision.revision_id,
        "guild_id": revision.guild_id,
        "entry": revision.entry,
        "bundle": revision.bundle,
        "files": _files_json(revision.files),
        "source_map": _file_json(revision.source_map),
        "change_summary": None if summary is None else Jsonb(_summary_dict(summary)),
        "status": revision.status,
        "deploy_source": revision.deploy_source,
        "actor_user_id": revision.actor.user_id,
        "actor_username": revision.actor.username,
        "actor_type": revision.actor.kind,
        "error_message": revision.error_message,
        "build_id": revision.build_id,
        "base_revision_id": revision.base_revision_id,
    }


def _deployment(row: Row) -> Deployment:
    return Deployment(
        guild_id=row["guild_id"],
        entry=row["entry"],
        bundle=row["bundle"],
        files=_files(row["files"]),
        source_map=_file(row["source_map"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _revision(row: Row) -> Revision:
    summary = row["change_summary"]
    base = row["base_revision_id"]
    return Revision(
        revision_id=str(row["id"]),
        guild_id=row["guild_id"],
        entry=row["entry"],
        bundle=row["bundle"],
        status=row["status"],
        deploy_source=row["deploy_source"],
        actor=DeployActor(kind=row["actor_type"], user_id=row["actor_user_id"], username=row["actor_username"]),
        files=_files(row["files"]),
        source_map=_file(row["source_map"]),
        deployed_at=row["deployed_at"],
        error_message=row["error_message"],
        build_id=row["build_id"],
        base_revision_id=None if base is None else str(base),
        change_summary=None if summary is None else _summary(summary),
    )


def _summary_dict(summary: ChangeSummary) -> dict[str, int]:
    return {
        "added_files": summary.added_files,
        "removed_files": summary.removed_files,
        "modified_files": summary.modified_files,
    }


def _summary(stored: dict[str, int]) -> ChangeSummary:
    return ChangeSummary(
        added_files=stored.get("added_files", 0),
        removed_files=stored.get("removed_files", 0),
        modified_files=stored.get("modified_files", 0),
    )


def _files_json(files: tuple[SourceFile, ...] | None) -> Jsonb | None:
    return None if files is None else Jsonb([{"path": file.path, "contents": file.contents} for file in files])


def _file_json(file: SourceFile | None) -> Jsonb | None:
    return None if file is None else Jsonb({"path": file.path, "contents": file.contents})


def _files(stored: list[dict[str, str]] | None) -> tuple[SourceFile, ...] | None:
    return None if stored is None else tuple(SourceFile(path=f["path"], contents=f["contents"]) for f in stored)


def _file(stored: dict[str, str] | None) -> SourceFile | None:
    return None if stored is None else SourceFile(path=stored["path"], contents=stored["contents"])


def _uuid_or_none(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _present(row: Row | None) -> Row:
    if row is None:
        raise BugError("a statement that always returns a row returned none")
    return row
