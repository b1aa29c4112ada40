"""One open store: its records with their order, their expiry and what they count for. Keys are bytes here."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from flora.messages.kv import KvKey, KvPage
from flora.storage.kv import limits, record, values
from flora.storage.kv.record import Extras, Record
from flora.storage.kv.sorted_keys import SortedKeys

SPARE_HEAP_ENTRIES = 64


class Table(Protocol):
    """Records by key, without order: a file or a dictionary."""

    def read(self, key: bytes) -> bytes | None:
        """The record, or None."""

    def read_part(self, key: bytes, part: slice) -> bytes:
        """Some bytes of a record that is there."""

    def size_of(self, key: bytes) -> int | None:
        """Length of the record, or None."""

    def write(self, key: bytes, blob: bytes) -> None:
        """Replaces the record."""

    def delete(self, key: bytes) -> None:
        """Removes a record that is there."""


class Contents(NamedTuple):
    """What a table has in it when it is opened."""

    keys: SortedKeys
    key_count: int
    extras: dict[bytes, Extras]
    counted_bytes: int


class LiveStore:
    """A table with order, expiry and accounting. `now` is in Unix seconds."""

    def __init__(self, table: Table, contents: Contents) -> None:
        self._table = table
        self._keys = contents.keys
        self._extras = contents.extras
        self._ends: list[tuple[int, bytes]] = []
        self._refill_ends()
        self.count = contents.key_count
        self.counted_bytes = contents.counted_bytes

    def get(self, key: bytes, now: float) -> Record | None:
        """The record, unless it has expired."""
        if self._is_over(key, now):
            return None
        blob = self._table.read(key)
        return None if blob is None else record.decode(blob)

    def has(self, key: bytes, now: float) -> bool:
        return self._table.size_of(key) is not None and not self._is_over(key, now)

    def counted_of(self, key: bytes) -> int:
        """What the record under a key counts for; 0 if there is none."""
        length = self._table.size_of(key)
        if length is None:
            return 0
        extras = self._extras.get(key)
        if extras is None:
            return len(key) + length - 1
        return limits.counted_bytes(len(key), length - extras.value_from, extras.expiration, extras.metadata_bytes)

    def put(self, key: bytes, what: Record) -> None:
        """Replaces the record under a key."""
        is_new = self._table.size_of(key) is None
        before = 0 if is_new else self.counted_of(key)
        blob = record.encode(what)
        self._table.write(key, blob)
        if is_new:
            self._keys.add(key)
            self.count += 1
        if blob[0] & record.EXTRAS:
            self._extras[key] = record.read_extras(blob[: record.EXTRAS_BYTES], len(blob))
            if what.expiration is not None:
                self._add_end(what.expiration, key)
        elif self._extras:
            self._extras.pop(key, None)
        self.counted_bytes += what.counted_bytes(key) - before

    def remove(self, key: bytes) -> bool:
        """Removes a key; whether there was one."""
        if self._table.size_of(key) is None:
            return False
        before = self.counted_of(key)
        self._table.delete(key)
        self._keys.remove(key)
        self._extras.pop(key, None)
        self.count -= 1
        self.counted_bytes -= before
        return True

    def sweep(self, now: float, most: int) -> int:
        """Removes what has expired, at most so many; how many."""
        removed = 0
        while removed < most and self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            if self._is_over(key, now):  # otherwise it was written again since
                self.remove(key)
                removed += 1
        return removed

    def live_keys(self, prefix: bytes, after: bytes | None, now: float) -> Iterator[bytes]:
        """Keys with a prefix, ascending, from the first one after another."""
        from_cursor = after is not None and after >= prefix
        begin = after if from_cursor and after is not None else prefix
        for key in self._keys.after(begin, inclusive=not from_cursor):
            if not key.startswith(prefix):
                return
            if not self._is_over(key, now):
                yield key

    def page(self, prefix: bytes, after: bytes | None, limit: int, now: float) -> KvPage:
        """A page of the listing."""
        if limit <= 0:
            return KvPage((), True, None)
        found: list[KvKey] = []
        for key in self.live_keys(prefix, after, now):
            if len(found) == limit:  # there is one more
                return KvPage(tuple(found), False, found[-1].name)
            found.append(self._line(key))
        return KvPage(tuple(found), True, None)

    def _line(self, key: bytes) -> KvKey:
        extras = self._extras.get(key)
        if extras is None:
            return KvKey(key.decode(), None, None)
        metadata = self._table.read_part(key, extras.metadata) if extras.metadata_bytes else b""
        return KvKey(key.decode(), extras.expiration, values.parse_metadata(metadata))

    def _is_over(self, key: bytes, now: float) -> bool:
        extras = self._extras.get(key) if self._extras else None
        return extras is not None and extras.expiration is not None and extras.expiration <= now

    def _add_end(self, end: int, key: bytes) -> None:
        heapq.heappush(self._ends, (end, key))
        if len(self._ends) > 2 * len(self._extras) + SPARE_HEAP_ENTRIES:  # most are of what was written again
            self._refill_ends()

    def _refill_ends(self) -> None:
        self._ends = [(extras.expiration, key) for key, extras in self._extras.items() if extras.expiration is not None]
        heapq.heapify(self._ends)
