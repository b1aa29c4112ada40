"""What the rest of flora needs from its stores.

All methods but those of `KvGuild` are coroutines: they run on the asyncio loop beside an actor, never on the actor's own
thread. Every method may raise `StorageError` (the store refused) or `Unavailable` (it cannot be reached or did not answer in time; trying
again later helps), and nothing else but what its docstring names. Each port has an implementation on a real server or
on files and one in memory (`flora.storage.memory`, `flora.storage.kv.memory`); all of them pass the suite in tests/contract/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from flora.messages.audit import AuditCursor, AuditLine
from flora.messages.cron import CronRun
from flora.messages.deployment import Deployment, Revision
from flora.messages.ids import GuildId, UserId
from flora.messages.kv import KvEntry, KvPage, KvStoreInfo, KvUsage, KvValue
from flora.messages.placement import Placement
from flora.storage.secret_cipher import Sealed

KEEP_REVISIONS = 50  # of each status per guild
KEEP_FAILED_BUNDLES = 3
MAX_PAGE_BYTES = 16_000_000  # a page of history travels between processes as one message


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
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlacement:
    """Where a guild is to run, when that is not the configured default. The time is aware UTC."""

    guild_id: GuildId
    placement: Placement
    reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """One secret of a guild, encrypted."""

    secret_id: str  # uuid in its usual text form; the same for as long as the name is not deleted
    guild_id: GuildId
    name: str
    sealed: Sealed
    allowed_hosts: tuple[str, ...]


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

    async def record_success(
        self, deployment: Deployment, revision: Revision, audit: AuditLine | None = None
    ) -> Recorded:
        """Adds the revision (and the audit line) and makes the deployment the guild's current one: all or nothing.

        The revision's time is later than that of every stored revision of the guild, also when the clock went back. Successful
        revisions beyond what the store is to keep are deleted with it, oldest first.
        """

    async def record_failure(self, revision: Revision, audit: AuditLine | None = None) -> Revision:
        """Adds a failed revision (and the audit line) and gives it back with its time; the current deployment stays.

        Failed revisions beyond what the store is to keep are deleted; all but the newest KEEP_FAILED_BUNDLES lose bundle and map.
        """

    async def remove(self, guild_id: GuildId, audit: AuditLine) -> bool:
        """Forgets the guild's current deployment and adds the audit line: both or neither. Revisions stay.

        False: there is none, and nothing was added.
        """

    async def latest_success(
        self, guild_id: GuildId, *, include_bundle: bool = False, must_be_live: bool = False
    ) -> Revision | None:
        """The newest successful revision, or None. With `must_be_live` only if the guild has a current deployment."""

    async def latest(self, guild_id: GuildId) -> Revision | None:
        """The newest revision of any status, without code, or None."""

    async def revision(self, guild_id: GuildId, revision_id: str, *, include_bundle: bool = False) -> Revision | None:
        """One revision of this guild, or None. An id that is no uuid is simply not found."""

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
        """Up to `limit` revisions strictly older than `before`, newest first.

        Fewer where bundles, files and maps that are asked for would be more than `max_bytes` together (files and maps as JSON);
        never none because of that.
        """


class PlacementStore(Protocol):
    """Guilds that are pinned or quarantined. Used by the deployer only."""

    async def all(self) -> Sequence[StoredPlacement]:
        """Everything stored, in the store's own order of guild ids."""

    async def put(self, guild_id: GuildId, placement: Placement, reason: str) -> None:
        """Adds or replaces a guild's placement; its time is now."""

    async def delete(self, guild_id: GuildId) -> None:
        """Forgets a guild's placement; one without is fine."""


class AuditLog(Protocol):
    """Who changed what. Used by the deployer only; everybody else has a `flora.actors.audit_trail.AuditTrail`."""

    async def record(self, lines: Sequence[AuditLine]) -> None:
        """Adds lines, all or none; those that are there already are left alone."""

    async def page(
        self, limit: int, before: AuditCursor | None = None, guild_id: GuildId | None = None
    ) -> Sequence[AuditLine]:
        """Up to `limit` lines strictly older than `before`, newest first; of one guild where one is given."""

    async def prune(self, older_than: datetime | None, keep_rows: int | None) -> int:
        """Deletes what is older, and all but the newest `keep_rows`; None: no such limit. Returns how many went."""


