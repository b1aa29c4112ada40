"""The flight recorder: which event runs in which isolate, readable after the worker's death.

One sparse file per worker process, one page per isolate. The page is mapped over memory of the isolate (a buffer only
the prelude holds), so "started event 17" is one store in JavaScript, costs nothing, and is in the kernel's page cache
the moment it is done: neither `kill -9` nor an abort of V8 loses it. A crash of the machine does; nobody needs it then.

Page layout: bytes 0–55 seven float64 written by the prelude, in the order of `Progress`; at byte 512 a float64 that the host
writes before and after each round trip: since when V8 has been inside the isolate's code; from byte 1024 the rest of the
host's part: magic, isolate number, length of the name, name (the guild's id, or empty).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = mmap.PAGESIZE
CELLS: Final = struct.Struct("<ddddddd")
_CELL_COUNT: Final = CELLS.size // 8
_BUSY_AT: Final = 512
_BUSY: Final = struct.Struct("<d")
_HOST_AT: Final = 1024
_HOST: Final = struct.Struct("<8sQQI")
_MAGIC: Final = b"FLORAREC"
MAX_NAME_BYTES: Final = 64
_MAP_FIXED: Final = 0x10  # the same on Linux and macOS; Python's mmap has no name for it
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


@dataclass(frozen=True, slots=True)
class Progress:
    """What an isolate says it is doing."""

    started_seq: int  # event whose handlers were started last; 0: none yet
    started_count: int  # how many were started since the isolate exists
    started_at_ms: float  # wall clock of the last start, ms since the epoch
    finished_seq: int  # event finished last; 0: none yet
    running_seq: int  # event whose code ran last, also after waiting; 0: code of no event
    turns: int  # how often code was entered; one that stands still while the isolate is busy does not come back
    job_runs_started: int = 0  # runs of cron jobs are numbered -1, -2, …; the one started last, without its sign


@dataclass(frozen=True, slots=True)
class RecorderEntry:
    """One isolate that was alive when its worker wrote last."""

    name: str
    isolate_number: int
    started_before: int  # event that the isolate it replaced had started last; 0: it replaced none
    progress: Progress
    busy_since_s: float = 0.0  # monotonic clock of this machine; 0: V8 was not inside it


def _progress(cells: bytes) -> Progress:
    seq, count, at_ms, finished, running, turns, job_runs = CELLS.unpack(cells)
    return Progress(int(seq), int(count), at_ms, int(finished), int(running), int(turns), int(job_runs))


def _libc_mmap() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    return function


class Slot:
    """One isolate's page."""

    def __init__(self, recorder: Recorder, index: int) -> None:
        self._recorder = recorder
        self.index = index
        self._address = 0
        # A store into shared memory, 0.1 µs, no system call; twice per round trip.
        self._busy = ctypes.c_double.from_address(recorder.page_address(index) + _BUSY_AT)
        self._cells = (ctypes.c_double * _CELL_COUNT).from_address(recorder.page_address(index))

    def busy(self, since_s: float) -> None:
        """Say that V8 enters the isolate now, at `since_s` on the monotonic clock."""
        self._busy.value = since_s

    def idle(self) -> None:
        """Say that V8 has left it."""
        self._busy.value = 0.0

    def map_over(self, address: int, length: int) -> int:
        """Put the page over the first whole page inside `length` bytes of memory at `address`.

        Returns:
            Offset of the page from `address` in bytes, or -1 where no whole page fits (16 KB pages): then the
            recorder stays silent and all else works.
        Raises:
            OSError: the kernel refused.
        """
        page = (address + PAGE_BYTES - 1) & -PAGE_BYTES
        if page + PAGE_BYTES > address + length:
            return -1
        self._map(page, mmap.MAP_SHARED, self._recorder.fd, self.index * PAGE_BYTES)
        self._address = page
        return page - address

    def unmap(self) -> None:
        """Give the memory its own, empty page again. Needed before V8 frees it; the isolate may still be writing."""
        if self._address:
            self._map(self._address, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            self._address = 0

    def _map(self, address: int, flags: int, fd: int, offset: int) -> None:
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        if self._recorder.mmap(address, PAGE_BYTES, rights, flags | _MAP_FIXED, fd, offset) in (None, _MAP_FAILED):
            errno = ctypes.get_errno()
            raise OSError(errno, f"mapping the flight recorder failed: {os.strerror(errno)}")

    def read(self) -> Progress:
        """What the isolate wrote last; no call into V8."""
        return _progress(bytes(self._cells))

    def started_seq(self) -> int:
        """That field of `read` alone, which is asked for with every round trip."""
        return int(self._cells[0])

    def job_runs_started(self) -> int:
        """That field of `read` alone."""
        return int(self._cells[6])

    def release(self) -> None:
        """The isolate is gone in good order: nothing to report for it. Call `unmap` first."""
        os.pwrite(self._recorder.fd, bytes(PAGE_BYTES), self.index * PAGE_BYTES)
        self._recorder.give_back(self.index)


class Recorder:
    """Writer's side: the file of one worker process. Its methods belong to one thread."""

    def __init__(self, path: Path) -> None:
        """Start an empty file at `path`; an old one there is replaced."""
        path.unlink(missing_ok=True)
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.mmap = _libc_mmap()
        self._free: list[int] = []
        self._pages: list[int] = []  # addresses of the host's own mappings; the isolates' lie elsewhere and come and go

    def page_address(self, index: int) -> int:
        """Where the host sees a page of the file. Used by `Slot`."""
        return self._pages[index]

    def _add_page(self) -> int:
        index = len(self._pages)
        os.ftruncate(self.fd, (index + 1) * PAGE_BYTES)
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        address = self.mmap(None, PAGE_BYTES, rights, mmap.MAP_SHARED, self.fd, index * PAGE_BYTES)
        if address in (None, _MAP_FAILED):
            errno = ctypes.get_errno()
            raise OSError(errno, f"mapping the flight recorder failed: {os.strerror(errno)}")
        self._pages.append(address)
        return index

    def claim(self, name: str, isolate_number: int, started_before: int = 0) -> Slot:
        """A fresh page for an isolate.

        Args:
            name: the guild's id, or empty for the default isolate; at most MAX_NAME_BYTES bytes.
            isolate_number: unique in this process, tells generations of the same guild apart.
            started_before: event that the isolate which this one replaces had started last; 0: it replaces none.
        """
        raw = name.encode()
        if len(raw) > MAX_NAME_BYTES:
            raise ValueError(f"a recorder name has at most {MAX_NAME_BYTES} bytes, not {len(raw)}")
        index = self._free.pop() if self._free else self._add_page()
        os.pwrite(
            self.fd, _HOST.pack(_MAGIC, isolate_number, started_before, len(raw)) + raw, index * PAGE_BYTES + _HOST_AT
        )
        return Slot(self, index)

    def give_back(self, index: int) -> None:
        """Used by `Slot.release`."""
        self._free.append(index)

    def close(self) -> None:
        """Close the file and keep it."""
        os.close(self.fd)


def read_recorder(path: Path) -> list[RecorderEntry]:
    """What a worker's isolates were doing, also after its death.

    An isolate whose `started_seq` is not its `finished_seq` was running (with overlapping events: had unfinished ones).
    Every event the host handed over before `started_seq`, in order, had been started too; those after it had not.

    Returns:
        One entry per isolate that had not been closed, in no particular order; empty if there is no such file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    entries = []
    for start in range(0, len(data) - PAGE_BYTES + 1, PAGE_BYTES):
        magic, number, started_before, length = _HOST.unpack_from(data, start + _HOST_AT)
        if magic == _MAGIC:
            name_at = start + _HOST_AT + _HOST.size
            name = data[name_at : name_at + min(length, MAX_NAME_BYTES)].decode(errors="replace")
            progress = _progress(data[start : start + CELLS.size])
            (busy_since_s,) = _BUSY.unpack_from(data, start + _BUSY_AT)
            entries.append(RecorderEntry(name, number, started_before, progress, busy_since_s))
    return entries


def last_started(entries: Iterable[RecorderEntry]) -> dict[str, int]:
    """Per guild, the sequence number of the event that was started last in any of its isolates; guilds with none are absent."""
    latest: dict[str, int] = {}
    for entry in entries:
        latest[entry.name] = max(latest.get(entry.name, 0), entry.started_before, entry.progress.started_seq)
    return {name: seq for name, seq in latest.items() if seq}


def busy_for_s(entries: Iterable[RecorderEntry], now_s: float) -> dict[str, float]:
    """Per guild, for how long V8 had been inside one of its isolates, the longest if several; guilds at rest are absent."""
    longest: dict[str, float] = {}
    for entry in entries:
        if entry.busy_since_s and entry.name:
            longest[entry.name] = max(longest.get(entry.name, 0.0), now_s - entry.busy_since_s)
    return longest
