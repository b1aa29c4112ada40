"""The stores against a dictionary that is sorted when it is asked: any sequence of calls, pauses, crashes and new starts."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flora.messages.errors import Conflict, KvQuotaExceeded, NotFound
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvKey, KvUsage, KvValue
from flora.storage.kv import Durability, KvFiles, KvLimits, MemoryKv, files
from flora.storage.kv.durability import Syncer
from flora.storage.ports import KvGuild

STORE_LIMIT, GUILD_LIMIT = 1_500, 2_500

STORES = st.sampled_from(["a", "b", "Ä"])
KEYS = st.one_of(st.sampled_from(["a", "ab", "b", "b/c", "é", "🙂", "￿"]), st.text("ab🙂", min_size=1, max_size=4))
VALUES = st.one_of(
    st.builds(KvValue, st.text(max_size=20), st.just(False)),
    st.builds(KvValue, st.integers(-50, 50).map(str), st.booleans()),
    st.builds(KvValue, st.integers(0, 900).map(lambda size: "x" * size)),
    st.builds(KvValue, st.lists(st.integers(0, 9), max_size=3).map(json.dumps), st.just(True)),
)
METADATA = st.one_of(st.none(), st.none(), st.dictionaries(st.text("ab", max_size=2), st.integers(0, 9), max_size=2))
TTLS = st.one_of(st.none(), st.none(), st.integers(-2, 30))


def counted(key: str, entry: KvEntry) -> int:
    size = len(key.encode()) + len(entry.value.text.encode())
    if entry.expiration is None and entry.metadata is None:
        return size
    row = json.dumps({"expiration": entry.expiration, "metadata": entry.metadata}, separators=(",", ":"))
    return size + len(key.encode()) + len(row.encode())


class Stepping:
    """A clock on which each look finds more than a minute passed: what is limited in rate never is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 100
        return self.now


