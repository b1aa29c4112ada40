"""Makes a store's file shorter, a little at a time, while the store goes on serving.

    copying   records are read in file order; those that are still the latest of their key go into the successor
    syncing   the end is reached: from here on each write goes to both files, and a helper thread brings the successor
              to the disk
    switched  the successor takes the file's name, in one rename
    clearing  the old index is let go; at once, a million entries would take a tenth of a second

Appending never changes what is there, so the walk needs no snapshot: what is overwritten behind it comes again at the end.
Until the rename the old file is complete by itself, and a successor found at open is deleted: a crash at any step loses
nothing. All steps but the sync run on the owner's thread; copying on another would take the interpreter away from it
for longer.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from flora.messages.errors import StorageError
from flora.storage.kv import scan
from flora.storage.kv.data_file import COMPACT, DATA, DataFile
from flora.storage.kv.durability import Commits, SyncTarget

WORTH_BYTES = 1024 * 1024  # less garbage than this stays
BLOCK_BYTES = 32 * 1024  # copied between two looks at the clock
CLEARED_AT_ONCE = 1_000


def is_worth_it(file: DataFile) -> bool:
    """Whether more than half of the file, and not just a little, is garbage."""
    garbage = file.garbage_bytes
    return garbage > WORTH_BYTES and garbage * 2 > file.file_bytes


class Successor:
    """A file in the making. Errors of the disk come out as OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / COMPACT
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self.path = self._folder / DATA
        self.fileno = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.places: dict[bytes, scan.Place] = {}
        self.live_bytes = len(scan.HEADING)  # without what is garbage already
        self._end = 0
        self._waiting: list[bytes] = [scan.HEADING]
        self._waiting_end = len(scan.HEADING)

    def add(self, key: bytes, record: bytes) -> None:
        """Appends a record."""
        content = key + record
        self.append(
            scan.LENGTHS.pack(len(key), len(record)) + content + scan.CHECKSUM.pack(crc32(content)), key, len(record)
        )

    def append(self, blob: bytes, key: bytes, length: int) -> None:
        """Appends a record as it stands in a file; deletions of what is not there are left out."""
        before = self.places.pop(key, None)
        if before is not None:
            self.live_bytes -= scan.FRAME_BYTES + len(key) + before[1]
        if length != scan.DELETED:
            self.places[key] = (self._waiting_end + scan.LENGTHS.size + len(key), length)
            self.live_bytes += len(blob)
        elif before is None:
            return
        self._waiting.append(blob)
        self._waiting_end += len(blob)
        if self._waiting_end - self._end > BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands everything to the kernel."""
        blob = b"".join(self._waiting)
        if blob and os.write(self.fileno, blob) != len(blob):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._waiting.clear()
        self._end = self._waiting_end

    def close(self) -> None:
        """Removes it, unless it has taken its place."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
        shutil.rmtree(self._folder, ignore_errors=True)


class Compaction:
    """One compaction of one file. Ends by itself, or by `abandon`."""

    def __init__(self, file: DataFile, commits: Commits, clock: Callable[[], float] = time.perf_counter) -> None:
        self._file = file
        self._commits = commits
        self._clock = clock
        self._at = len(scan.HEADING)
        self._target: SyncTarget | None = None
        self._failure: OSError | None = None
        self._old_places: dict[bytes, scan.Place] | None = None  # once it has switched
        try:
            self._successor = Successor(file.folder)
        except OSError as exc:
            raise StorageError(f"a store cannot be compacted: {exc.strerror}") from exc

    def step(self, budget_s: float) -> bool:
        """Goes on for about so long. True: it has ended.

        Raises:
            StorageError: the disk refused; the store goes on as it was.
        """
        until = self._clock() + budget_s
        if self._old_places is not None:
            return self._clear(until)
        try:
            while self._target is None:
                if self._at < self._file.file_bytes:
                    self._copy_block()
                else:
                    self._begin_sync()
                if self._clock() >= until:
                    return False
            if self._failure is not None:
                raise self._failure
            self._target.check()
            if not self._target.passes:
                return False
            self._switch()
        except OSError as exc:
            self.abandon()
            raise StorageError(f"a store cannot be compacted: {exc.strerror}") from exc
        except StorageError:
            self.abandon()
            raise
        return self._clear(until)

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to do before the helper thread has synced."""
        return self._target is not None and not self._target.passes and self._failure is None

    def abandon(self) -> None:
        """Leaves the file as it is."""
        self._file.mirror = None
        if self._target is not None:
            self._commits.syncer.retire(self._target)
            self._target = None
        self._successor.close()

    def _copy_block(self) -> None:
        database = self._file.database
        block = os.pread(database.fileno, min(BLOCK_BYTES, database.end - self._at), self._at)
        went = self._copy_records(block, database.places)
        if not went:  # a record that is longer than a block
            lengths = scan.LENGTHS.unpack_from(block)
            block = os.pread(database.fileno, scan.FRAME_BYTES + sum(lengths), self._at)
            went = self._copy_records(block, database.places)
        if not went:
            raise OSError(errno.EIO, "its file ends within a record")
        self._at += went

    def _copy_records(self, block: bytes, places: dict[bytes, scan.Place]) -> int:
        at = 0
        while at + scan.FRAME_BYTES <= len(block):
            key_length, length = scan.LENGTHS.unpack_from(block, at)
            value_at = at + scan.LENGTHS.size + key_length
            end = value_at + max(length, 0) + scan.CHECKSUM.size
            if end > len(block):
                break
            key = block[at + scan.LENGTHS.size : value_at]
            if length == scan.DELETED or places.get(key) == (self._at + value_at, length):
                self._successor.append(block[at:end], key, length)
            at = end
        return at

    def _begin_sync(self) -> None:
        self._successor.flush()
        self._target = self._commits.syncer.target(self._successor.fileno)
        self._file.mirror = self._mirror
        self._target.mark()

    def _mirror(self, blob: bytes) -> None:
        if self._failure is not None or self._target is None:
            return
        key_length, length = scan.LENGTHS.unpack_from(blob)
        try:
            self._successor.append(blob, blob[scan.LENGTHS.size :][:key_length], length)
            self._successor.flush()
        except OSError as exc:
            self._failure = exc  # the write itself is done; the next step gives up
        self._target.mark()

    def _switch(self) -> None:
        if self._commits.is_always:
            os.fsync(self._successor.fileno)  # what was written since the helper's sync: little
        old = self._file.database.places
        self._file.replace_by(self._successor.path, self._successor.places, self._successor.live_bytes)
        self._old_places = old
        self.abandon()

    def _clear(self, until: float) -> bool:
        assert self._old_places is not None
        while self._old_places:
            for _ in range(min(CLEARED_AT_ONCE, len(self._old_places))):
                self._old_places.popitem()
            if self._clock() >= until:
                return not self._old_places
        return True
