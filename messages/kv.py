"""Key-value stores: front-end → router → the guild's worker, which owns them.

KvCall → Ok(value as its operation says) | Failed. The router passes it to the worker the guild is routed to, also when no script of
the guild runs; while the guild moves, it waits. Answers come in the order of the calls of one guild.

Exports are operations, too, in messages/kv_exports.py: the owning worker keeps their files.

Worker → deployer   NoteKvStores: the index in Postgres is to say the same as the worker's own.
Router → worker     ReleaseKv: the guild is about to be somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flora.messages.base import Request
from flora.messages.ids import GuildId
from flora.messages.kv_exports import KvExportOperation


class KvValue(NamedTuple):
    """A value as it is stored: a string, or any other JSON value as its text."""

    text: str
    is_json: bool = False


class KvEntry(NamedTuple):
    """What stands under a key. `expiration` is in Unix seconds; `metadata` is any JSON value, None when there is none."""

    value: KvValue
    expiration: int | None = None
    metadata: Any = None


class KvKey(NamedTuple):
    """One line of a listing; fields as in `KvEntry`."""

    name: str
    expiration: int | None
    metadata: Any


class KvPage(NamedTuple):
    """`cursor` is the last name of the page when there are more keys, otherwise None."""

    keys: tuple[KvKey, ...]
    list_complete: bool
    cursor: str | None


class KvUsage(NamedTuple):
    """`stored_bytes` counts as the quotas do: key and value, and once more the key with its expiration and metadata."""

    keys: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KvStoreInfo:
    """One store of a guild. `created_at` is aware UTC."""

    store_id: str  # a uuid
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KvListStores:
    """Ok.value: tuple of KvStoreInfo, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCreateStore:
    """Ok.value: its KvStoreInfo. Failed: CONFLICT (it exists), KV_QUOTA_EXCEEDED (too many)."""

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDropStore:
    """Ok.value: None. Failed: NOT_FOUND."""

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvListKeys:
    """Ok.value: a KvPage. Failed: NOT_FOUND (no such store)."""

    store: str
    prefix: str = ""
    cursor: str | None = None
    limit: int | None = None  # default 100, at most 1,000


@dataclass(frozen=True, slots=True, kw_only=True)
class KvGetKey:
    """Ok.value: a KvEntry, or None when there is no such key. Failed: NOT_FOUND (no such store)."""

    store: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSetKey:
    """Replaces value, expiration and metadata. Ok.value: None. Failed: NOT_FOUND (no such store), TOO_LARGE, KV_RATE_LIMITED,
    KV_QUOTA_EXCEEDED.
    """

    store: str
    key: str
    value: KvValue
    expiration: int | None = None  # Unix seconds
    ttl_s: float | None = None  # instead of `expiration`
    metadata: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSetMetadata:
    """Replaces the metadata. Ok.value: None. Failed: NOT_FOUND (no such store or key)."""

    store: str
    key: str
    metadata: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDeleteKey:
    """Ok.value: whether there was something to delete. Failed: NOT_FOUND (no such store)."""

    store: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvReadUsage:
    """Ok.value: {store name: KvUsage}, of one store or, without a name, of all. Failed: NOT_FOUND (no such store)."""

    store: str | None = None


KvOperation = (
    KvListStores | KvCreateStore | KvDropStore | KvListKeys | KvGetKey | KvSetKey | KvSetMetadata | KvDeleteKey | KvReadUsage
    | KvExportOperation
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCall(Request):
    """Do this with the guild's stores. Ok.value: as the operation says.

    Failed, beside what the operation says: BAD_REQUEST (a name, key or prefix is malformed), STORAGE_ERROR, UNAVAILABLE and its
    kinds (nothing is known about the effect).
    """

    guild_id: GuildId
    operation: KvOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseKv(Request):
    """Close the guild's stores. Ok when they are closed, or were not open."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKvStores(Request):
    """All stores the guild has now; the table `kv_stores` is to have these rows for it and no others. Ok once it does."""

    guild_id: GuildId
    stores: tuple[KvStoreInfo, ...]
