"""What the calls of `KvGuild` mean, for stores on files and in memory alike; where the records are is the shelf's matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from flora.messages.errors import Conflict, NotFound, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvPage, KvStoreInfo, KvUsage, KvValue
from flora.storage.kv import limits, values
from flora.storage.kv.incoming import Incoming, make_record
from flora.storage.kv.limits import KvLimits, WriteWindows
from flora.storage.kv.live_store import LiveStore
from flora.storage.kv.record import Record
from flora.storage.ports import KvSnapshot

SETTLE_EVERY_S = 60.0  # looking into every store of a guild is dear; one at its quota asks on each write
SWEEP_SLICE = 200  # records between two looks at the clock
ALL = 2**63


class Draft(Protocol):
    """Contents of a store in the making. `add` and `seal` on any one thread."""

    def add(self, key: bytes, record: Record) -> None:
        """Adds a record."""

    def seal(self) -> None:
        """No more comes; what is there is durable."""

    def discard(self) -> None:
        """Removes what is left over. On any thread; twice is fine."""


class Shelf(Protocol):
    """Where the stores of one guild are."""

    def infos(self) -> Sequence[KvStoreInfo]:
        """All stores, by name."""

    def find(self, name: str) -> KvStoreInfo | None:
        """The store's record, or None."""

    def create(self, name: str) -> KvStoreInfo:
        """Makes a store that is not there."""

    def drop(self, name: str) -> None:
        """Deletes a store that is there."""

    def open(self, name: str) -> LiveStore:
        """A store that is there; good until another one is opened."""

    def opened(self) -> Sequence[LiveStore]:
        """Stores that are open."""

    def total(self) -> tuple[int, bool]:
        """What all stores count for: at most so much, and whether exactly so. Opens nothing."""

    def snapshot(self, name: str, now: float) -> KvSnapshot:
        """A store that is there, as it is now."""

    def draft(self) -> Draft:
        """Room for new contents."""

    def replace(self, name: str, draft: Draft, usage: KvUsage) -> None:
        """Gives a store that is there the contents of a sealed draft, which count for so much: all of them or, when it raises, none."""

    def batch(self) -> AbstractContextManager[None]:
        """Writes inside become durable together."""

    def warm(self, name: str) -> Callable[[], Callable[[], object]] | None:
        """See `KvGuild.warm`; the store may be missing."""

    def compact(self, budget_s: float) -> bool:
        """Goes on with compacting. True: there is more to do now."""

    def close(self) -> None:
        """Closes everything. Twice is fine."""


class LocalReplacement:
    """`KvReplacement` over a draft."""

    def __init__(self, guild: LocalKv, store: str, draft: Draft, limits: KvLimits) -> None:
        self._guild = guild
        self._store = store
        self._draft = draft
        self._incoming = Incoming(limits)

    def fill(self, entries: Iterable[tuple[str, KvEntry]]) -> None:
        for key, record in self._incoming.records(entries):
            self._draft.add(key, record)
        self._draft.seal()

    def commit(self) -> int:
        usage = KvUsage(self._incoming.count, self._incoming.counted_bytes)
        self._guild.commit_replacement(self._store, self._draft, usage)
        return usage.keys

    def abandon(self) -> None:
        self._draft.discard()


