"""The sending end of guild logs, for every actor that has something to tell a guild's author."""

from __future__ import annotations

import time

from flora.actors.link import Link
from flora.messages.base import Address
from flora.messages.logs import MAX_MESSAGE_CHARS, LogAck, LogFrame

MAX_WAITING_LINES = 10_000  # while the log book is away or slow; more are dropped and counted per guild
MAX_FRAME_LINES = 500

LogRow = tuple[int, str, str, str, str]


class LogSender:
    """Collects lines and turns them into frames for the log book."""

    def __init__(self, epoch: str) -> None:
        self._link: Link[LogRow] = Link(epoch, MAX_FRAME_LINES)
        self._dropped: dict[str, int] = {}
        self._dropped_sent: tuple[tuple[str, int], ...] = ()  # with the frame that is under way

    def line(self, level: str, guild_id: str, message: str, target: str = "flora:runtime") -> None:
        """Adds a line. level: trace | debug | info | warn | error."""
        if len(self._link) >= MAX_WAITING_LINES:
            self._dropped[guild_id] = self._dropped.get(guild_id, 0) + 1
            return
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"{message[:MAX_MESSAGE_CHARS]} … ({len(message) - MAX_MESSAGE_CHARS} more characters)"
        self._link.offer((time.time_ns() // 1_000_000, level, target, guild_id, message))

    def poll(self) -> LogFrame | None:
        """The frame to send to the log book now, if any."""
        batch = self._link.poll()
        if batch is None:
            return None
        self._dropped_sent, self._dropped = tuple(self._dropped.items()), {}
        return LogFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self._link.epoch,
            lines=tuple(batch.rows),
            dropped=self._dropped_sent,
        )

    def acknowledged(self, ack: LogAck) -> None:
        """Takes note of the log book's acknowledgement."""
        self._link.receive(ack)

    def moved(self, log_book: Address | None) -> LogFrame | None:
        """The log book was restarted: what it had not acknowledged goes again."""
        batch = self._link.resend() if log_book is not None else None
        if batch is None:
            return None
        return LogFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self._link.epoch,
            lines=tuple(batch.rows),
            dropped=self._dropped_sent,
        )