class SecretStore(Protocol):
    """Secrets of guilds, encrypted; it never sees a value. Used by the deployer only."""

    async def next_version(self) -> int:
        """A number higher than any that was given before, also across restarts."""

    async def of_guild(self, guild_id: GuildId) -> Sequence[StoredSecret]:
        """A guild's secrets by name, in byte order."""

    async def put(self, guild_id: GuildId, name: str, sealed: Sealed, allowed_hosts: Sequence[str]) -> None:
        """Adds a secret, or replaces one and keeps its id."""

    async def delete(self, guild_id: GuildId, name: str) -> bool:
        """True if there was something to delete."""

    async def under_other_keys(self, key_id: str, *, after: str | None, limit: int) -> Sequence[StoredSecret]:
        """Up to `limit` secrets of any guild that are not encrypted under this key, by id, from after this id on."""

    async def reseal(self, row: StoredSecret, sealed: Sealed) -> bool:
        """Replaces what is encrypted, unless the row was written or deleted since it was read: then False."""


class CronRunStore(Protocol):
    """The last run of each cron job. Used by the deployer only."""

    async def adopt(self, guild_id: GuildId, runs: Sequence[CronRun]) -> Sequence[CronRun]:
        """Makes these the guild's jobs: others are forgotten, new ones are stored as given.

        Returns:
            What was stored before, of those jobs that were there under this name and with this expression.
        """

    async def record(self, runs: Sequence[CronRun]) -> None:
        """Stores runs, at most one per job, each in place of what is stored of its job unless that is newer."""


class TokenStore(Protocol):
    """API tokens. The plaintext exists only in the answer of `create`; the store keeps its SHA-256."""

    async def create(self, user_id: UserId, label: str | None, expires_at: datetime | None = None) -> str:
        """Makes a token and returns its plaintext: 12 alphanumerics (the public token id), a dot, 32 alphanumerics.

        Raises also Conflict: the user has `token_text.MAX_PER_USER` of them. Forgets those that expired long ago.
        """

    async def authenticate(self, plaintext: str) -> UserId | None:
        """Whose token this is, or None: unknown, deleted or expired. Stamps `last_used_at`, at most once a minute.

        What is too short to be a token is refused without asking the store.
        """

    async def list(self, user_id: UserId) -> Sequence[TokenRecord]:
        """The user's tokens, newest first, also those that have expired lately."""

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

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Sets what is not there yet: of several callers only one hears True. `ttl_s` is above 0."""

    async def delete(self, key: str) -> bool:
        """True if there was something to delete."""

    async def take(self, key: str) -> bytes | None:
        """Reads and deletes in one step: of two callers only one gets the value."""

    async def expire(self, key: str, ttl_s: float) -> bool:
        """Sets a new time to live. False: there is no such key."""

    async def ttl_s(self, key: str) -> float | None:
        """Seconds left, or None when the key is absent or has no end."""


class KvIndex(Protocol):
    """Which key-value stores there are, for those who look into the database; the files say what is true. Used by the deployer only."""

    async def of_guild(self, guild_id: GuildId) -> Sequence[KvStoreInfo]:
        """The stores of a guild, by name."""

    async def replace(self, guild_id: GuildId, stores: Sequence[KvStoreInfo]) -> None:
        """From now on the guild has these and no others; a name that is there already keeps its row."""


class KvSnapshot(Protocol):
    """A store as it was at one moment. May be read on another thread than the store's; close it in any case."""

    def entries(self) -> Iterator[tuple[str, KvEntry]]:
        """Every entry that was live then, bytewise ascending."""

    def close(self) -> None:
        """Lets go of what holds the moment. Twice is fine."""


class KvReplacement(Protocol):
    """New contents of one store in the making. Nothing of the store changes before `commit`; `abandon` it in any case."""

    def fill(self, entries: Iterable[tuple[str, KvEntry]]) -> None:
        """Takes the contents, once. May be called on another thread than the store's; takes as long as reading them does.

        Args:
            entries: Bytewise ascending, as a snapshot gives them.
        Raises:
            BadRequest, TooLarge, KvQuotaExceeded: an entry cannot be taken.
        """

    def commit(self) -> int:
        """Gives the store these contents, all at once, on the owner's thread; how many entries there are. Makes a store that is missing.

        Raises:
            KvQuotaExceeded: the guild would be over its total, or have too many stores.
        """

    def abandon(self) -> None:
        """Removes what is left over. On any thread; twice is fine, also after `commit`."""


