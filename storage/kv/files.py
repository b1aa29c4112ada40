"""Key-value stores on semidbm files."""

from __future__ import annotations

import heapq
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvStoreInfo, KvUsage
from flora.storage.kv import record, scan
from flora.storage.kv.compaction import Compaction, Successor, is_worth_it
from flora.storage.kv.data_file import DataFile
from flora.storage.kv.durability import Commits, Durability, Syncer
from flora.storage.kv.folder import GuildFolder
from flora.storage.kv.guild import Draft, LocalKv
from flora.storage.kv.handles import HandleCache
from flora.storage.kv.limits import KvLimits
from flora.storage.kv.live_store import Contents, LiveStore
from flora.storage.kv.record import Record
from flora.storage.kv.sorted_keys import SortedKeys
from flora.storage.ports import KvGuild

log = logging.getLogger("flora.kv")

# An entry counts for its key once more than the file has it, so for less than this many times its place in the file.
COUNTED_PER_FILE_BYTE = 3
SORTED_AT_ONCE = 10_000  # keys; about two milliseconds
WARM_BYTES = 256 * 1024  # reading so much takes ten milliseconds at most
RETRY_COMPACTION_S = 60.0  # after the disk refused one; it is most likely full


class KvFiles:
    """All that the guilds of one process share: the folder, the open stores, the thread that syncs.

    Make it where it is used, after any fork. Use on one thread.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability = Durability.INTERVAL,
        limits: KvLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        syncer: Syncer | None = None,
        cache: HandleCache[OpenStore] | None = None,
    ) -> None:
        self._root = root
        self._durability = durability
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._syncer = syncer or Syncer()
        self._cache: HandleCache[OpenStore] = cache or HandleCache()
        self._guilds: dict[GuildId, KvGuild] = {}
        self._compactions = 0

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        """Takes a guild's stores; close what you get.

        Raises:
            BadRequest: this cannot be a guild id.
            Conflict: another process owns them, or this one does already.
            StorageError: the disk refused.
        """
        folder = GuildFolder(self._root, guild_id)
        try:
            shelf = FolderShelf(folder, Commits(self._durability, self._syncer), self._cache, self._compacted)
        except BaseException:
            folder.close()
            raise
        guild = LocalKv(guild_id, shelf, limits=self._limits, clock=self._clock, monotonic=self._monotonic)
        self._guilds[guild_id] = guild
        return guild

    def figures(self) -> tuple[int, int, int]:
        """How many stores are open, what their entries count for, and how many were compacted so far."""
        opened = self._cache.opened()
        return len(opened), sum(store.live.counted_bytes for store in opened), self._compactions

    def _compacted(self) -> None:
        self._compactions += 1

    def close(self) -> None:
        """Closes every guild that is still open, and ends the helper thread."""
        with ExitStack() as stack:  # each is closed, whatever another one raises
            stack.callback(self._syncer.close)
            for guild in self._guilds.values():
                stack.callback(guild.close)
            self._guilds = {}


class OpenStore:
    """One open store with its file."""

    def __init__(self, folder: GuildFolder, name: str, commits: Commits) -> None:
        self._folder = folder
        self._name = name
        folder.take_usage_note(name)
        started = time.perf_counter()
        self.file, found = DataFile.open(folder.store_path(name), commits)
        keys = SortedKeys(found.places)
        contents = Contents(keys, len(found.places), found.extras, scan.counted_bytes(found))
        self.live = LiveStore(self.file, contents)
        self.references = 0
        self.is_replaced = False  # what is in memory is no longer what is in the file
        log.debug("store opened: %d keys in %.3f s", contents.key_count, time.perf_counter() - started)

    @property
    def weight(self) -> int:
        return self.live.count

    def close(self) -> None:
        is_known = not (self.file.is_failed or self.is_replaced)
        self.file.close()
        if is_known:
            self._folder.note_usage(self._name, KvUsage(self.live.count, self.live.counted_bytes))


class FileSnapshot:
    """`KvSnapshot` of a file: appending does not change what is there, so a length and a descriptor are enough.

    Also when the file is compacted or deleted meanwhile: the descriptor keeps it.
    """

    def __init__(self, fileno: int, size: int, now: float) -> None:
        self._fileno = os.dup(fileno)
        self._size = size
        self._now = now

    def entries(self) -> Iterator[tuple[str, KvEntry]]:
        if self._fileno < 0:
            raise Unavailable("the snapshot is closed")
        try:
            found = scan.scan_file(self._fileno, self._size)
            for key in _in_order(found.places):
                at, length = found.places.pop(key)  # all at the end would take a tenth of a second for a million
                entry = record.decode(os.pread(self._fileno, length, at)).entry()
                if entry.expiration is None or entry.expiration > self._now:
                    yield key.decode(), entry
        except OSError as exc:
            raise StorageError(f"a store cannot be read: {exc.strerror}") from exc

    def close(self) -> None:
        if self._fileno >= 0:
            os.close(self._fileno)
            self._fileno = -1


def _in_order(keys: Collection[bytes]) -> Iterable[bytes]:
    """Keys bytewise ascending. The reader is on a thread of its own, and a sort of them all keeps every other one waiting for as long."""
    left = iter(keys)
    runs = iter(lambda: sorted(islice(left, SORTED_AT_ONCE)), [])
    return heapq.merge(*runs)


class FileDraft:
    """A `Draft` in a folder without a name, which is deleted by the next owner if this one does not come to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _translated():
            folder.mkdir(mode=0o700)
            self.successor = Successor(folder)

    def add(self, key: bytes, what: Record) -> None:
        with _translated():
            self.successor.add(key, record.encode(what))

    def seal(self) -> None:
        with _translated():
            self.successor.flush()
            os.fsync(self.successor.fileno)

    def discard(self) -> None:
        self.successor.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"a store cannot be written: {exc.strerror}") from exc