class LocalKv:
    """`KvGuild` over a shelf.

    Args:
        clock: Unix seconds, for expiry; may jump.
        monotonic: Seconds that never go back, for rates.
    """

    def __init__(
        self,
        guild_id: GuildId,
        shelf: Shelf,
        *,
        limits: KvLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guild_id = guild_id
        self._shelf = shelf
        self._limits = limits or KvLimits()
        self._clock = clock
        self._monotonic = monotonic
        self._windows = WriteWindows(self._limits.writes_per_minute)
        self._settled_at = -SETTLE_EVERY_S
        self._is_closed = False
        self.changes = 0

    def warm(self, store: str) -> Callable[[], Callable[[], object]] | None:
        return None if self._is_closed else self._shelf.warm(store)

    def get(self, store: str, key: str) -> KvEntry | None:
        name = limits.key_bytes(key)
        opened = self._existing(store)
        found = opened.get(name, self._clock()) if opened else None
        return found.entry() if found else None

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
        name, now = limits.key_bytes(key), self._clock()
        record = make_record(value, values.resolve_expiration(expiration, ttl_s, now), metadata)
        self._check_name(store)
        self._write(store, name, record, now)

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
        name, now = limits.key_bytes(key), self._clock()
        record = make_record(value, values.resolve_expiration(expiration, ttl_s, now), metadata)
        opened = self._existing(store)
        found = opened.get(name, now) if opened else None
        if not values.are_equal(found.entry().value if found else None, expected):
            return False
        self._write(store, name, record, now)
        return True

    def increment(
        self,
        store: str,
        key: str,
        by: float = 1,
        *,
        expiration: int | None = None,
        ttl_s: float | None = None,
    ) -> int | float:
        name, now = limits.key_bytes(key), self._clock()
        ends = values.resolve_expiration(expiration, ttl_s, now)
        opened = self._existing(store)
        found = opened.get(name, now) if opened else None
        value, total = values.add(found.entry().value if found else None, by)
        text = limits.value_bytes(value.text)
        record = found._replace(value=text) if found else Record(text, value.is_json, ends)
        self._write(store, name, record, now)
        return total

    def update_metadata(self, store: str, key: str, metadata: Any) -> None:
        name, now = limits.key_bytes(key), self._clock()
        text = values.metadata_bytes(metadata)
        opened = self._existing(store)
        found = opened.get(name, now) if opened else None
        if found is None:
            raise NotFound("key not found")
        self._put(store, name, found._replace(metadata=text), now)

    def delete(self, store: str, key: str) -> bool:
        name, now = limits.key_bytes(key), self._clock()
        opened = self._existing(store)
        if opened is None:
            return False
        was_there = opened.has(name, now)
        opened.remove(name)
        return was_there

    def list(self, store: str, *, prefix: str = "", cursor: str | None = None, limit: int | None = None) -> KvPage:
        begin = limits.prefix_bytes(prefix)
        after = None if cursor is None else limits.key_bytes(cursor)
        opened = self._existing(store)
        if opened is None:
            return KvPage((), True, None)
        return opened.page(begin, after, limits.page_size(limit), self._clock())

    def stores(self) -> Sequence[KvStoreInfo]:
        self._check_open()
        return self._shelf.infos()

    def require(self, store: str) -> KvStoreInfo:
        self._check_name(store)
        found = self._shelf.find(store)
        if found is None:
            raise NotFound("store not found", store=store)
        return found

    def create(self, store: str) -> KvStoreInfo:
        self._check_name(store)
        if self._shelf.find(store) is not None:
            raise Conflict("store already exists", store=store)
        return self._create(store)

    def drop(self, store: str) -> None:
        self.require(store)
        self._shelf.drop(store)
        self.changes += 1

    def usage(self, store: str) -> KvUsage:
        opened = self._existing(store)
        if opened is None:
            return KvUsage(0, 0)
        opened.sweep(self._clock(), ALL)
        return KvUsage(opened.count, opened.counted_bytes)

    def guild_bytes(self) -> int:
        return sum(self.usage(info.name).stored_bytes for info in self.stores())

    def snapshot(self, store: str) -> KvSnapshot:
        self.require(store)
        return self._shelf.snapshot(store, self._clock())

    def restore(self, store: str, entries: Iterable[tuple[str, KvEntry]]) -> int:
        replacement = self.replacement(store)
        try:
            replacement.fill(entries)
            return replacement.commit()
        finally:
            replacement.abandon()

    def replacement(self, store: str) -> LocalReplacement:
        self._check_name(store)
        return LocalReplacement(self, store, self._shelf.draft(), self._limits)

    def commit_replacement(self, store: str, draft: Draft, usage: KvUsage) -> None:
        """Gives a store the contents of a draft, if the guild may have so much. For `LocalReplacement`."""
        self._check_name(store)
        opened = self._existing(store)
        own = opened.counted_bytes if opened else 0
        total, _ = self._shelf.total()
        if total - own + usage.stored_bytes > self._limits.max_guild_bytes:
            total = self.guild_bytes()
            own = self.usage(store).stored_bytes
        self._limits.check_totals(usage.stored_bytes, total - own + usage.stored_bytes)
        self._limits.check_key_count(usage.keys)
        is_new = opened is None
        if is_new:
            self._create(store)
        try:
            self._shelf.replace(store, draft, usage)
        except BaseException:
            if is_new:
                self.drop(store)
            raise

    def batch(self) -> AbstractContextManager[None]:
        self._check_open()
        return self._shelf.batch()

    def sweep(self, most: int = 1_000) -> int:
        self._check_open()
        now, removed = self._clock(), 0
        for store in self._shelf.opened():
            removed += store.sweep(now, most - removed)
        return removed

    def maintain(self, budget_s: float = 0.001) -> bool:
        self._check_open()
        self._windows.forget_idle(self._monotonic())
        until = time.perf_counter() + budget_s
        while self.sweep(SWEEP_SLICE) == SWEEP_SLICE:
            if time.perf_counter() >= until:
                return True
        return self._shelf.compact(max(0.0, until - time.perf_counter()))

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._shelf.close()

    def _existing(self, store: str) -> LiveStore | None:
        self._check_name(store)
        return None if self._shelf.find(store) is None else self._shelf.open(store)

    def _write(self, store: str, key: bytes, record: Record, now: float) -> None:
        """A write that counts for the rate limit."""
        limits.check_entry(record.counted_bytes(key))
        self._windows.take(store, self._monotonic())
        self._put(store, key, record, now)

    def _put(self, store: str, key: bytes, record: Record, now: float) -> None:
        counted = record.counted_bytes(key)
        limits.check_entry(counted)
        is_new = self._shelf.find(store) is None
        if is_new or counted > self._shelf.open(store).counted_of(key):  # less is welcome, however full it is
            self._check_room(None if is_new else store, key, counted, now)
        if is_new:
            self._create(store)
        self._shelf.open(store).put(key, record)

    def _check_room(self, store: str | None, key: bytes, counted: int, now: float) -> None:
        """Refuses growth beyond the quotas. What has expired does not count, but is only looked for when it matters."""
        own, total = self._with(store, key, counted)
        if store is not None and own > self._limits.max_store_bytes:
            self._shelf.open(store).sweep(now, ALL)
            own, total = self._with(store, key, counted)
        if total > self._limits.max_guild_bytes and self._is_time_to_settle():
            self.guild_bytes()
            own, total = self._with(store, key, counted)
        self._limits.check_totals(own, total)
        if store is not None:
            self._check_key_count(self._shelf.open(store), key, now)

    def _check_key_count(self, store: LiveStore, key: bytes, now: float) -> None:
        if store.count >= self._limits.max_store_keys and not store.counted_of(key):
            store.sweep(now, ALL)
            self._limits.check_key_count(store.count + 1)

    def _with(self, store: str | None, key: bytes, counted: int) -> tuple[int, int]:
        """What store and guild would count for with this entry; None: a store that is still to be made."""
        total, _ = self._shelf.total()
        if store is None:
            return counted, total + counted
        opened = self._shelf.open(store)
        grown = counted - opened.counted_of(key)
        return opened.counted_bytes + grown, total + grown

    def _is_time_to_settle(self) -> bool:
        """Whether to look into every store: if some size is only guessed, or this was not done for a while."""
        now = self._monotonic()
        _, is_exact = self._shelf.total()
        if is_exact and now < self._settled_at + SETTLE_EVERY_S:
            return False
        self._settled_at = now
        return True

    def _create(self, store: str) -> KvStoreInfo:
        self._limits.check_store_count(len(self._shelf.infos()))
        created = self._shelf.create(store)
        self.changes += 1
        return created

    def _check_name(self, store: str) -> None:
        self._check_open()
        limits.check_store_name(store)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"the key-value stores of guild {self._guild_id} are closed")