class KvGuild(Protocol):
    """The key-value stores of one guild, held by their one owner.

    Calls block, for microseconds on files and for a round trip on Postgres; all come from one thread. Keys are ordered by
    their UTF-8 bytes. What has expired is not there, whether or not it was removed yet. Every method may raise:

        BadRequest   a name, key, prefix or value is malformed (texts as in `flora.storage.kv.limits`)
        StorageError   the disk or server refused, or a record is damaged
        Unavailable    closed, or the server cannot be reached: nothing is known about the call's effect

    Methods that write create the store when there is none, and may raise in this order, nothing being changed:
        TooLarge       a key, value or entry is over its size
        KvRateLimited  more writes to this store within a minute than allowed; `details["retry_after_s"]`
        KvQuotaExceeded  the store or the guild would be over its total, or (where keys are kept in memory) the store have too many
    """

    changes: int
    """Rises whenever a store is made or dropped here."""

    def warm(self, store: str) -> Callable[[], Callable[[], object]] | None:
        """How to open a large store without keeping the owner's thread; None: it is open, small, or not there.

        What it gives is to be called on another thread, while nothing else is asked of this guild, and what that gives on the
        owner's. Both may raise StorageError.
        """

    def get(self, store: str, key: str) -> KvEntry | None:
        """The entry, or None, also when there is no such store."""

    def set(
        self,
        store: str,
        key: str,
        value: KvValue,
        *,
        expiration: int | None = None,
        ttl_s: float | None = None,
        metadata: Any = None,
    ) -> None:
        """Replaces value, expiration and metadata in one step.

        Args:
            expiration: Unix seconds; one that is past makes the key absent.
            ttl_s: Instead of `expiration`: seconds from now, rounded up to the next whole second of the clock.
        """

    def set_if(
        self,
        store: str,
        key: str,
        value: KvValue,
        *,
        expected: KvValue | None,
        expiration: int | None = None,
        ttl_s: float | None = None,
        metadata: Any = None,
    ) -> bool:
        """`set`, if the key's value is the expected one (None: if there is none). Whether it was.

        JSON values are equal when they mean the same, whatever the order of their members.
        """

    def increment(
        self,
        store: str,
        key: str,
        by: float = 1,
        *,
        expiration: int | None = None,
        ttl_s: float | None = None,
    ) -> int | float:
        """Adds to a number and gives the sum; an absent key counts as 0.

        A number stored as a string stays one. Expiration and metadata of what is there stay; `expiration` and `ttl_s` are
        for a key that this call creates.

        Raises:
            Conflict: what stands there is no number, or the sum is one that a script cannot hold exactly.
        """

    def update_metadata(self, store: str, key: str, metadata: Any) -> None:
        """Replaces the metadata; value and expiration stay. Does not count as a write for the rate limit.

        Raises:
            NotFound: no such key.
        """

    def delete(self, store: str, key: str) -> bool:
        """True if there was something to delete."""

    def list(self, store: str, *, prefix: str = "", cursor: str | None = None, limit: int | None = None) -> KvPage:
        """A page of keys that start with `prefix`, from the first one after `cursor`.

        Args:
            limit: Default 100, at most 1,000 (as is meant by a negative one); 0 gives an empty, complete page.
        """

    def stores(self) -> Sequence[KvStoreInfo]:
        """All stores, by name."""

    def require(self, store: str) -> KvStoreInfo:
        """The store's record.

        Raises:
            NotFound: there is no such store.
        """

    def create(self, store: str) -> KvStoreInfo:
        """Makes an empty store.

        Raises:
            Conflict: it exists.
        """

    def drop(self, store: str) -> None:
        """Deletes a store with everything in it.

        Raises:
            NotFound: there is no such store.
        """

    def usage(self, store: str) -> KvUsage:
        """How much is in a store; zero when there is none. Opens it if need be."""

    def guild_bytes(self) -> int:
        """`stored_bytes` of all stores. Opens those whose size is not known."""

    def snapshot(self, store: str) -> KvSnapshot:
        """The store as it is now, for an export. Costs next to nothing; later writes do not change it. Not inside a batch.

        Raises:
            NotFound: there is no such store.
        """

    def restore(self, store: str, entries: Iterable[tuple[str, KvEntry]]) -> int:
        """Replaces a store's contents by these, all or nothing; how many were written. Not limited in rate.

        Args:
            entries: Bytewise ascending, as a snapshot gives them. Takes as long as reading them does.
        """

    def replacement(self, store: str) -> KvReplacement:
        """The same in steps, of which the long one may be done on another thread. Not inside a batch."""

    def batch(self) -> AbstractContextManager[None]:
        """Calls inside become durable together when the block ends; answer nobody before that.

        A call that is refused inside does not undo the others.
        """

    def sweep(self, most: int = 1_000) -> int:
        """Removes expired entries from open stores, at most so many; how many were removed."""

    def maintain(self, budget_s: float = 0.001) -> bool:
        """Goes on with sweeping and compacting, for about so long. True: there is more to do now.

        Call it every second, and while it says True, whenever there is time.
        """

    def close(self) -> None:
        """Gives the stores free for another owner; what was written becomes durable as it would have without. Twice is fine."""
