"""The log book: what guild scripts print and what the runtime tells their authors, per guild.

Rings live in memory, one per guild, so that a noisy guild evicts only its own lines. Files come with the trace work.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flora.actors.base import FloraActor
from flora.messages.base import Address
from flora.messages.lifecycle import Start
from flora.messages.logs import FollowLogs, LogAck, LogFrame, LogLines, ReadLogs, StopFollowing

RING_LINES = 1000
MAX_GUILDS = 20_000  # rings kept; the one longest without a line goes first
LEVELS = ("trace", "debug", "info", "warn", "error")


@dataclass(slots=True)
class Ring:
    """One guild's last lines."""

    lines: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RING_LINES))
    dropped: int = 0


class LogRings:
    """All rings. Pure."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}
        self._last_id = time.time_ns() // 1000  # above every id of an earlier life: readers resume by id

    def add(self, timestamp_ms: int, level: str, target: str, guild_id: str, message: str) -> dict[str, Any]:
        """Stores a line and gives it as readers see it."""
        self._last_id += 1
        entry = {
            "id": self._last_id,
            "timestamp": timestamp_ms,
            "level": level,
            "target": target,
            "guild_id": guild_id or None,
            "message": message,
        }
        ring = self._rings.pop(guild_id, None) or Ring()
        self._rings[guild_id] = ring  # last in the dict: most recently used
        ring.lines.append(entry)
        if len(self._rings) > MAX_GUILDS:
            del self._rings[next(iter(self._rings))]
        return entry

    def read(self, guild_id: str, limit: int, level: str | None = None, after_id: int = 0) -> list[dict[str, Any]]:
        """The last `limit` lines (at most 1,000) of a level or above, oldest first."""
        ring = self._rings.get(guild_id)
        if ring is None or limit <= 0:
            return []
        lowest = LEVELS.index(level) if level in LEVELS else 0
        found = [e for e in ring.lines if e["id"] > after_id and LEVELS.index(e["level"]) >= lowest]
        return found[-min(limit, RING_LINES) :]


@dataclass(slots=True)
class Follower:
    """A live reader."""

    address: Address
    guild_id: str


class LogBook(FloraActor):
    """Keeps guild logs and tells live readers.

    Receives   LogFrame (workers, router, deployer), ReadLogs, FollowLogs, StopFollowing (front-end)
    Sends      LogAck (senders); Ok, LogLines (front-end)
    State      rings and followers, memory only
    """

    def __init__(self) -> None:
        super().__init__()
        self._rings = LogRings()
        self._followers: dict[str, Follower] = {}

    def on_start(self, msg: Start) -> None:
        self._epoch = self.incarnation
        self._last_frame: dict[str, int] = {}

    def receiveMsg_LogFrame(self, msg: LogFrame, sender: Address) -> None:
        """Stores the lines once, however often the frame comes."""
        if msg.number > self._last_frame.get(msg.epoch, 0):
            self._last_frame[msg.epoch] = msg.number
            self._publish([self._rings.add(*line) for line in self._with_notices(msg)])
        self.send(sender, LogAck(number=0, ack=msg.number, epoch=self._epoch))

    @staticmethod
    def _with_notices(msg: LogFrame) -> Iterable[tuple[int, str, str, str, str]]:
        yield from msg.lines
        now_ms = msg.lines[-1][0] if msg.lines else 0
        for guild_id, count in msg.dropped:
            yield now_ms, "warn", "flora:runtime", guild_id, f"{count} log lines were dropped: too many at once"

    def _publish(self, entries: list[dict[str, Any]]) -> None:
        for subscription, follower in self._followers.items():
            mine = tuple(entry for entry in entries if entry["guild_id"] == follower.guild_id)
            if mine:
                self.send(follower.address, LogLines(subscription=subscription, lines=mine))

    def receiveMsg_ReadLogs(self, msg: ReadLogs, sender: Address) -> None:
        """Answers with the guild's last lines."""
        self.reply_ok(msg, sender, self._rings.read(msg.guild_id, msg.limit, msg.level))

    def receiveMsg_FollowLogs(self, msg: FollowLogs, sender: Address) -> None:
        """Starts a live stream, with what the ring still has after `after_id` first."""
        subscription = secrets.token_hex(8)
        self._followers[subscription] = Follower(msg.reply_to or sender, msg.guild_id)
        self.reply_ok(msg, sender, {"subscription": subscription})
        if msg.after_id is not None:
            missed = self._rings.read(msg.guild_id, RING_LINES, after_id=msg.after_id)
            if missed:
                self.send(msg.reply_to or sender, LogLines(subscription=subscription, lines=tuple(missed)))

    def receiveMsg_StopFollowing(self, msg: StopFollowing, sender: Address) -> None:
        """Ends a live stream."""
        self._followers.pop(msg.subscription, None)

    def on_poison(self, message: object, sender: Address) -> None:
        """A reader that is gone stops reading."""
        if isinstance(message, LogLines):
            self._followers.pop(message.subscription, None)
