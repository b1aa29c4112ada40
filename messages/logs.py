"""Anybody → log book: LogFrame (acknowledged by an empty LogAck). Front-end → log book: ReadLogs, FollowLogs → LogLines …"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flora.messages.base import Frame, Message, Request
from flora.messages.ids import GuildId

LEVELS = ("trace", "debug", "info", "warn", "error")
SOURCES = {"script": "flora:js", "runtime": "flora:runtime"}
MAX_MESSAGE_CHARS = 16_384  # of one line; the rest is cut off, and the line says so


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which lines a reader wants."""

    level: str | None = None  # this level and above
    since_ms: int | None = None  # from this moment on, and before the next one; Unix milliseconds
    until_ms: int | None = None
    text: str | None = None  # somewhere in the message, whatever its case
    source: str | None = None  # a key of SOURCES
    after_id: int = 0  # newer than that line
    before_id: int | None = None  # older than that line

    def admits(self, entry: Mapping[str, Any]) -> bool:
        """Whether this is such a line, given as in ReadLogs."""
        return (
            entry["id"] > self.after_id
            and (self.before_id is None or entry["id"] < self.before_id)
            and (self.level is None or LEVELS.index(entry["level"]) >= LEVELS.index(self.level))
            and (self.source is None or entry["target"] == SOURCES[self.source])
            and (self.since_ms is None or entry["timestamp"] >= self.since_ms)
            and (self.until_ms is None or entry["timestamp"] < self.until_ms)
            and (self.text is None or self.text.casefold() in entry["message"].casefold())
        )


EVERY_LINE = LogFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFrame(Frame):
    """Log lines: (timestamp_ms, level, target, guild_id or "", message).

    level: trace | debug | info | warn | error. target: "flora:js" for script output, "flora:runtime" for ours.
    """

    lines: tuple[tuple[int, str, str, str, str], ...]
    dropped: tuple[tuple[str, int], ...] = ()  # (guild_id, lines the sender had to drop since its last frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAck(Frame):
    """Log book → sender; carries nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLogs(Request):
    """Ok.value: [{"id", "timestamp", "level", "target", "guild_id", "message"}, …], oldest first, at most `limit` (0…1000).

    guild_id: None for all guilds' lines since the log book began.
    """

    guild_id: GuildId | None
    limit: int = 100
    wanted: LogFilter = EVERY_LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLogs(Request):
    """Ok.value: {"subscription": str}; from then on LogLines to the sender until StopFollowing or the sender's death."""

    guild_id: GuildId | None  # None: of all guilds
    after_id: int | None = None  # first what is kept after this id, at most 1,000 lines
    wanted: LogFilter = EVERY_LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFollowing(Message):
    """Ends a subscription; an unknown one is ignored."""

    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLines(Message):
    """Live lines of one subscription, as in ReadLogs; `lost` counts lines this subscriber missed before them."""

    subscription: str
    lines: tuple[dict[str, object], ...]
    lost: int = 0