class FolderShelf:
    """A `Shelf` on a guild's folder."""

    def __init__(
        self,
        folder: GuildFolder,
        commits: Commits,
        cache: HandleCache[OpenStore],
        compacted: Callable[[], None] = lambda: None,
    ) -> None:
        """compacted: called after each compaction."""
        self._compacted = compacted
        self._folder = folder
        self._commits = commits
        self._cache = cache
        self._guild = str(folder.path)
        self._infos = folder.infos()
        self._closed: dict[str, tuple[int, bool]] = {}  # what stores that are not open count for, and if exactly
        for name in self._infos:
            self._note_closed(name)
        self._compaction: tuple[str, OpenStore, Compaction] | None = None
        self._compact_from = 0.0  # on the monotonic clock

    def infos(self) -> Sequence[KvStoreInfo]:
        return [self._infos[name] for name in sorted(self._infos)]

    def find(self, name: str) -> KvStoreInfo | None:
        return self._infos.get(name)

    def create(self, name: str) -> KvStoreInfo:
        info = self._infos[name] = self._folder.create(name)
        self._closed[name] = (0, True)
        return info

    def drop(self, name: str) -> None:
        self._close_store(name)
        self._folder.drop(name)
        del self._infos[name]
        self._closed.pop(name, None)

    def open(self, name: str) -> LiveStore:
        return self._handle(name).live

    def opened(self) -> Sequence[LiveStore]:
        return [handle.live for handle in self._cache.of_guild(self._guild)]

    def total(self) -> tuple[int, bool]:
        at_most, is_exact = 0, True
        for name in self._infos:
            handle = self._cache.peek((self._guild, name))
            if handle is not None:
                at_most += handle.live.counted_bytes
                continue
            counted, exactly = self._closed_size(name)
            at_most, is_exact = at_most + counted, is_exact and exactly
        return at_most, is_exact

    def snapshot(self, name: str, now: float) -> FileSnapshot:
        database = self._handle(name).file.database
        return FileSnapshot(database.fileno, database.end, now)

    def draft(self) -> FileDraft:
        return FileDraft(self._folder.nameless())

    def replace(self, name: str, draft: Draft, usage: KvUsage) -> None:
        assert isinstance(draft, FileDraft)
        self._abandon_compaction(name)
        handle = self._handle(name)
        handle.is_replaced = True
        new = draft.successor
        handle.file.replace_by(new.path, new.places, new.live_bytes)
        self._close_store(name)
        self._folder.note_usage(name, usage)

    def batch(self) -> AbstractContextManager[None]:
        return self._commits.batch()

    def compact(self, budget_s: float) -> bool:
        try:
            return self._compact(budget_s)
        except StorageError as exc:
            log.error("a store was not compacted: %s", exc, extra={"action": "kv_compaction_failed"})
            self._compact_from = time.monotonic() + RETRY_COMPACTION_S
            self._abandon_compaction()
            return False

    def _compact(self, budget_s: float) -> bool:
        if self._compaction is None and not self._begin_compaction():
            return False
        assert self._compaction is not None
        name, handle, compaction = self._compaction
        if self._cache.peek((self._guild, name)) is not handle:
            self._abandon_compaction()
            return True
        if compaction.step(budget_s):
            self._abandon_compaction()
            self._compacted()
            return True
        return not compaction.is_waiting

    def close(self) -> None:
        failures: list[StorageError] = []
        for name in self._infos:
            try:
                self._close_store(name)
            except StorageError as exc:
                failures.append(exc)
        self._folder.close()
        if failures:
            raise failures[0]

    def _handle(self, name: str) -> OpenStore:
        key = (self._guild, name)
        found = self._cache.peek(key)
        if found is not None and found.file.is_failed:
            self._close_store(name)
        return self._cache.get(key, lambda: self._open(name))

    def warm(self, name: str) -> Callable[[], Callable[[], object]] | None:
        is_open = self._cache.peek((self._guild, name)) is not None
        if is_open or name not in self._infos or self._folder.file_bytes(name) < WARM_BYTES:
            return None

        def work() -> Callable[[], object]:
            opened = OpenStore(self._folder, name, self._commits)
            return lambda: self._adopt(name, opened)

        return work

    def _adopt(self, name: str, opened: OpenStore) -> None:
        """A store that was opened elsewhere."""
        self._closed.pop(name, None)
        self._cache.get((self._guild, name), lambda: opened)

    def _open(self, name: str) -> OpenStore:
        self._closed.pop(name, None)
        return OpenStore(self._folder, name, self._commits)

    def _begin_compaction(self) -> bool:
        if time.monotonic() < self._compact_from:
            return False
        for name in self._infos:
            handle = self._cache.peek((self._guild, name))
            if handle is not None and not handle.file.is_failed and is_worth_it(handle.file):
                self._compaction = (name, handle, Compaction(handle.file, self._commits))
                handle.references += 1
                return True
        return False

    def _abandon_compaction(self, of_store: str | None = None) -> None:
        if self._compaction is not None and of_store in {None, self._compaction[0]}:
            _, handle, compaction = self._compaction
            self._compaction = None
            handle.references -= 1
            compaction.abandon()

    def _close_store(self, name: str) -> None:
        self._abandon_compaction(name)
        self._closed.pop(name, None)
        self._cache.close((self._guild, name))

    def _closed_size(self, name: str) -> tuple[int, bool]:
        if name not in self._closed:
            self._note_closed(name)
        return self._closed[name]

    def _note_closed(self, name: str) -> None:
        usage = self._folder.noted_usage(name)
        if usage is not None:
            self._closed[name] = (usage.stored_bytes, True)
        else:
            self._closed[name] = (self._folder.file_bytes(name) * COUNTED_PER_FILE_BYTE, False)