class KvMachine(RuleBasedStateMachine):
    """What every kind of store must do. `model` has only what has not expired."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000
        self.model: dict[str, dict[str, KvEntry]] = {}
        self.limits = KvLimits(max_store_bytes=STORE_LIMIT, max_guild_bytes=GUILD_LIMIT, writes_per_minute=0)
        self.kv: KvGuild = self.open()

    def open(self) -> KvGuild:
        return MemoryKv(GuildId("1"), limits=self.limits, clock=lambda: self.now, monotonic=Stepping())

    def teardown(self) -> None:
        self.kv.close()

    def live(self, store: str) -> dict[str, KvEntry]:
        return {key: entry for key, entry in self.model.get(store, {}).items() if self.is_live(entry)}

    def is_live(self, entry: KvEntry) -> bool:
        return entry.expiration is None or entry.expiration > self.now

    def used(self, store: str) -> int:
        return sum(counted(key, entry) for key, entry in self.live(store).items())

    def fits(self, store: str, key: str, entry: KvEntry) -> bool:
        found = self.live(store).get(key)
        grown = counted(key, entry) - (counted(key, found) if found else 0)
        total = sum(map(self.used, self.model))
        return grown <= 0 or (self.used(store) + grown <= STORE_LIMIT and total + grown <= GUILD_LIMIT)

    def put(self, store: str, key: str, entry: KvEntry, call: Any) -> Any:
        """Does what writes an entry, here and there; None if there was no room."""
        if not self.fits(store, key, entry):
            with pytest.raises(KvQuotaExceeded):
                call()
            return None
        result = call()
        self.model.setdefault(store, {})[key] = entry
        return result

    @rule(store=STORES, key=KEYS, value=VALUES, ttl=TTLS, metadata=METADATA)
    def set(self, store: str, key: str, value: KvValue, ttl: int | None, metadata: Any) -> None:
        ends = None if ttl is None else self.now + ttl
        entry = KvEntry(value, ends, metadata)
        self.put(store, key, entry, lambda: self.kv.set(store, key, value, expiration=ends, metadata=metadata))

    @rule(store=STORES, key=KEYS, value=VALUES, data=st.data())
    def set_if(self, store: str, key: str, value: KvValue, data: st.DataObject) -> None:
        found = self.live(store).get(key)
        real = found.value if found else None
        expected = data.draw(st.one_of(st.just(real), st.none(), VALUES))
        if expected != real:
            assert self.kv.set_if(store, key, value, expected=expected) is False
        else:
            outcome = self.put(store, key, KvEntry(value), lambda: self.kv.set_if(store, key, value, expected=expected))
            assert outcome in {True, None}

    @rule(store=STORES, key=KEYS, by=st.integers(-9, 9))
    def increment(self, store: str, key: str, by: int) -> None:
        found = self.live(store).get(key)
        try:
            number = int(found.value.text) if found else 0
        except ValueError:
            with pytest.raises(Conflict):
                self.kv.increment(store, key, by)
            return
        value = KvValue(str(number + by), found.value.is_json if found else True)
        entry = found._replace(value=value) if found else KvEntry(value)
        assert self.put(store, key, entry, lambda: self.kv.increment(store, key, by)) in {number + by, None}

    @rule(store=STORES, key=KEYS, metadata=METADATA)
    def update_metadata(self, store: str, key: str, metadata: Any) -> None:
        found = self.live(store).get(key)
        if found is None:
            with pytest.raises(NotFound):
                self.kv.update_metadata(store, key, metadata)
            return
        entry = found._replace(metadata=metadata)
        self.put(store, key, entry, lambda: self.kv.update_metadata(store, key, metadata))

    @rule(store=STORES, key=KEYS)
    def delete(self, store: str, key: str) -> None:
        assert self.kv.delete(store, key) is (key in self.live(store))
        self.model.get(store, {}).pop(key, None)

    @rule(store=STORES)
    def drop(self, store: str) -> None:
        if self.model.pop(store, None) is not None:
            self.kv.drop(store)

    @rule(store=STORES, key=KEYS)
    def get(self, store: str, key: str) -> None:
        assert self.kv.get(store, key) == self.live(store).get(key)

    @rule(store=STORES, prefix=st.sampled_from(["", "a", "b", "🙂"]), after=st.none() | KEYS, limit=st.integers(0, 5))
    def list_page(self, store: str, prefix: str, after: str | None, limit: int) -> None:
        wanted = sorted(
            (
                KvKey(key, entry.expiration, entry.metadata)
                for key, entry in self.live(store).items()
                if key.startswith(prefix) and (after is None or key.encode() > after.encode())
            ),
            key=lambda line: line.name.encode(),
        )

        page = self.kv.list(store, prefix=prefix, cursor=after, limit=limit)

        assert list(page.keys) == wanted[:limit]
        assert page.list_complete is (limit == 0 or len(wanted) <= limit)
        assert page.cursor == (None if page.list_complete else wanted[limit - 1].name)

    @rule(seconds=st.integers(1, 20))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule(most=st.integers(1, 5))
    def sweep(self, most: int) -> None:
        assert self.kv.sweep(most) <= most

    @rule()
    def maintain(self) -> None:
        self.kv.maintain(0.000_001)

    @rule(store=STORES)
    def export_and_restore(self, store: str) -> None:
        if store not in self.model:
            return
        snapshot = self.kv.snapshot(store)
        entries = list(snapshot.entries())
        snapshot.close()
        assert dict(entries) == self.live(store)
        assert [key for key, _ in entries] == sorted(self.live(store), key=str.encode)
        self.kv.restore(store, entries)

    @rule(store=STORES)
    def usage(self, store: str) -> None:
        assert self.kv.usage(store) == KvUsage(len(self.live(store)), self.used(store))

    @invariant()
    def stores_are_those_written_to(self) -> None:
        assert [info.name for info in self.kv.stores()] == sorted(self.model)


class KvFilesMachine(KvMachine):
    """The same on files, which are closed, lost and compacted at any time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.starts = 0
        self.durability = Durability.INTERVAL
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(files, "is_worth_it", lambda file: file.garbage_bytes > 0)
        super().__init__()

    @initialize(durability=st.sampled_from(Durability))
    def choose(self, durability: Durability) -> None:
        self.durability = durability
        self.reopen()

    def open(self) -> KvGuild:
        self.files = KvFiles(
            self.folder / str(self.starts),
            durability=self.durability,
            limits=self.limits,
            clock=lambda: self.now,
            monotonic=Stepping(),
            syncer=Syncer(interval_s=0),
        )
        return self.files.open_guild(GuildId("1"))

    @rule()
    def reopen(self) -> None:
        self.files.close()
        self.kv = self.open()

    @rule()
    def finish_compaction(self) -> None:
        for info in self.kv.stores():
            self.kv.usage(info.name)  # opens it: what a crash left of a compaction goes then
        self.kv.maintain()
        deadline = time.monotonic() + 5
        while any(self.folder.glob("*/*/*/compact")):
            assert time.monotonic() < deadline
            self.kv.maintain()

    @rule()
    def crash(self) -> None:
        """The files as a process leaves them that is killed now."""
        before = self.files
        old, self.starts = self.folder / str(self.starts), self.starts + 1
        shutil.copytree(old, self.folder / str(self.starts))
        before.close()
        shutil.rmtree(old)
        self.kv = self.open()

    def teardown(self) -> None:
        self.patch.undo()
        self.files.close()
        shutil.rmtree(self.folder)


TestKvInMemory = KvMachine.TestCase
TestKvInMemory.settings = settings(max_examples=25, stateful_step_count=40)
TestKvOnFiles = KvFilesMachine.TestCase
TestKvOnFiles.settings = settings(max_examples=25, stateful_step_count=60)
