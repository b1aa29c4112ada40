"""What the rest of flora needs from its stores.

All methods are coroutines: they run on the asyncio loop beside an actor, never on the actor's own thread. Every method
may raise `StorageError` (the store refused) or `Unavailable` (it cannot be reached or did not answer in time; trying
again later helps), and nothing else. Each port has an implementation on a real server and one in memory
(`flora.storage.memory`); all of them pass the suite in tests/contract/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flora.messages.deployment import Deployment, Revision
from flora.messages.ids import GuildId, UserId
from flora.messages.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSummary:
    """A stored deployment without its code. Times are aware UTC."""

    guild_id: GuildId
    entry: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the store filled in when it recorded a success. Times are aware UTC; `updated_at` is also the revision's."""

    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """One API token as its owner may see it: never the plaintext, never the hash."""

    token_id: str
    label: str | None
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlacement:
    """Where a guild is to run, when that is not the configured default. The time is aware UTC."""

    guild_id: GuildId
    placement: Placement
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionCursor:
    """Where a page of history ended: the last revision that was seen."""

    deployed_at: datetime
    revision_id: str


class DeploymentStore(Protocol):
    """The script every guild runs, and every attempt to change it. Used by the deployer only."""

    async def current(self, guild_id: GuildId) -> Deployment | None:
        """The guild's stored deployment with its code, or None."""

    async def summaries(self) -> Sequence[DeploymentSummary]:
        """All stored deployments in the store's own order, without code."""

    async def record_success(self, deployment: Deployment, revision: Revision) -> Recorded:
        """Adds the revision and makes the deployment the guild's current one: both or neither.

        The revision's time is later than that of every stored revision of the guild, also when the clock went back.
        """

    async def record_failure(self, revision: Revision) -> Revision:
        """Adds a failed revision and gives it back with its time; the current deployment stays."""

    async def latest_success(self, guild_id: GuildId, *, include_bundle: bool = False) -> Revision | None:
        """The newest successful revision, or None."""

    async def latest(self, guild_id: GuildId) -> Revision | None:
        """The newest revision of any status, without bundle, or None."""

    async def revision(self, guild_id: GuildId, revision_id: str, *, include_bundle: bool = False) -> Revision | None:
        """One revision of this guild, or None. An id that is no uuid is simply not found."""

    async def history(
        self, guild_id: GuildId, limit: int, before: RevisionCursor | None = None, *, include_bundle: bool = False
    ) -> Sequence[Revision]:
        """Up to `limit` revisions strictly older than `before`, newest first."""


class PlacementStore(Protocol):
    """Guilds that are pinned or quarantined. Used by the deployer only."""

    async def all(self) -> Sequence[StoredPlacement]:
        """Everything stored, in the store's own order of guild ids."""

    async def put(self, guild_id: GuildId, placement: Placement, reason: str) -> None:
        """Adds or replaces a guild's placement; its time is now."""

    async def delete(self, guild_id: GuildId) -> None:
        """Forgets a guild's placement; one without is fine."""


class TokenStore(Protocol):
    """API tokens. The plaintext exists only in the answer of `create`; the store keeps its SHA-256."""

    async def create(self, user_id: UserId, label: str | None) -> str:
        """Makes a token and returns its plaintext: 12 alphanumerics (the public token id), a dot, 32 alphanumerics."""

    async def authenticate(self, plaintext: str) -> UserId | None:
        """Whose token this is, or None. Stamps `last_used_at`, at most once a minute.

        What is too short to be a token is refused without asking the store.
        """

    async def list(self, user_id: UserId) -> Sequence[TokenRecord]:
        """The user's tokens, newest first."""

    async def delete(self, user_id: UserId, token_id: str) -> bool:
        """Deletes one of the user's tokens. False: this user has no such token."""


class Cache(Protocol):
    """Small values that may vanish at any time: sessions, OAuth state, permission and scope caches.

    Keys are the patterns of the operator documentation, such as `session:<id>`. Times to live are in seconds.
    """

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it is absent or expired."""

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Replaces value and time to live; None keeps it until it is deleted."""

    async def delete(self, key: str) -> bool:
        """True if there was something to delete."""

    async def take(self, key: str) -> bytes | None:
        """Reads and deletes in one step: of two callers only one gets the value."""

    async def expire(self, key: str, ttl_s: float) -> bool:
        """Sets a new time to live. False: there is no such key."""

    async def ttl_s(self, key: str) -> float | None:
        """Seconds left, or None when the key is absent or has no end."""
