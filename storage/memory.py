"""The ports of `flora.storage.ports` in memory: for tests, and for trying things without a server.

They keep every promise of the ports but the one to last, and pass the same suite as the real stores.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from flora.messages.audit import AuditCursor, AuditLine
from flora.messages.cron import CronRun
from flora.messages.deployment import Deployment, Revision
from flora.messages.errors import StorageError
from flora.messages.ids import GuildId, UserId
from flora.messages.kv import KvStoreInfo
from flora.messages.placement import Placement
from flora.storage import token_text
from flora.storage.ports import (
    KEEP_FAILED_BUNDLES,
    KEEP_REVISIONS,
    MAX_PAGE_BYTES,
    DeploymentSummary,
    Recorded,
    RevisionCursor,
    StoredPlacement,
    TokenRecord,
)

WallClock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryDeploymentStore:
    """`DeploymentStore` in two dictionaries."""

    def __init__(
        self, now: WallClock = utc_now, audit: MemoryAuditLog | None = None, keep_revisions: int = KEEP_REVISIONS
    ) -> None:
        self._now = now
        self._keep_revisions = keep_revisions
        self._audit = audit or MemoryAuditLog()
        self._deployments: dict[GuildId, Deployment] = {}
        self._revisions: dict[GuildId, list[Revision]] = {}  # oldest first

    async def current(self, guild_id: GuildId) -> Deployment | None:
        return self._deployments.get(guild_id)

    async def summaries(self) -> Sequence[DeploymentSummary]:
        return [_summary(self._deployments[guild_id]) for guild_id in sorted(self._deployments)]

    async def record_success(
        self, deployment: Deployment, revision: Revision, audit: AuditLine | None = None
    ) -> Recorded:
        stored_at = self._add(revision)
        await self._tell(audit)
        self._prune(revision)
        before = self._deployments.get(deployment.guild_id)
        created_at = before.created_at if before and before.created_at else stored_at
        self._deployments[deployment.guild_id] = replace(deployment, created_at=created_at, updated_at=stored_at)
        return Recorded(created_at=created_at, updated_at=stored_at)

    async def record_failure(self, revision: Revision, audit: AuditLine | None = None) -> Revision:
        stored_at = self._add(revision)
        await self._tell(audit)
        self._prune(revision)
        return replace(revision, deployed_at=stored_at)

    async def remove(self, guild_id: GuildId, audit: AuditLine) -> bool:
        if self._deployments.pop(guild_id, None) is None:
            return False
        await self._tell(audit)
        return True

    async def latest_success(
        self, guild_id: GuildId, *, include_bundle: bool = False, must_be_live: bool = False
    ) -> Revision | None:
        if must_be_live and guild_id not in self._deployments:
            return None
        newest_first = reversed(self._revisions.get(guild_id, []))
        found = next((revision for revision in newest_first if revision.status == "success"), None)
        return _shown(found, include_bundle) if found else None

    async def latest(self, guild_id: GuildId) -> Revision | None:
        newest = await self.history(guild_id, 1, include_files=False)
        return newest[0] if newest else None

    async def revision(self, guild_id: GuildId, revision_id: str, *, include_bundle: bool = False) -> Revision | None:
        known = self._revisions.get(guild_id, [])
        found = next((revision for revision in known if revision.revision_id == revision_id.lower()), None)
        return _shown(found, include_bundle) if found else None

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
        newest_first = list(reversed(self._revisions.get(guild_id, [])))
        if before is not None:
            end = (before.deployed_at, before.revision_id)
            newest_first = [known for known in newest_first if (_stamp(known), known.revision_id) < end]
        shown = [_shown(revision, include_bundle, include_files) for revision in newest_first[:limit]]
        sizes = accumulate(map(_bytes_of, shown))
        return [
            known
            for place, (known, size) in enumerate(zip(shown, sizes, strict=True))
            if not place or size <= max_bytes
        ]

    async def _tell(self, line: AuditLine | None) -> None:
        if line is not None:
            await self._audit.record([line])

    def _prune(self, added: Revision) -> None:
        known = self._revisions[added.guild_id]
        alike = [revision for revision in known if revision.status == added.status]
        surplus = alike[: -self._keep_revisions] if self._keep_revisions else []
        gone = {revision.revision_id for revision in surplus}
        known[:] = [
            replace(revision, base_revision_id=None) if revision.base_revision_id in gone else revision
            for revision in known
            if revision.revision_id not in gone
        ]
        if added.status == "failed":
            old = {revision.revision_id for revision in alike[:-KEEP_FAILED_BUNDLES]}
            known[:] = [
                replace(revision, bundle="", source_map=None) if revision.revision_id in old else revision
                for revision in known
            ]

    def _add(self, revision: Revision) -> datetime:
        known = self._revisions.setdefault(revision.guild_id, [])
        if any(other.revision_id == revision.revision_id for other in known):
            raise StorageError(f"revision {revision.revision_id} is stored already")
        stored_at = self._now()
        if known:
            stored_at = max(stored_at, _stamp(known[-1]) + timedelta(microseconds=1))
        known.append(replace(revision, revision_id=str(uuid.UUID(revision.revision_id)), deployed_at=stored_at))
        return stored_at


class MemoryAuditLog:
    """`AuditLog` in a list."""

    def __init__(self) -> None:
        self._lines: list[AuditLine] = []  # newest first

    async def record(self, lines: Sequence[AuditLine]) -> None:
        known = {line.line_id for line in self._lines}
        fresh = {line.line_id: line for line in reversed(lines) if line.line_id not in known}
        self._lines = sorted([*self._lines, *fresh.values()], key=_audit_order, reverse=True)

    async def page(
        self, limit: int, before: AuditCursor | None = None, guild_id: GuildId | None = None
    ) -> Sequence[AuditLine]:
        end = (before.at, before.line_id) if before else None
        return [
            line
            for line in self._lines
            if (guild_id is None or line.guild_id == guild_id) and (end is None or _audit_order(line) < end)
        ][:limit]

    async def prune(self, older_than: datetime | None, keep_rows: int | None) -> int:
        kept = [line for line in self._lines if older_than is None or line.at >= older_than][:keep_rows]
        pruned = len(self._lines) - len(kept)
        self._lines = kept
        return pruned


def _audit_order(line: AuditLine) -> tuple[datetime, str]:
    return (line.at, line.line_id)


class MemoryPlacementStore:
    """`PlacementStore` in a dictionary."""

    def __init__(self, now: WallClock = utc_now) -> None:
        self._now = now
        self._placements: dict[GuildId, StoredPlacement] = {}

    async def all(self) -> Sequence[StoredPlacement]:
        return [self._placements[guild_id] for guild_id in sorted(self._placements)]

    async def put(self, guild_id: GuildId, placement: Placement, reason: str) -> None:
        self._placements[guild_id] = StoredPlacement(
            guild_id=guild_id, placement=placement, reason=reason, updated_at=self._now()
        )

    async def delete(self, guild_id: GuildId) -> None:
        self._placements.pop(guild_id, None)


class MemoryKvIndex:
    """`KvIndex` in a dictionary."""

    def __init__(self) -> None:
        self._stores: dict[GuildId, dict[str, KvStoreInfo]] = {}

    async def of_guild(self, guild_id: GuildId) -> Sequence[KvStoreInfo]:
        found = self._stores.get(guild_id, {})
        return [found[name] for name in sorted(found)]

    async def replace(self, guild_id: GuildId, stores: Sequence[KvStoreInfo]) -> None:
        before = self._stores.get(guild_id, {})
        self._stores[guild_id] = {info.name: before.get(info.name, info) for info in stores}


class MemoryCronRunStore:
    """`CronRunStore` in a dictionary."""

    def __init__(self) -> None:
        self._runs: dict[tuple[GuildId, str], CronRun] = {}

    async def adopt(self, guild_id: GuildId, runs: Sequence[CronRun]) -> Sequence[CronRun]:
        before = {job: run for (guild, job), run in self._runs.items() if guild == guild_id}
        known = {run.job: before[run.job] for run in runs if _is_same_job(run, before.get(run.job))}
        for job in before:
            del self._runs[guild_id, job]
        self._runs |= {(guild_id, run.job): known.get(run.job, run) for run in runs}
        return [known[job] for job in sorted(known)]

    async def record(self, runs: Sequence[CronRun]) -> None:
        for run in runs:
            stored = self._runs.get((run.guild_id, run.job))
            if stored is None or stored.at_s <= run.at_s:
                self._runs[run.guild_id, run.job] = run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    user_id: UserId
    record: TokenRecord


class MemoryTokenStore:
    """`TokenStore` in a dictionary by hash."""

    def __init__(self, now: WallClock = utc_now) -> None:
        self._now = now
        self._by_hash: dict[str, _Token] = {}

    async def create(self, user_id: UserId, label: str | None, expires_at: datetime | None = None) -> str:
        long_ago = self._now() - timedelta(days=token_text.EXPIRED_KEPT_DAYS)
        for key, token in list(self._by_hash.items()):
            if token.user_id == user_id and token.record.expires_at and token.record.expires_at < long_ago:
                del self._by_hash[key]
        valid = [record for record in await self.list(user_id) if not self._has_expired(record)]
        if len(valid) >= token_text.MAX_PER_USER:
            raise token_text.too_many()
        token_id, plaintext = token_text.make_token()
        record = TokenRecord(
            token_id=token_id, label=label, created_at=self._now(), last_used_at=None, expires_at=expires_at
        )
        self._by_hash[token_text.hash_of(plaintext)] = _Token(user_id=user_id, record=record)
        return plaintext

    async def authenticate(self, plaintext: str) -> UserId | None:
        if not token_text.is_plausible(plaintext):
            return None
        key = token_text.hash_of(plaintext)
        token = self._by_hash.get(key)
        if token is None or self._has_expired(token.record):
            return None
        self._by_hash[key] = replace(token, record=self._stamped(token.record))
        return token.user_id

    async def list(self, user_id: UserId) -> Sequence[TokenRecord]:
        mine = [token.record for token in self._by_hash.values() if token.user_id == user_id]
        return sorted(mine, key=lambda record: record.created_at, reverse=True)

    async def delete(self, user_id: UserId, token_id: str) -> bool:
        for key, token in self._by_hash.items():
            if token.user_id == user_id and token.record.token_id == token_id:
                del self._by_hash[key]
                return True
        return False

    def _has_expired(self, record: TokenRecord) -> bool:
        return record.expires_at is not None and record.expires_at <= self._now()

    def _stamped(self, record: TokenRecord) -> TokenRecord:
        now = self._now()
        due = record.last_used_at is None or now - record.last_used_at > timedelta(seconds=token_text.STAMP_EVERY_S)
        return replace(record, last_used_at=now) if due else record


class MemoryCache:
    """`Cache` in a dictionary. Expired values are dropped when somebody looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float | None]] = {}  # value, when it ends

    async def get(self, key: str) -> bytes | None:
        entry = self._live(key)
        return entry[0] if entry else None

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._values[key] = (value, None if ttl_s is None else self._clock() + ttl_s)

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        if self._live(key) is not None:
            return False
        await self.set(key, value, ttl_s=ttl_s)
        return True

    async def delete(self, key: str) -> bool:
        return await self.take(key) is not None

    async def take(self, key: str) -> bytes | None:
        entry = self._live(key)
        self._values.pop(key, None)
        return entry[0] if entry else None

    async def expire(self, key: str, ttl_s: float) -> bool:
        entry = self._live(key)
        if entry is None:
            return False
        self._values[key] = (entry[0], self._clock() + ttl_s)
        return True

    async def ttl_s(self, key: str) -> float | None:
        entry = self._live(key)
        return None if entry is None or entry[1] is None else entry[1] - self._clock()

    def _live(self, key: str) -> tuple[bytes, float | None] | None:
        entry = self._values.get(key)
        if entry is not None and entry[1] is not None and entry[1] <= self._clock():
            del self._values[key]
            return None
        return entry


def _is_same_job(run: CronRun, other: CronRun | None) -> bool:
    return other is not None and other.expression == run.expression


def _summary(deployment: Deployment) -> DeploymentSummary:
    assert deployment.created_at is not None
    assert deployment.updated_at is not None
    return DeploymentSummary(
        guild_id=deployment.guild_id,
        entry=deployment.entry,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )


def _shown(revision: Revision, include_bundle: bool, include_files: bool = True) -> Revision:
    shown = revision if include_bundle else replace(revision, bundle=None)
    return shown if include_files else replace(shown, files=None, source_map=None)


def _bytes_of(revision: Revision) -> int:
    files = revision.files and [asdict(file) for file in revision.files]
    source_map = revision.source_map and asdict(revision.source_map)
    parts = [json.dumps(part, ensure_ascii=False) for part in (files, source_map) if part is not None]
    return sum(len(part.encode()) for part in (revision.bundle or "", *parts))


def _stamp(revision: Revision) -> datetime:
    assert revision.deployed_at is not None
    return revision.deployed_at
