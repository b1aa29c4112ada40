"""Key-value stores: front-end → router → the guild's worker, which owns them.

KvCall → Ok(value as its operation says) | Failed. The router passes it to the worker the guild is routed to, also when no script of
the guild runs; while the guild moves, it waits. Answers come in the order of the calls of one guild.

    Download   KvBeginExport → KvReadExport, until a piece is the last, for each store → KvEndExport
    Restore    KvBeginRestore → KvAddToRestore, any number → KvEndRestore

An export or restore that nobody goes on with for `IDLE_TRANSFER_S`, or whose worker loses the guild, is over: NOT_FOUND.

Worker → deployer   NoteKvStores: the index in Postgres is to say the same as the worker's own.
Router → worker     ReleaseKv: the guild is about to be somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flora.messages.base import Request
from flora.messages.ids import GuildId

IDLE_TRANSFER_S = 60.0
PIECE_BYTES = 512 * 1024
"""About how much one piece of an export or restore should hold; a single entry may be larger."""


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


class KvPiece(NamedTuple):
    """Entries of an export, bytewise ascending by key; after the last one of a store there are no more."""

    entries: tuple[tuple[str, KvEntry], ...]
    is_last: bool


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


@dataclass(frozen=True, slots=True, kw_only=True)
class KvBeginExport:
    """All stores as they are at this moment. Ok.value: (export id, tuple of KvStoreInfo by name). Failed: NOT_FOUND (no stores)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvReadExport:
    """The next piece of a store; each is given once, in order. Ok.value: a KvPiece. Failed: NOT_FOUND (the export is over)."""

    export_id: str
    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvEndExport:
    """Lets go of it. Unknown id: Ok."""

    export_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvBeginRestore:
    """The contents of a store, new or there already, are to be replaced. Ok.value: restore id."""

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvAddToRestore:
    """More entries, bytewise ascending over all pieces. Ok.value: None. Failed ends the restore: NOT_FOUND (it is over), TOO_LARGE,
    KV_QUOTA_EXCEEDED, BAD_REQUEST (order).
    """

    restore_id: str
    entries: tuple[tuple[str, KvEntry], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KvEndRestore:
    """Ok.value: how many entries the store has now; None when it was not to be kept. Until then nothing has changed."""

    restore_id: str
    keep: bool


KvOperation = (
    KvListStores | KvCreateStore | KvDropStore | KvListKeys | KvGetKey | KvSetKey | KvSetMetadata | KvDeleteKey | KvReadUsage
    | KvBeginExport | KvReadExport | KvEndExport | KvBeginRestore | KvAddToRestore | KvEndRestore
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
