"""The log book: what guild scripts print and what the runtime tells their authors, per guild.

Each guild has a ring in memory and files on disk of its own, so that a noisy guild evicts only its own lines.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from flora.actors.base import FloraActor
from flora.actors.log_rings import RING_LINES, Entry, LogRings
from flora.messages.base import Address
from flora.messages.lifecycle import Start
from flora.messages.logs import LEVELS, FollowLogs, LogAck, LogFilter, LogFrame, LogLines, ReadLogs, StopFollowing
from flora.messages.metrics import OTHER
from flora.messages.series import alone, counted
from flora.storage.guild_logs import LogFiles


@dataclass(slots=True)
class Follower:
    """A live reader."""

    address: Address
    guild_id: str | None  # None: all guilds
    wanted: LogFilter

    def wants(self, entry: Entry) -> bool:
        """Whether this line is for it."""
        return self.guild_id in (None, entry["guild_id"] or "") and self.wanted.admits(entry)


class LogBook(FloraActor):
    """Keeps guild logs and tells live readers.

    Receives   LogFrame (workers, router, deployer), ReadLogs, FollowLogs, StopFollowing (front-end)
    Sends      LogAck (senders); Ok, LogLines (front-end)
    State      lines, in memory and below `data_dir/logs`; followers, which come again after its death
    Fails      dies: senders repeat what was not acknowledged. A line that was written just then may be there twice.
               The disk is full: lines stay in memory only, and the process log says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: LogFiles
        self._rings: LogRings
        self._followers: dict[str, Follower] = {}
        self._lines = dict.fromkeys((*LEVELS, OTHER), 0)  # taken in, by level
        self._lost = 0  # on their way here

    def on_start(self, msg: Start) -> None:
        logs = msg.settings.logs
        files = LogFiles(msg.settings.data_dir / "logs", logs.max_guild_kb << 10, logs.max_total_mb << 20)
        self._files, self._rings = files, LogRings(files)
        self._epoch = self.incarnation
        self._last_frame: dict[str, int] = {}

    def receiveMsg_LogFrame(self, msg: LogFrame, sender: Address) -> None:
        """Stores the lines once, however often the frame comes."""
        if msg.number > self._last_frame.get(msg.epoch, 0):
            self._last_frame[msg.epoch] = msg.number
            for level, count in Counter(line[1] for line in msg.lines).items():
                self._lines[level if level in self._lines else OTHER] += count
            self._lost += sum(count for _, count in msg.dropped)
            self._publish(self._rings.add_all(self._with_notices(msg)))
        self.send(sender, LogAck(number=0, ack=msg.number, epoch=self._epoch))

    @staticmethod
    def _with_notices(msg: LogFrame) -> Iterable[tuple[int, str, str, str, str]]:
        yield from msg.lines
        now_ms = msg.lines[-1][0] if msg.lines else 0
        for guild_id, count in msg.dropped:
            yield now_ms, "warn", "flora:runtime", guild_id, f"{count} log lines were dropped: too many at once"

    def _publish(self, entries: list[Entry]) -> None:
        for subscription, follower in self._followers.items():
            mine = tuple(entry for entry in entries if follower.wants(entry))
            if mine:
                self.send(follower.address, LogLines(subscription=subscription, lines=mine))

    def receiveMsg_ReadLogs(self, msg: ReadLogs, sender: Address) -> None:
        """Answers with the guild's last lines."""
        self.reply_ok(msg, sender, self._rings.read(msg.guild_id, msg.limit, msg.wanted))

    def receiveMsg_FollowLogs(self, msg: FollowLogs, sender: Address) -> None:
        """Starts a live stream, with what is kept after `after_id` first."""
        subscription = secrets.token_hex(8)
        self._followers[subscription] = Follower(msg.reply_to or sender, msg.guild_id, msg.wanted)
        self.reply_ok(msg, sender, {"subscription": subscription})
        if msg.after_id is not None:
            missed = self._rings.read(msg.guild_id, RING_LINES, replace(msg.wanted, after_id=msg.after_id))
            if missed:
                self.send(msg.reply_to or sender, LogLines(subscription=subscription, lines=tuple(missed)))

    def receiveMsg_StopFollowing(self, msg: StopFollowing, sender: Address) -> None:
        """Ends a live stream."""
        self._followers.pop(msg.subscription, None)

    def metrics(self) -> dict[str, Any]:
        series = {
            "log_lines": counted(self._lines),
            "log_lines_lost": alone(self._lost),
            "log_write_failures": alone(self._files.lost_lines),
            "log_followers": alone(len(self._followers)),
        }
        return {"series": series}

    def on_poison(self, message: object, sender: Address) -> None:
        """A reader that is gone stops reading."""
        if isinstance(message, LogLines):
            self._followers.pop(message.subscription, None)
