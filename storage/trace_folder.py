"""The folder of trace files: how files are called, which of them count for how much, and who may have one.

A process writes `<process>-<incarnation>.<n>.jsonl`, one after the other; only the one with the highest n is still written, and
while its writer lives it holds a lock on it. What `flora.storage.trace_tidy` has kept of older ones is in `kept-….<n>.jsonl`.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEPT = "kept-"
OPENING_LOCK, TIDY_LOCK = ".opening", ".tidy"
BLOCK_BYTES = 4096  # what even a file of one line takes on the disk

_SEGMENT = re.compile(r"(?P<owner>.+)\.(?P<number>[0-9]+)\.jsonl")
_counter = itertools.count()
_LEAST_SEGMENT_BYTES, _MOST_SEGMENT_BYTES = 8192, 262_144


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """How much room there is, of all files of all processes together."""

    max_bytes: int

    @property
    def segment_bytes(self) -> int:
        """Of one file. Small, as each process has one that is not full."""
        return min(max(self.max_bytes // 512, _LEAST_SEGMENT_BYTES), _MOST_SEGMENT_BYTES)

    @property
    def high_bytes(self) -> int:
        """Above this, something is given up …"""
        return self.max_bytes * 85 // 100

    @property
    def low_bytes(self) -> int:
        """… until no more than this is left."""
        return self.max_bytes * 70 // 100

    @property
    def most_files(self) -> int:
        """Above this, small files are put together."""
        return 2 * self.max_bytes // self.segment_bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, as it was when the folder was listed."""

    path: Path
    owner: str  # "worker-0-<incarnation>"
    number: int
    size: int  # bytes
    written_ns: int  # when it was last written

    @property
    def kept(self) -> bool:
        """Whether it is what was kept of others; such a file is never written again."""
        return self.owner.startswith(KEPT)


def owner_name(process: str) -> str:
    """First part of the names of this process's files; no other process, also no later one, has the same."""
    slug = re.sub(r"[^a-z0-9]+", "-", process.lower()).strip("-") or "process"
    return f"{slug}-{time.time_ns() // 1_000_000:x}-{os.getpid():x}-{next(_counter)}"


def segment_path(folder: Path, owner: str, number: int) -> Path:
    return folder / f"{owner}.{number}.jsonl"


def list_segments(folder: Path) -> list[Segment]:
    """All files, those written last at the end. No folder: none.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    for entry in entries:
        if (match := _SEGMENT.fullmatch(entry.name)) is None:
            continue
        try:
            facts = entry.stat()
        except FileNotFoundError:  # given up since
            continue
        owner, number = match["owner"], int(match["number"])
        found.append(Segment(Path(entry.path), owner, number, facts.st_size, facts.st_mtime_ns))
    return sorted(found, key=lambda each: (each.written_ns, each.owner, each.number))


def last_of_each(segments: list[Segment]) -> set[Path]:
    """The files that may still be written: the last one of each owner."""
    last: dict[str, Segment] = {}
    for each in segments:
        if not each.kept and (each.owner not in last or last[each.owner].number < each.number):
            last[each.owner] = each
    return {each.path for each in last.values()}


def used_bytes(segments: list[Segment], limits: TraceLimits) -> int:
    """What all files take, with the room that those still being written may fill."""
    growing = last_of_each(segments)
    return sum(
        max(each.size, limits.segment_bytes if each.path in growing else BLOCK_BYTES) for each in segments
    )  # fmt: skip


def has_writer(path: Path) -> bool:
    """Whether a process that lives is writing a file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock(fd)
    finally:
        os.close(fd)


def lock(fd: int) -> bool:
    """Takes the lock of an open file if nobody has it; it ends with the descriptor, so with the process."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(folder: Path, name: str) -> Iterator[bool]:
    """Holds one of the folder's locks; gives False, at once, where somebody else has it."""
    fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock(fd)
    finally:
        os.close(fd)
