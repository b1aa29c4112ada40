"""Key-value stores in tables `kv_stores` and `kv_entries`, for guilds that may live on any of several hosts."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg.rows import DictRow

from flora.messages.errors import Conflict, NotFound, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvKey, KvPage, KvStoreInfo, KvUsage, KvValue
from flora.storage.kv import limits, values
from flora.storage.kv.guild import SETTLE_EVERY_S, SWEEP_SLICE
from flora.storage.kv.incoming import Incoming, make_record
from flora.storage.kv.limits import KvLimits, WriteWindows, check_guild_id
from flora.storage.kv.record import Record
from flora.storage.postgres.errors import translated
from flora.storage.postgres.kv_connection import KvConnection, connect
from flora.storage.postgres.queries import QUERIES

ALL = 2**62
NO_STORE = uuid.UUID(int=0)  # of entries whose store is not known yet


class PostgresKv:
    """`KvGuild` on Postgres. One connection of its own; calls wait for the server, so give it a thread.

    That the guild has one owner is the caller's care; two at once delay each other but break nothing.
    """

    def __init__(
        self,
        url: str,
        guild_id: GuildId,
        *,
        limits: KvLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_guild_id(guild_id)
        self._url = url
        self._guild_id = guild_id
        self._limits = limits or KvLimits()
        self._clock = clock
        self._monotonic = monotonic
        self._windows = WriteWindows(self._limits.writes_per_minute)
        self._settled_at = -SETTLE_EVERY_S
        self._database = KvConnection(url)
        self._is_closed = False
        self.changes = 0

    def warm(self, store: str) -> None:
        """Nothing to open; and all calls have a thread of their own anyway."""
        return

    def get(self, store: str, key: str) -> KvEntry | None:
        found = self._read(store, limits.key_bytes(key))
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
        name = limits.key_bytes(key)
        record = make_record(value, values.resolve_expiration(expiration, ttl_s, self._clock()), metadata)
        self._check_name(store)
        self._count_write(store, name, record)
        with self._database.transaction():
            self._put(store, name, record)

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
        name = limits.key_bytes(key)
        record = make_record(value, values.resolve_expiration(expiration, ttl_s, self._clock()), metadata)
        self._check_name(store)
        with self._database.transaction():
            self._lock(store)
            found = self._read(store, name)
            if not values.are_equal(found.entry().value if found else None, expected):
                return False
            self._count_write(store, name, record)
            self._put(store, name, record)
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
        name = limits.key_bytes(key)
        ends = values.resolve_expiration(expiration, ttl_s, self._clock())
        self._check_name(store)
        with self._database.transaction():
            self._lock(store)
            found = self._read(store, name)
            value, total = values.add(found.entry().value if found else None, by)
            text = limits.value_bytes(value.text)
            record = found._replace(value=text) if found else Record(text, value.is_json, ends)
            self._count_write(store, name, record)
            self._put(store, name, record)
        return total

    def update_metadata(self, store: str, key: str, metadata: Any) -> None:
        name, text = limits.key_bytes(key), values.metadata_bytes(metadata)
        self._check_name(store)
        with self._database.transaction():
            self._lock(store)
            found = self._read(store, name)
            if found is None:
                raise NotFound("key not found")
            record = found._replace(metadata=text)
            limits.check_entry(record.counted_bytes(name))
            self._put(store, name, record)

    def delete(self, store: str, key: str) -> bool:
        name = limits.key_bytes(key)
        row = self._database.fetch_one("kv_delete", self._at(store, key=name, now=self._now()))
        return bool(row and row["was_live"])

    def list(self, store: str, *, prefix: str = "", cursor: str | None = None, limit: int | None = None) -> KvPage:
        begin = limits.prefix_bytes(prefix)
        after = None if cursor is None else limits.key_bytes(cursor)
        most = limits.page_size(limit)
        at = self._at(store, begin=begin, after=after, end=_after_prefix(begin), now=self._now(), limit=most + 1)
        if most <= 0:
            return KvPage((), True, None)
        rows = self._database.fetch_all("kv_list", at)
        keys = tuple(
            KvKey(bytes(row["key"]).decode(), row["expiration"], values.parse_metadata(bytes(row["metadata"])))
            for row in rows[:most]
        )
        is_complete = len(rows) <= most
        return KvPage(keys, is_complete, None if is_complete else keys[-1].name)

    def stores(self) -> Sequence[KvStoreInfo]:
        self._check_open()
        return [_info(row) for row in self._database.fetch_all("kv_stores_of_guild", {"guild_id": self._guild_id})]

    def require(self, store: str) -> KvStoreInfo:
        row = self._database.fetch_one("kv_store", self._at(store))
        if row is None:
            raise NotFound("store not found", store=store)
        return _info(row)

    def create(self, store: str) -> KvStoreInfo:
        at = self._at(store)
        with self._database.transaction():
            if self._database.fetch_one("kv_store", at) is not None:
                raise Conflict("store already exists", store=store)
            return _info(self._create(store))

    def drop(self, store: str) -> None:
        if self._database.fetch_one("kv_drop_store", self._at(store)) is None:
            raise NotFound("store not found", store=store)
        self.changes += 1

    def usage(self, store: str) -> KvUsage:
        at = self._at(store)
        self._sweep(store, ALL)
        row = self._database.fetch_one("kv_store", at)
        return KvUsage(row["key_count"], row["counted_bytes"]) if row else KvUsage(0, 0)

    def guild_bytes(self) -> int:
        self._check_open()
        self._sweep(None, ALL)
        return int(self._before_write(None, b"")["guild_bytes"])

    def snapshot(self, store: str) -> PostgresSnapshot:
        self.require(store)
        return PostgresSnapshot(self._url, self._at(store), self._now())

    def restore(self, store: str, entries: Iterable[tuple[str, KvEntry]]) -> int:
        replacement = self.replacement(store)
        try:
            replacement.fill(entries)
            return replacement.commit()
        finally:
            replacement.abandon()

    def replacement(self, store: str) -> PostgresReplacement:
        self._check_name(store)
        twin = PostgresKv(self._url, self._guild_id, limits=self._limits, clock=self._clock, monotonic=self._monotonic)
        return PostgresReplacement(self, twin, store)

    def batch(self) -> AbstractContextManager[None]:
        self._check_open()
        return self._database.batch()

    def sweep(self, most: int = 1_000) -> int:
        self._check_open()
        return self._sweep(None, most)

    def maintain(self, budget_s: float = 0.001) -> bool:
        """Sweeps; the server does the rest by itself. One statement, whatever the budget."""
        self._windows.forget_idle(self._monotonic())
        return self.sweep(SWEEP_SLICE) == SWEEP_SLICE

    def close(self) -> None:
        self._is_closed = True
        self._database.close()

    def _read(self, store: str, key: bytes) -> Record | None:
        row = self._database.fetch_one("kv_get", self._at(store, key=key, now=self._now()))
        return _record(row) if row else None

    def _count_write(self, store: str, key: bytes, record: Record) -> None:
        limits.check_entry(record.counted_bytes(key))
        self._windows.take(store, self._monotonic())

    def _put(self, store: str, key: bytes, record: Record) -> None:
        """Writes, within a transaction."""
        counted = record.counted_bytes(key)
        store_id = self._lock(store)
        before = self._room_for(store_id, store, key, counted)
        if store_id is None:
            store_id = self._create(store)["id"]
        row = _row(store_id, key, record)
        grown = counted - (before["entry_bytes"] or 0)
        self._database.execute("kv_put", row | {"grown": grown, "new_keys": int(before["entry_bytes"] is None)})

    def _room_for(self, store_id: uuid.UUID | None, store: str, key: bytes, counted: int) -> DictRow:
        """What there is before a write; refuses one that goes beyond the quotas."""
        before = self._before_write(store_id, key)
        grown = counted - (before["entry_bytes"] or 0)
        if grown <= 0:
            return before
        if (before["store_bytes"] or 0) + grown > self._limits.max_store_bytes:
            self._sweep(store, ALL)
            before = self._before_write(store_id, key)
        if before["guild_bytes"] + grown > self._limits.max_guild_bytes and self._is_time_to_settle():
            self._sweep(None, ALL)
            before = self._before_write(store_id, key)
        grown = counted - (before["entry_bytes"] or 0)
        self._limits.check_totals((before["store_bytes"] or 0) + grown, before["guild_bytes"] + grown)
        return before

    def _is_time_to_settle(self) -> bool:
        now = self._monotonic()
        if now < self._settled_at + SETTLE_EVERY_S:
            return False
        self._settled_at = now
        return True

    def _before_write(self, store_id: uuid.UUID | None, key: bytes) -> DictRow:
        params = {"guild_id": self._guild_id, "store_id": store_id, "key": key}
        row = self._database.fetch_one("kv_before_write", params)
        assert row is not None
        return row

    def _lock(self, store: str) -> uuid.UUID | None:
        row = self._database.fetch_one("kv_lock_store", self._at(store))
        return row["id"] if row else None

    def _create(self, store: str) -> DictRow:
        self._limits.check_store_count(self._before_write(None, b"")["stores"])
        row = self._database.fetch_one("kv_create_store", self._at(store))
        if row is None:
            raise Conflict("somebody else has just made this store; try again", store=store)
        self.changes += 1
        return row

    def _sweep(self, store: str | None, most: int) -> int:
        params = {"guild_id": self._guild_id, "store": store, "now": self._now(), "limit": most}
        return sum(int(row["keys"]) for row in self._database.fetch_all("kv_sweep", params))

    def _now(self) -> int:
        return math.floor(self._clock())

    def _at(self, store: str, **more: Any) -> dict[str, Any]:
        self._check_name(store)
        return {"guild_id": self._guild_id, "store": store} | more

    def _check_name(self, store: str) -> None:
        self._check_open()
        limits.check_store_name(store)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"the key-value stores of guild {self._guild_id} are closed")


class PostgresReplacement:
    """`KvReplacement` in a temporary table, on a connection of its own."""

    def __init__(self, owner: PostgresKv, twin: PostgresKv, store: str) -> None:
        self._owner = owner
        self._twin = twin
        self._store = store
        self._incoming = Incoming(owner._limits)

    def fill(self, entries: Iterable[tuple[str, KvEntry]]) -> None:
        database = self._twin._database
        rows = (_row(NO_STORE, key, record) for key, record in self._incoming.records(entries))
        with database.transaction():
            database.execute("kv_make_draft", {})
            database.execute_many("kv_add_to_draft", rows)

    def commit(self) -> int:
        self._owner._check_open()
        twin, database, incoming = self._twin, self._twin._database, self._incoming
        with database.transaction():
            found = twin._lock(self._store)
            store_id = found or twin._create(self._store)["id"]
            before = twin._before_write(store_id, b"")
            others = before["guild_bytes"] - before["store_bytes"]
            self._owner._limits.check_totals(incoming.counted_bytes, others + incoming.counted_bytes)
            database.execute("kv_empty_store", {"store_id": store_id})
            database.execute("kv_take_draft", {"store_id": store_id})
            counts = {"key_count": incoming.count, "counted_bytes": incoming.counted_bytes}
            database.execute("kv_count_store", {"store_id": store_id} | counts)
        return incoming.count

    def abandon(self) -> None:
        self._twin.close()


class PostgresSnapshot:
    """`KvSnapshot` of a transaction on a connection of its own."""

    def __init__(self, url: str, at: dict[str, Any], now: int) -> None:
        self._now = now
        self._connection = connect(url)
        with translated("exporting a key-value store"):
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = self._connection.execute(QUERIES["kv_store"], at).fetchone()  # from here on nothing changes
        self._store_id = row["id"] if row else None

    def entries(self) -> Iterator[tuple[str, KvEntry]]:
        with translated("exporting a key-value store"):
            if self._connection.closed:
                raise Unavailable("the snapshot is closed")
            with psycopg.ServerCursor(self._connection, "kv_snapshot") as cursor:
                cursor.execute(QUERIES["kv_entries_of_store"], {"store_id": self._store_id, "now": self._now})
                for row in cursor:
                    yield bytes(row["key"]).decode(), _record(row).entry()

    def close(self) -> None:
        self._connection.close()


def _record(row: DictRow) -> Record:
    return Record(bytes(row["value"]), row["is_json"], row["expiration"], bytes(row["metadata"]))


def _row(store_id: uuid.UUID, key: bytes, record: Record) -> dict[str, Any]:
    counted = {"store_id": store_id, "key": key, "counted_bytes": record.counted_bytes(key)}
    return record._asdict() | counted


def _info(row: DictRow) -> KvStoreInfo:
    return KvStoreInfo(store_id=str(row["id"]), name=row["store_name"], created_at=row["created_at"])


def _after_prefix(prefix: bytes) -> bytes | None:
    """The first byte string after all that begin with a prefix. UTF-8 has no byte 0xFF."""
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else None
