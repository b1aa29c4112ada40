"""A gateway session: what one IDENTIFY asked for, its sequence numbers and what a RESUME can replay.

No I/O: a session hands encoded payloads to whatever link it currently has.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from typing import Protocol

from flora.http.simulator.intents import Intent, needed_for


class Link(Protocol):
    """The way to a client. Both are called on the loop's thread and never wait."""

    def queue(self, payload: bytes) -> None:
        """Sends one JSON payload, after those queued before."""

    def close(self, code: int, reason: str) -> None:
        """Sends what is queued, then closes."""


class Session:
    """One session, with or without a connection.

    Args:
        intents: As identified.
        shard: `(shard id, number of shards)`.
        replay_limit: Dispatches kept for a resume; older ones make it impossible.
    """

    def __init__(self, intents: int, shard: tuple[int, int], replay_limit: int) -> None:
        self.id = secrets.token_hex(16)
        self.intents = intents
        self.reads_content = bool(intents & Intent.MESSAGE_CONTENT)
        self.shard = shard
        self.sequence = 0
        self.link: Link | None = None
        self.lost_at: float | None = None  # time.monotonic() when the connection went; None while there is one
        self.frozen = False
        self._replay: deque[bytes] = deque(maxlen=replay_limit)

    def wants(self, event: str, guild_id: str | None) -> bool:
        """Whether its intents and its shard cover an event."""
        needed = needed_for(event)
        return (not needed or self.intents & needed != 0) and self.covers(guild_id)

    def covers(self, guild_id: str | None) -> bool:
        """Whether a guild is on its shard; what has no guild is on the first."""
        shard_id, shards = self.shard
        if guild_id is None:
            return shard_id == 0
        return shards == 1 or (int(guild_id) >> 22) % shards == shard_id

    def dispatch(self, event: str, body: bytes) -> None:
        """Numbers an event, keeps it for a resume and sends it.

        Args:
            body: The encoded `d`.
        """
        self.sequence += 1
        payload = b'{"t":"%b","s":%d,"op":0,"d":%b}' % (event.encode(), self.sequence, body)
        self._replay.append(payload)
        if self.link is not None and not self.frozen:
            self.link.queue(payload)

    def can_resume_from(self, sequence: int) -> bool:
        """Whether everything after `sequence` is still known."""
        return self.sequence - len(self._replay) <= sequence <= self.sequence

    def resume(self, link: Link, sequence: int) -> int:
        """Takes a new connection and sends what it missed.

        Returns:
            Number of replayed dispatches.
        """
        missed = self.sequence - sequence
        self.attach(link)
        for payload in list(self._replay)[len(self._replay) - missed :]:
            link.queue(payload)
        return missed

    def attach(self, link: Link) -> None:
        """Takes a connection; an older one is closed."""
        if self.link is not None:
            self.link.close(4005, "Already authenticated elsewhere.")
        self.link = link
        self.lost_at = None
        self.frozen = False

    def detach(self, link: Link) -> None:
        """Notes that a connection went. Has no effect if another took its place."""
        if self.link is link:
            self.link = None
            self.lost_at = time.monotonic()
