"""Guilds' last log lines in memory, before the files of `storage/guild_logs.py`. Pure, but for those."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from flora.messages.logs import EVERY_LINE, LogFilter
from flora.storage.guild_logs import Line, LogFiles

RING_LINES = 1000
RING_BYTES = 512 * 1024
MAX_BYTES = 64 * 1024 * 1024  # of all rings; the one longest without a line goes first, its lines stay on disk
LINE_OVERHEAD_BYTES = 400  # what an entry costs beside its text

Entry = dict[str, Any]
"""A line as readers see it: "id", "timestamp", "level", "target", "guild_id" or None, "message"."""


@dataclass(slots=True)
class Ring:
    """One guild's last lines."""

    entries: deque[Entry] = field(default_factory=deque)
    used_bytes: int = 0

    def add(self, entry: Entry) -> int:
        """Adds a line; by how many bytes the ring grew."""
        before = self.used_bytes
        self.entries.append(entry)
        self.used_bytes += _bytes_of(entry)
        while len(self.entries) > RING_LINES or (self.used_bytes > RING_BYTES and len(self.entries) > 1):
            self.used_bytes -= _bytes_of(self.entries.popleft())
        return self.used_bytes - before


def _bytes_of(entry: Entry) -> int:
    return len(entry["message"]) + LINE_OVERHEAD_BYTES


class LogRings:
    """All rings."""

    def __init__(self, files: LogFiles | None = None) -> None:
        """Without `files` there is nothing but memory."""
        self._files = files
        self._rings: dict[str, Ring] = {}
        self._latest: deque[Entry] = deque(maxlen=RING_LINES)  # of all guilds, since this log book began
        self._bytes = 0
        earlier = 0 if files is None else files.last_id
        self._last_id = max(time.time_ns() // 1000, earlier)  # above every id of an earlier life: readers resume by id

    def add_all(self, lines: Iterable[tuple[int, str, str, str, str]]) -> list[Entry]:
        """Stores lines (timestamp_ms, level, target, guild id, message) and gives them as readers see them."""
        by_guild: dict[str, list[Line]] = {}
        entries = []
        for timestamp_ms, level, target, guild_id, message in lines:
            self._last_id += 1
            by_guild.setdefault(guild_id, []).append((self._last_id, timestamp_ms, level, target, message))
            entries.append(_entry(by_guild[guild_id][-1], guild_id))
            self._remember(guild_id, entries[-1])
        if self._files is not None:
            for guild_id, rows in by_guild.items():
                self._files.append(guild_id, rows)
        return entries

    def _remember(self, guild_id: str, entry: Entry) -> None:
        ring = self._rings.pop(guild_id, None) or Ring()
        self._rings[guild_id] = ring  # last in the dict: most recently used
        self._bytes += ring.add(entry)
        self._latest.append(entry)
        while self._bytes > MAX_BYTES and len(self._rings) > 1:
            self._bytes -= self._rings.pop(next(iter(self._rings))).used_bytes

    def read(self, guild_id: str | None, limit: int, wanted: LogFilter = EVERY_LINE) -> list[Entry]:
        """The last `limit` lines (at most 1,000) that the filter lets through, oldest first.

        Args:
            guild_id: "" for lines of no guild, None for all guilds' since the log book began.
        """
        limit = min(limit, RING_LINES)
        if limit <= 0:
            return []
        if guild_id is None:
            return [entry for entry in self._latest if wanted.admits(entry)][-limit:]
        ring = self._rings.get(guild_id)
        entries = ring.entries if ring is not None else ()
        found = [entry for entry in reversed(entries) if wanted.admits(entry)][:limit]
        if len(found) < limit and self._files is not None:
            found += self._older(guild_id, entries[0]["id"] if entries else None, limit - len(found), wanted)
        return found[::-1]

    def _older(self, guild_id: str, before_id: int | None, limit: int, wanted: LogFilter) -> list[Entry]:
        """Newest first, from disk; what is in memory begins with `before_id`."""
        assert self._files is not None
        found: list[Entry] = []
        for line in takewhile(lambda each: each[0] > wanted.after_id, self._files.newest_first(guild_id)):
            if before_id is not None and line[0] >= before_id:
                continue
            entry = _entry(line, guild_id)
            if wanted.admits(entry):
                found.append(entry)
                if len(found) == limit:
                    break
        return found


def _entry(line: Line, guild_id: str) -> Entry:
    number, timestamp_ms, level, target, message = line
    return {
        "id": number,
        "timestamp": timestamp_ms,
        "level": level,
        "target": target,
        "guild_id": guild_id or None,
        "message": message,
    }
