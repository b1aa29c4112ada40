"""Live log lines, from the log book to any number of readers.

    LogLines (log book) ──► LogStreams.deliver ──► LogStream, one per reader: a bounded queue ──► its HTTP response

Delivering never waits: a reader that is behind loses its oldest lines and is told how many. When the log book is
restarted its subscriptions are gone; all streams end then, and readers come back with the id of their last line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from flora.http.errors import too_many
from flora.http.limits import HttpLimits
from flora.http.peers import PeerBook
from flora.messages.ids import GuildId, ReqId
from flora.messages.logs import EVERY_LINE, FollowLogs, LogFilter, LogLines, StopFollowing

LogEntry = Mapping[str, Any]
BATCH_LINES = 100  # written to a reader at once
EARLY_SUBSCRIPTIONS = 64  # more than this many nameless ones are not streams being opened, but left-overs
EARLY_FRAMES = 16  # kept for each; the reply that names it is one hop behind


class LogBatch(NamedTuple):
    """What a reader gets next: lines in order, and how many it missed before them. Both empty: nothing happened."""

    lines: Sequence[LogEntry]
    lost: int


class LogStream:
    """One reader's queue. Use as `async with`; it ends its subscription on the way out."""

    def __init__(self, owner: LogStreams, subscription: str, max_lines: int) -> None:
        self._owner = owner
        self._max_lines = max_lines
        self._lines: deque[LogEntry] = deque()
        self._lost = 0
        self._news = asyncio.Event()
        self.subscription = subscription
        self.ended = False

    def feed(self, lines: Sequence[LogEntry], lost: int) -> None:
        """Adds lines; over the limit the oldest go and are counted."""
        self._lines.extend(lines)
        while len(self._lines) > self._max_lines:
            self._lines.popleft()
            lost += 1
        self._lost += lost
        self._owner.lines_skipped += lost
        self._news.set()

    def end(self) -> None:
        """No more lines will come; what is queued is still handed out."""
        self.ended = True
        self._news.set()

    async def take(self, wait_s: float) -> LogBatch | None:
        """The next lines, as soon as there are some; an empty batch after `wait_s` of silence; None at the end."""
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return LogBatch((), 0)
        lines = [self._lines.popleft() for _ in range(min(len(self._lines), BATCH_LINES))]
        lost, self._lost = self._lost, 0
        if not self._lines and not self.ended:
            self._news.clear()
        if not lines and not lost and self.ended:
            return None
        return LogBatch(lines, lost)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._owner.forget(self)


class LogStreams:
    """All readers of this server. Used on the server's asyncio loop only."""

    def __init__(self, peers: PeerBook, limits: HttpLimits | None = None) -> None:
        self._peers = peers
        self._limits = limits or HttpLimits()
        self._streams: dict[str, LogStream] = {}
        self._opening = 0
        self.lines_skipped = 0  # by readers that were too slow
        self._early: dict[str, deque[LogLines]] = {}  # lines that overtook the reply which names their subscription

    async def follow(self, guild_id: GuildId | None, after_id: int | None, wanted: LogFilter = EVERY_LINE) -> LogStream:
        """Opens a stream of a guild's lines, or all guilds': those still kept after `after_id`, then live ones.

        Raises:
            MailboxFull: too many streams are open.
            FloraError: the log book cannot be reached.
        """
        if len(self._streams) + self._opening >= self._limits.streams:
            raise too_many("too many log streams are open; close one or try again later", limit=self._limits.streams)
        self._opening += 1
        try:
            request = FollowLogs(req_id=ReqId(""), guild_id=guild_id, after_id=after_id, wanted=wanted)
            answer = await self._peers.ask("log_book", request, self._limits.peer_s)
            return self._opened(answer["subscription"])
        finally:
            self._opening -= 1
            if not self._opening:
                self._disown(self._early)
                self._early = {}

    def _opened(self, subscription: str) -> LogStream:
        stream = LogStream(self, subscription, self._limits.stream_lines)
        self._streams[subscription] = stream
        for early in self._early.pop(subscription, ()):
            stream.feed(early.lines, early.lost)
        return stream

    def deliver(self, message: LogLines) -> None:
        """Takes lines from the log book. Never waits."""
        stream = self._streams.get(message.subscription)
        if stream is not None:
            stream.feed(message.lines, message.lost)
        elif self._opening:
            self._early.setdefault(message.subscription, deque(maxlen=EARLY_FRAMES)).append(message)
            if len(self._early) > EARLY_SUBSCRIPTIONS:
                oldest = next(iter(self._early))
                del self._early[oldest]
                self._disown([oldest])
        else:
            self._disown([message.subscription])  # its reader went away before it was named

    def end_all(self) -> None:
        """The log book or this server goes away: every stream ends after what it has queued."""
        for stream in self._streams.values():
            stream.end()

    def forget(self, stream: LogStream) -> None:
        """A reader is gone."""
        if self._streams.pop(stream.subscription, None) is not None:
            self._disown([stream.subscription])

    def __len__(self) -> int:
        return len(self._streams)

    def _disown(self, subscriptions: Sequence[str] | Mapping[str, object]) -> None:
        for subscription in subscriptions:
            self._peers.tell("log_book", StopFollowing(subscription=subscription))
