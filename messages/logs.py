"""Anybody → log book: LogFrame (acknowledged by an empty LogAck). Front-end → log book: ReadLogs, FollowLogs → LogLines …"""

from __future__ import annotations

from dataclasses import dataclass

from flora.messages.base import Frame, Message, Request
from flora.messages.ids import GuildId


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
    """Ok.value: [{"id", "timestamp", "level", "target", "guild_id", "message"}, …], oldest first, at most `limit` (0…1000)."""

    guild_id: GuildId
    limit: int = 100
    level: str | None = None  # this level and above


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLogs(Request):
    """Ok.value: {"subscription": str}; from then on LogLines to the sender until StopFollowing or the sender's death."""

    guild_id: GuildId
    after_id: int | None = None  # replay what is still in the ring after this id


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
