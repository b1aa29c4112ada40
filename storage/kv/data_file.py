"""One semidbm file, made safe: repaired when it is opened, whole writes or none, no use after it is closed.

<folder>/data           the file
<folder>/compact/data   its successor while it is being compacted; one that is found at open is left over and deleted
<folder>/cut-*          what was cut off because it could not be read, if it was more than one torn write can be

Of semidbm we use format, reads, writes and deletes. Its way of opening reads nothing that is torn, checks nothing and takes
as long again as the scan, so the index comes from `scan.py`. Last looked at with semidbm 0.5.1.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semidbm.db import _Renamer, _SemiDBM
from semidbm.exceptions import DBMChecksumError

from flora.messages.errors import StorageError, Unavailable
from flora.storage.kv import limits, record, scan
from flora.storage.kv.durability import Commits, SyncTarget, sync_folder

log = logging.getLogger("flora.kv")

DATA = "data"
COMPACT = "compact"
NEW = "data.new"
COPY_BYTES = 1024 * 1024
LONGEST_TORN_WRITE = scan.FRAME_BYTES + limits.MAX_KEY_BYTES + record.MAX_RECORD_BYTES


class Database(_SemiDBM):  # type: ignore[misc]  # semidbm has no types
    """semidbm's database with an index that was read by us."""

    def __init__(self, folder: Path, places: dict[bytes, scan.Place]) -> None:
        self._places = places
        super().__init__(str(folder), renamer=_Renamer(), verify_checksums=True)

    def _load_index(self, filename: str) -> dict[bytes, scan.Place]:
        return self._places

    @property
    def places(self) -> dict[bytes, scan.Place]:
        """Where each value is; to be changed by semidbm only."""
        return self._places

    @property
    def fileno(self) -> int:
        return int(self._data_fd)

    @property
    def end(self) -> int:
        """How long the file is."""
        return int(self._current_offset)


class DataFile:
    """The records of one store by key. Use on one thread; every method but `close` raises after `close`."""

    def __init__(self, folder: Path, found: scan.Scan, commits: Commits) -> None:
        self.folder = folder
        self._commits = commits
        self._database: Any = Database(folder, found.places)
        self._target: SyncTarget | None = None
        if not commits.is_always:
            self._target = commits.syncer.target(self._database.fileno)
        self._live_bytes = scan.whole_bytes(found)
        self._failure: str | None = None
        self.mirror: Callable[[bytes], None] | None = None  # takes what is appended, while a successor is finished

    @classmethod
    def open(cls, folder: Path, commits: Commits) -> tuple[DataFile, scan.Scan]:
        """Opens a store's file, made empty if it is missing; what cannot be read is cut off and reported in the log.

        Raises:
            StorageError: the disk refused, or the file is not one of ours.
        """
        try:
            found = read_and_repair(folder)
            return cls(folder, found, commits), found
        except OSError as exc:
            raise StorageError(f"the data file of a store cannot be opened: {exc.strerror}") from exc

    @property
    def database(self) -> Any:
        """The open database.

        Raises:
            Unavailable: it is closed.
            StorageError: the disk refused a write before; the store must be opened again.
        """
        if self._failure is not None:
            raise StorageError(self._failure)
        if self._database is None:
            raise Unavailable("the store is closed")
        return self._database

    @property
    def is_failed(self) -> bool:
        """Whether the disk refused something after which only opening again helps."""
        return self._failure is not None

    @property
    def garbage_bytes(self) -> int:
        """How much of the file is no longer needed."""
        return int(self.database.end - self._live_bytes)

    @property
    def file_bytes(self) -> int:
        return int(self.database.end)

    def read(self, key: bytes) -> bytes | None:
        """The record under a key."""
        database = self.database
        if key not in database.places:
            return None
        try:
            return bytes(database[key])
        except DBMChecksumError as exc:
            raise StorageError("a record of the store is damaged on the disk") from exc
        except OSError as exc:
            raise StorageError(f"a record of the store cannot be read: {exc.strerror}") from exc

    def read_part(self, key: bytes, part: slice) -> bytes:
        """Some bytes of a record that is there, unchecked since the store was opened."""
        database = self.database
        return os.pread(database.fileno, part.stop - part.start, database.places[key][0] + part.start)

    def size_of(self, key: bytes) -> int | None:
        """Length of the record under a key."""
        place: scan.Place | None = self.database.places.get(key)
        return None if place is None else place[1]

    def write(self, key: bytes, blob: bytes) -> None:
        """Puts a record under a key."""
        database = self.database
        before = database.places.get(key)
        database.__setitem__(key, blob, write=self._append)
        self._live_bytes += len(blob) - before[1] if before else scan.FRAME_BYTES + len(key) + len(blob)
        self._commit()

    def delete(self, key: bytes) -> None:
        """Removes a key that is there."""
        database = self.database
        _, length = database.places[key]
        database.__delitem__(key, write=self._append)
        self._live_bytes -= scan.FRAME_BYTES + len(key) + length
        self._commit()

    def sync(self) -> None:
        """Brings everything to the disk."""
        fileno = self.database.fileno
        try:
            self._commits.syncer.fsync(fileno)
        except OSError as exc:
            self._failure = f"the disk refused a write: {exc.strerror}"
            raise StorageError(self._failure) from exc

    def replace_by(self, successor: Path, places: dict[bytes, scan.Place], live_bytes: int) -> None:
        """Goes on with another file that is on the disk. Atomic on the disk, too."""
        database = self.database
        self.mirror = None
        try:
            successor.rename(self.folder / DATA)
            os.close(database.fileno)
            self._database = None
            self._database = Database(self.folder, places)
            self._live_bytes = live_bytes
            if self._commits.is_always:
                sync_folder(self.folder)
                return
            self._retire_target()
            self._target = self._commits.syncer.target(self._database.fileno)
            self._target.mark()
            self._sync_folder_soon()
        except OSError as exc:
            self._failure = f"the store's data file could not be replaced: {exc.strerror}"
            raise StorageError(self._failure) from exc

    def close(self) -> None:
        """Closes the file. What was written is on the disk then, or the helper thread brings it there within its interval."""
        self._commits.forget(self)
        target = self._target
        self._retire_target()
        if self._database is None:
            return
        try:
            if self._failure is not None:
                return
            if target is None:
                self.sync()
            else:
                target.check()  # waiting for the disk here would keep the owner's thread from its other stores
        finally:
            os.close(self._database.fileno)
            self._database = None

    def _append(self, fileno: int, blob: bytes) -> None:
        """What semidbm writes with: all of it or nothing, where semidbm would go on after half a record."""
        end = self.database.end
        try:
            written = os.write(fileno, blob)
            while written < len(blob):
                written += os.write(fileno, blob[written:])
        except OSError as exc:
            self._take_back(fileno, end)
            raise StorageError(f"the store could not be written: {exc.strerror}") from exc
        if self.mirror is not None:
            self.mirror(blob)

    def _take_back(self, fileno: int, end: int) -> None:
        try:
            os.ftruncate(fileno, end)
        except OSError:
            self._failure = "the store could not be written, nor what was written be taken back"

    def _commit(self) -> None:
        if self._target is None:
            self._commits.commit(self)
        else:
            try:
                self._target.check()
            except StorageError as exc:
                self._failure = str(exc)
                raise
            self._target.mark()

    def _sync_folder_soon(self) -> None:
        fileno = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        target = self._commits.syncer.target(fileno)
        os.close(fileno)
        target.mark()
        self._commits.syncer.retire(target)

    def _retire_target(self) -> None:
        if self._target is not None:
            self._commits.syncer.retire(self._target)
            self._target = None


