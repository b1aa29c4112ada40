"""Key-value stores in memory: for tests, and for trying things without a disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvStoreInfo, KvUsage
from flora.storage.kv import record
from flora.storage.kv.guild import Draft, LocalKv
from flora.storage.kv.limits import KvLimits, check_guild_id
from flora.storage.kv.live_store import Contents, LiveStore
from flora.storage.kv.record import Record
from flora.storage.kv.sorted_keys import SortedKeys


class MemoryKv(LocalKv):
    """`KvGuild` in dictionaries."""

    def __init__(
        self,
        guild_id: GuildId,
        *,
        limits: KvLimits | None = None,
        clock: Callable[[], float] | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        check_guild_id(guild_id)
        clocks = {name: given for name, given in (("clock", clock), ("monotonic", monotonic)) if given}
        super().__init__(guild_id, _MemoryShelf(), limits=limits, **clocks)


class _MemoryTable:
    """A `Table` in a dictionary."""

    def __init__(self, records: dict[bytes, bytes]) -> None:
        self.records = records

    def read(self, key: bytes) -> bytes | None:
        return self.records.get(key)

    def read_part(self, key: bytes, part: slice) -> bytes:
        return self.records[key][part]

    def size_of(self, key: bytes) -> int | None:
        blob = self.records.get(key)
        return None if blob is None else len(blob)

    def write(self, key: bytes, blob: bytes) -> None:
        self.records[key] = blob

    def delete(self, key: bytes) -> None:
        del self.records[key]


class _MemorySnapshot:
    """`KvSnapshot` of a copied dictionary."""

    def __init__(self, records: dict[bytes, bytes], now: float) -> None:
        self._records = records
        self._now = now

    def entries(self) -> Iterator[tuple[str, KvEntry]]:
        for key in sorted(self._records):
            found = record.decode(self._records[key])
            if found.expiration is None or found.expiration > self._now:
                yield key.decode(), found.entry()

    def close(self) -> None:
        self._records = {}


class _MemoryDraft:
    """A `Draft` in a dictionary."""

    def __init__(self) -> None:
        self.table = _MemoryTable({})
        self.store = LiveStore(self.table, Contents(SortedKeys(), 0, {}, 0))

    def add(self, key: bytes, record: Record) -> None:
        self.store.put(key, record)

    def seal(self) -> None: ...

    def discard(self) -> None: ...


class _MemoryShelf:
    """A `Shelf` in dictionaries."""

    def __init__(self) -> None:
        self._infos: dict[str, KvStoreInfo] = {}
        self._tables: dict[str, _MemoryTable] = {}
        self._stores: dict[str, LiveStore] = {}

    def infos(self) -> Sequence[KvStoreInfo]:
        return [self._infos[name] for name in sorted(self._infos)]

    def find(self, name: str) -> KvStoreInfo | None:
        return self._infos.get(name)

    def create(self, name: str) -> KvStoreInfo:
        info = KvStoreInfo(store_id=str(uuid.uuid4()), name=name, created_at=datetime.now(UTC))
        self._infos[name] = info
        self.replace(name, self.draft(), KvUsage(0, 0))
        return info

    def drop(self, name: str) -> None:
        del self._infos[name], self._tables[name], self._stores[name]

    def open(self, name: str) -> LiveStore:
        return self._stores[name]

    def opened(self) -> Sequence[LiveStore]:
        return list(self._stores.values())

    def total(self) -> tuple[int, bool]:
        return sum(store.counted_bytes for store in self._stores.values()), True

    def snapshot(self, name: str, now: float) -> _MemorySnapshot:
        return _MemorySnapshot(dict(self._tables[name].records), now)

    def draft(self) -> _MemoryDraft:
        return _MemoryDraft()

    def replace(self, name: str, draft: Draft, usage: KvUsage) -> None:
        assert isinstance(draft, _MemoryDraft)
        self._tables[name], self._stores[name] = draft.table, draft.store

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def warm(self, name: str) -> None:
        return None

    def compact(self, budget_s: float) -> bool:
        return False

    def close(self) -> None:
        self._stores.clear()
