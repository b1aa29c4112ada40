"""Between the websocket and the router: what guilds subscribed to, and a bounded queue of encoded events."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from flora.actors.discord.payloads import DROPPABLE, PAYLOADS
from flora.messages.gateway import EVERYTHING, Position

log = logging.getLogger(__name__)

Row = tuple[str, str, str, int, Position]
"""(guild id, script event name, payload as JSON text, µs since 1970 when it was read, the dispatch it comes from)."""

MAX_BACKLOG = 50_000
"""Events that may wait for the router, ~40 MB; from here on messages are shed."""
HEADROOM = 10_000
"""More of the events that cannot be shed, such as interactions; past that nothing is taken."""


class Reached:
    """Where in Discord's streams we are. Written on the loop, read on the actor's thread."""

    def __init__(self) -> None:
        self.current: Position = (0, "", 0)  # the dispatch that is being handled
        self.handled: dict[int, Position] = {}  # per shard the last one whose events, if any, are in the queue

    def begin(self, shard_id: int, session_id: str, sequence: int) -> None:
        """A dispatch is going to be handled."""
        self.current = (shard_id, session_id, sequence)

    def end(self) -> None:
        """It has been handled."""
        self.handled[self.current[0]] = self.current


class EventSink:
    """Filled on the loop, emptied on the actor's thread: the queue is a deque, whose ends are thread-safe."""

    def __init__(
        self,
        wake: Callable[[], None],
        reached: Reached | None = None,
        *,
        max_backlog: int = MAX_BACKLOG,
        headroom: int = HEADROOM,
    ) -> None:
        """Makes an empty sink that nobody subscribed to.

        Args:
            wake: Called on the loop when the first event after `take` was queued.
            reached: Says which dispatch is being handled; None: nobody asks.
            max_backlog: Waiting events from which on `DROPPABLE` ones are shed.
            headroom: More events than that are never queued.
        """
        self.counts: Counter[str] = Counter()  # accepted, no_guild, not_wanted, shed, malformed
        self.reached = reached or Reached()
        self.on_shed: Callable[[str, str], None] = lambda guild_id, name: None  # on the loop
        self._wake = wake
        self._max_backlog = max_backlog
        self._ceiling = max_backlog + headroom
        self._rows: deque[Row] = deque()
        self._wanted: dict[str, set[str]] = {name: set() for name in PAYLOADS}
        self._awake = False
        self._shedding = False
        self._open = True

    def __len__(self) -> int:
        return len(self._rows)

    def subscribe(self, subscriptions: Iterable[tuple[str, Iterable[str]]], *, replaces_all: bool = False) -> None:
        """Notes which script events which guilds handle. On the loop.

        Args:
            subscriptions: (guild id, all its event names); no names: the guild has no isolate any more.
            replaces_all: Guilds not named are forgotten.
        """
        if replaces_all:
            for guilds in self._wanted.values():
                guilds.clear()
        for guild_id, names in subscriptions:
            chosen = set(names)
            everything = EVERYTHING in chosen
            for name, guilds in self._wanted.items():
                if everything or name in chosen:
                    guilds.add(guild_id)
                else:
                    guilds.discard(guild_id)

    def close(self) -> None:
        """Takes nothing new; what is queued can still be taken."""
        self._open = False

    def offer(self, name: str, raw: dict[str, Any]) -> None:
        """One dispatch, not mapped yet. On the loop, in gateway order.

        Args:
            name: Script event name.
            raw: Discord's data.
        """
        guild_id = raw.get("guild_id")
        if guild_id is None:
            self.counts["no_guild"] += 1
        elif guild_id not in self._wanted[name]:
            self.counts["not_wanted"] += 1
        elif len(self._rows) >= self._max_backlog and (name in DROPPABLE or len(self._rows) >= self._ceiling):
            self._shed(guild_id, name)
        else:
            self.push(guild_id, name, raw)

    def _shed(self, guild_id: str, name: str) -> None:
        self.counts["shed"] += 1
        self.on_shed(guild_id, name)
        if not self._shedding:
            self._shedding = True
            log.warning("events are shed: the router is behind", extra={"action": "events_shed", "event": name})

    def push(self, guild_id: str, name: str, raw: dict[str, Any]) -> None:
        """Maps, encodes and queues one dispatch whoever wants it. On the loop."""
        if not self._open:
            self.counts["shed"] += 1
            return
        received_us = time.time_ns() // 1000
        try:
            payload = orjson.dumps(PAYLOADS[name](raw)).decode()
        except (KeyError, TypeError, ValueError):
            self.counts["malformed"] += 1
            return
        self._rows.append((guild_id, name, payload, received_us, self.reached.current))
        self.counts["accepted"] += 1
        if not self._awake:
            self._awake = True
            self._wake()

    def take(self, most: int) -> list[Row]:
        """The oldest events, at most `most`, in order. On the actor's thread."""
        self._awake = False  # first: an event queued from here on wakes again
        self._shedding = False
        rows = self._rows
        return [rows.popleft() for _ in range(min(most, len(rows)))]