def read_and_repair(folder: Path) -> scan.Scan:
    """Reads a store's file, made empty if it is missing; removes left-overs and cuts off what is torn."""
    shutil.rmtree(folder / COMPACT, ignore_errors=True)
    (folder / NEW).unlink(missing_ok=True)
    if not (folder / DATA).exists():
        make_empty(folder)
    fileno = os.open(folder / DATA, os.O_RDWR)
    try:
        size = os.fstat(fileno).st_size
        found = scan.scan_file(fileno, size)
        if found.damaged:
            log.error(
                "%d records of a store are damaged on the disk and were skipped",
                found.damaged,
                extra={"action": "kv_records_damaged", "folder": str(folder)},
            )
        if found.end < size:
            _cut(folder, fileno, found.end, size)
    finally:
        os.close(fileno)
    if found.end < len(scan.HEADING):
        make_empty(folder)
        found.end = len(scan.HEADING)
    return found


def _cut(folder: Path, fileno: int, end: int, size: int) -> None:
    kept = ""
    if size - end > LONGEST_TORN_WRITE:
        # More than a crash leaves behind. It may be of use to somebody who can look at it.
        copy = folder / f"cut-{end}-{size - end}"
        with copy.open("wb") as file:
            at = end
            while block := os.pread(fileno, COPY_BYTES, at):
                file.write(block)
                at += len(block)
            file.flush()
            os.fsync(file.fileno())
        kept = f", kept in {copy.name}"
    os.ftruncate(fileno, end)
    os.fsync(fileno)
    log.warning(
        "the last %d bytes of a store are not whole and were cut off%s",
        size - end,
        kept,
        extra={"action": "kv_tail_cut", "folder": str(folder)},
    )


def make_empty(folder: Path) -> None:
    """Makes an empty data file, whole or not at all."""
    with (folder / NEW).open("wb") as file:
        file.write(scan.HEADING)
        file.flush()
        os.fsync(file.fileno())
    (folder / NEW).rename(folder / DATA)
    sync_folder(folder)
