"""When events passed: kept per frame, not per event, so that what nobody asks about costs nothing. Pure. Times are µs since the epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

MAX_EVENTS = 100_000  # whose times are kept, ~4 MB


class EventHop(IntEnum):
    """Hops that every event has once. Each process knows their spans without being told, so a hop can be written later, or by another."""

    RECEIVE = 1
    ROUTE = 2
    RUN = 3
    DONE = 4


def event_span(hop: EventHop, seq: int) -> str:
    """The span of a hop of this event; `seq` below 2⁵⁶."""
    return f"{hop:02x}{seq:014x}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One frame of events at its worker: when, and whose they are."""

    at_us: int
    received_us: int  # when the gateway read the first of them
    sent_us: int  # by the router
    seqs: tuple[int, ...]
    names: tuple[str, ...]

    def name_of(self, seq: int) -> str:
        """The event's name."""
        return self.names[self.seqs.index(seq)] if seq in self.seqs else ""


@dataclass(frozen=True, slots=True)
class _Frame:
    first_seq: int
    came_us: int
    received_us: Sequence[int]


class FrameStamps:
    """When the events of the gateway's last frames were read there, and when they came here."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._frames: deque[_Frame] = deque()
        self._events = 0

    def took(self, first_seq: int, received_us: Sequence[int], came_us: int) -> None:
        """A frame has come. Frames come in order; one that comes again replaces nothing."""
        if not received_us or (self._frames and first_seq <= self._frames[-1].first_seq):
            return
        self._frames.append(_Frame(first_seq, came_us, received_us))
        self._events += len(received_us)
        while self._events > self._max_events and len(self._frames) > 1:
            self._events -= len(self._frames.popleft().received_us)

    def of(self, seq: int) -> tuple[int, int]:
        """(read by the gateway, came here) of an event; zeros when that is not known any more."""
        frames = self._frames
        at = bisect_right(frames, seq, key=lambda frame: frame.first_seq) - 1
        if at < 0 or seq - frames[at].first_seq >= len(frames[at].received_us):
            return 0, 0
        frame = frames[at]
        return frame.received_us[seq - frame.first_seq], frame.came_us
