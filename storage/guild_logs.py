"""Guilds' log lines on disk: bounded per guild and altogether, readable after any death of the process.

Per guild two files below one folder, `<guild id>.log` and the older `<guild id>.log.1`, one JSON array per line:
`[id, timestamp in ms, level, target, message]`. When the first is full it becomes the second. Lines are in the page cache when `append`
returns, so a killed process loses none; a torn last line (the machine went down) is skipped by readers.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)

NO_GUILD = "none"  # the file of lines that belong to no guild
COMPLAIN_EVERY_S = 60.0
_SUFFIX, _OLDER_SUFFIX = ".log", ".log.1"

Line = tuple[int, int, str, str, str]
"""(id, timestamp in ms, level, target, message)"""


@dataclass(slots=True)
class _Sizes:
    current: int = 0
    older: int = 0
    seen: bool = False  # its last byte has been looked at in this life

    @property
    def total(self) -> int:
        return self.current + self.older


class LogFiles:
    """All files. One thread; one process per folder."""

    def __init__(self, folder: Path, guild_bytes: int, total_bytes: int) -> None:
        """Opens a folder, or makes it.

        Args:
            guild_bytes: Most that one guild's two files hold.
            total_bytes: Most that all hold. Over it the largest guild loses its oldest lines first, so that many quiet
                guilds are not pushed out by a few loud ones.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._half_bytes = max(1, guild_bytes // 2)
        self._total_bytes = total_bytes
        self._sizes: dict[str, _Sizes] = {}
        self._complain_at_s = 0.0
        self.lost_lines = 0  # that could not be written
        newest: tuple[float, Path] | None = None
        for entry in os.scandir(folder):
            name, found, older = entry.name.partition(_SUFFIX)
            if not found or older not in {"", ".1"}:
                continue
            facts = entry.stat()
            sizes = self._sizes.setdefault(name, _Sizes())
            if older:
                sizes.older = facts.st_size
            else:
                sizes.current = facts.st_size
                newest = max(newest or (0.0, folder), (facts.st_mtime, Path(entry.path)))
        self._bytes = sum(sizes.total for sizes in self._sizes.values())
        self.last_id = 0 if newest is None else max((line[0] for line in _lines_of(newest[1])), default=0)

    @property
    def stored_bytes(self) -> int:
        """Of all files."""
        return self._bytes

    def append(self, guild_id: str, lines: Iterable[Line]) -> None:
        """Adds lines of one guild. What the disk refuses is counted in `lost_lines` and told in the process log."""
        rows = [_row(line) for line in lines]
        text = b"\n".join(rows) + b"\n"
        name = _name_of(guild_id)
        sizes = self._sizes.setdefault(name, _Sizes())
        try:
            if sizes.current and sizes.current + len(text) > self._half_bytes:
                self._turn_over(name, sizes)
            written = self._write(self._path(name), text, look=not sizes.seen)
        except OSError as error:
            self.lost_lines += len(rows)
            self._complain(error)
            return
        sizes.seen = True
        sizes.current += written
        self._bytes += written
        while self._bytes > self._total_bytes and self._shrink_largest():
            pass

    def _write(self, path: Path, text: bytes, *, look: bool) -> int:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if look and (size := os.fstat(fd).st_size) and os.pread(fd, 1, size - 1) != b"\n":
                text = b"\n" + text
            done = 0
            while done < len(text):
                done += os.write(fd, text[done:])
            return done
        finally:
            os.close(fd)

    def _turn_over(self, name: str, sizes: _Sizes) -> None:
        self._path(name).replace(self._path(name, older=True))
        self._bytes -= sizes.older
        sizes.older, sizes.current = sizes.current, 0

    def _shrink_largest(self) -> bool:
        name = max(self._sizes, key=lambda each: self._sizes[each].total, default=None)
        if name is None or not self._sizes[name].total:
            return False
        sizes = self._sizes[name]
        older = bool(sizes.older)
        self._path(name, older=older).unlink(missing_ok=True)
        if older:
            self._bytes -= sizes.older
            sizes.older = 0
        else:
            self._bytes -= sizes.current
            sizes.current = 0
        return True

    def _complain(self, error: OSError) -> None:
        now_s = time.monotonic()
        if now_s >= self._complain_at_s:
            self._complain_at_s = now_s + COMPLAIN_EVERY_S
            log.error("guild logs cannot be written: %s", error, extra={"action": "log_lost", "lines": self.lost_lines})

    def newest_first(self, guild_id: str) -> Iterator[Line]:
        """Every line of a guild that is kept, the last one first."""
        name = _name_of(guild_id)
        sizes = self._sizes.get(name)
        if sizes is not None:
            yield from reversed(_lines_of(self._path(name)))
            if sizes.older:
                yield from reversed(_lines_of(self._path(name, older=True)))

    def _path(self, name: str, *, older: bool = False) -> Path:
        return self._folder / f"{name}{_OLDER_SUFFIX if older else _SUFFIX}"


def _name_of(guild_id: str) -> str:
    return guild_id if guild_id.isascii() and guild_id.isdecimal() else NO_GUILD


def _row(line: Line) -> bytes:
    try:
        return orjson.dumps(line)
    except TypeError:  # half a character, which no file can hold
        *facts, message = line
        return orjson.dumps((*facts, message.encode(errors="replace").decode()))


def _lines_of(path: Path) -> list[Line]:
    try:
        rows = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [line for row in rows if (line := _line(row)) is not None]


def _line(row: bytes) -> Line | None:
    if not row:
        return None
    try:
        found: Any = orjson.loads(row)
        number, timestamp_ms, level, target, message = found
    except (ValueError, TypeError):
        return None  # torn, or written by somebody else
    return number, timestamp_ms, level, target, message
