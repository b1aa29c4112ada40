"""Makes room among trace files: gives up the oldest records of guilds that have more than their share.

Runs in a short-lived thread of whichever process found too little room, one at a time in a folder, and only touches files that nobody
writes any more. What is kept of them goes into new files before they are removed, so whoever reads meanwhile, or after a
crash in between, finds each record at least once.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flora.storage.trace_folder import (
    KEPT,
    OPENING_LOCK,
    TIDY_LOCK,
    Segment,
    TraceLimits,
    has_writer,
    last_of_each,
    list_segments,
    locked,
    owner_name,
    segment_path,
)
from flora.storage.trace_record import GUILD_KEY, LINE_BEGINS
from flora.storage.trace_shares import owes, to_give_up

log = logging.getLogger(__name__)

PAUSE_S = 0.001  # after each file, for the threads of the process that is so kind as to do this
_TRIES = 50
_TEMPORARY = ".keeping"
_GUILD_AT = len('{"trace":"","span":"",') + 32 + 16
_GUILD_FROM = _GUILD_AT + len(GUILD_KEY)


def guild_of(line: bytes) -> str:
    """Guild of a record's line; "" where it has none. Sixteen times as fast as reading the line."""
    if not line.startswith(GUILD_KEY, _GUILD_AT):
        return ""
    return line[_GUILD_FROM : line.find(b'"', _GUILD_FROM)].decode(errors="replace")


def tidy(folder: Path, limits: TraceLimits, pause: Callable[[float], None] = time.sleep) -> None:
    """Brings a folder below its limit, as far as files that nobody writes allow. Never raises; problems are logged."""
    try:
        with locked(folder, TIDY_LOCK) as mine:
            if mine:
                _tidy(folder, limits, pause)
    except FileNotFoundError:
        pass  # the folder is gone
    except OSError as error:
        log.error("trace files cannot be tidied up: %s", error, extra={"action": "trace_tidy_failed"})


def _tidy(folder: Path, limits: TraceLimits, pause: Callable[[float], None]) -> None:
    segments = _finished(folder, pause)
    if segments is None:
        return
    finished, growing = segments
    sizes = {}
    for segment in finished:
        sizes[segment.path] = _sizes_by_guild(segment.path)
        pause(PAUSE_S)
    totals: dict[str, int] = defaultdict(int)
    for by_guild in sizes.values():
        for guild_id, size in by_guild.items():
            totals[guild_id] += size
    owed = to_give_up(totals, max(0, limits.low_bytes - growing * limits.segment_bytes))
    small = {each.path for each in finished if each.size < limits.segment_bytes // 2}
    keeper = _Keeper(folder, limits)
    for segment in finished:
        touched = any(owed.get(guild_id, 0) > 0 for guild_id in sizes[segment.path])
        if touched or (len(small) > 1 and segment.path in small):
            keeper.take(segment, owed)
            pause(PAUSE_S)
    keeper.finish()


def _finished(folder: Path, pause: Callable[[float], None]) -> tuple[list[Segment], int] | None:
    """The files that nobody writes, oldest first, and how many there are besides. None: no moment to look was found."""
    for _ in range(_TRIES):
        # While it is held nobody begins a file, so none has been made that its writer has not locked yet.
        with locked(folder, OPENING_LOCK) as mine:
            if mine:
                segments = list_segments(folder)
                growing = {path for path in last_of_each(segments) if has_writer(path)}
                return [each for each in segments if each.path not in growing], len(growing)
        pause(PAUSE_S)
    return None


def _sizes_by_guild(path: Path) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for line in _lines(path):
        sizes[guild_of(line)] += len(line)
    return sizes


def _lines(path: Path) -> list[bytes]:
    """Whole lines, with their newlines. What else there is (the power failed, the disk was full) is not kept."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.startswith(LINE_BEGINS) and line.endswith(b"\n")]


@dataclass(slots=True)
class _Keeper:
    """Writes what is kept of old files, and removes them when that is on the disk."""

    folder: Path
    limits: TraceLimits
    owner: str = field(init=False)
    number: int = 0
    text: list[bytes] = field(default_factory=list)
    size: int = 0
    written_ns: int = 0  # of the newest file in it: keeps its place in the order
    sources: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owner = KEPT + owner_name("")
        for left in self.folder.glob(f"{_TEMPORARY}*"):  # of one that was cut off
            left.unlink(missing_ok=True)

    def take(self, segment: Segment, owed: dict[str, int]) -> None:
        lines = [line for line in _lines(segment.path) if not owes(owed, guild_of(line), len(line))]
        size = sum(map(len, lines))
        if self.size + size > self.limits.segment_bytes:
            self.finish()
        self.text += lines
        self.size += size
        self.written_ns = max(self.written_ns, segment.written_ns)
        self.sources.append(segment.path)

    def finish(self) -> None:
        if self.text:
            self._keep()
        for path in self.sources:
            path.unlink(missing_ok=True)
        self.text, self.sources, self.size, self.written_ns = [], [], 0, 0

    def _keep(self) -> None:
        temporary = self.folder / f"{_TEMPORARY}-{self.owner}"
        temporary.write_bytes(b"".join(self.text))
        temporary.chmod(0o600)
        os.utime(temporary, ns=(self.written_ns, self.written_ns))
        temporary.replace(segment_path(self.folder, self.owner, self.number))
        self.number += 1
