"""Streams between two actors, batch by batch.

The actor library sends one message at a time to a receiver and waits for a timer when a second one is already under way. So a
stream has at most one unacknowledged frame per direction; while it is under way the next one fills. At low load a frame
holds one item and adds no delay; under load the cost per item falls by two orders of magnitude.

A frame's acknowledgement travels with the next frame in the other direction, or alone if there is none. Frames
are numbered, so that one delivered twice is handled once; an epoch tells a restarted peer from the old one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flora.messages.base import Frame

T = TypeVar("T")

BARE_ACK = 0
"""Number of a frame that only acknowledges; it is itself not acknowledged."""
BUSY_GAP_S = 0.0025  # frames closer together than this make a stream busy; 200 events a second are not
FIRST_HOLD_S = 0.001


@dataclass(slots=True)
class Batch(Generic[T]):
    """What the next frame must carry."""

    number: int
    ack: int
    rows: list[T]


@dataclass(slots=True)
class Pace:
    """How long the frames of a busy stream are held back, so that they carry more.

    A message between processes costs about 0.3 ms of processor time on either side, whatever is in it. Under load, when every frame
    held one row, that was nearly all there was (measured: 2.6 ms of processor time per reply). A stream that is not busy never waits.
    """

    max_hold_s: float = 0.008
    enough_rows: int = 64  # with so many rows waiting a frame is worth its cost at once
    _hold_s: float = 0.0
    _last_s: float = -1.0

    def due_s(self, rows: int) -> float:
        """When the next frame, of so many rows, may go."""
        return 0.0 if rows >= self.enough_rows else self._last_s + self._hold_s

    def sent(self, now_s: float) -> None:
        """A frame goes. The shorter the time since the last one, the longer the next one waits."""
        if now_s - self._last_s < 2 * self._hold_s + BUSY_GAP_S:
            self._hold_s = min(max(2 * self._hold_s, FIRST_HOLD_S), self.max_hold_s)
        else:
            self._hold_s = self._hold_s / 2 if self._hold_s > FIRST_HOLD_S else 0.0
        self._last_s = now_s


class Link(Generic[T]):
    """One end of a stream. Knows nothing of actors."""

    def __init__(
        self,
        epoch: str,
        max_rows: int = 1024,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch = epoch
        self.due_s: float | None = None  # set by `poll`: something waits until then
        self._pace = pace
        self._clock = clock
        self._max_rows = max_rows
        self._waiting: deque[T] = deque()
        self._under_way: Batch[T] | None = None
        self._sent = 0
        self._received = 0
        self._peer_epoch = ""
        self._owes_ack = False

    def __len__(self) -> int:
        """Rows not yet acknowledged by the peer."""
        return len(self._waiting) + (len(self._under_way.rows) if self._under_way else 0)

    @property
    def under_way(self) -> bool:
        """A frame was sent that the peer has not acknowledged."""
        return self._under_way is not None

    @property
    def waiting(self) -> int:
        """Rows not yet sent."""
        return len(self._waiting)

    def offer(self, row: T) -> None:
        """Queues one row."""
        self._waiting.append(row)

    def offer_all(self, rows: Iterable[T]) -> None:
        """Queues rows in order."""
        self._waiting.extend(rows)

    def poll(self) -> Batch[T] | None:
        """The next frame to send now, or None. Call until it gives None after every change, and again at `due_s`."""
        self.due_s = None
        if self._under_way is None and self._waiting:
            if self._must_wait():
                return None
            self._sent += 1
            self._under_way = Batch(self._sent, self._received, self._next_rows())
            self._owes_ack = False
            return self._under_way
        if self._owes_ack:
            self._owes_ack = False
            return Batch(BARE_ACK, self._received, [])
        return None

    def _must_wait(self) -> bool:
        if self._pace is None:
            return False
        now_s = self._clock()
        due_s = self._pace.due_s(len(self._waiting))
        if now_s < due_s:
            self.due_s = due_s
            return True
        self._pace.sent(now_s)
        return False

    def _next_rows(self) -> list[T]:
        if len(self._waiting) <= self._max_rows:
            rows = list(self._waiting)
            self._waiting.clear()
            return rows
        return [self._waiting.popleft() for _ in range(self._max_rows)]

    def receive(self, frame: Frame, *, owe_ack: bool = True) -> bool:
        """Takes note of a frame from the peer.

        Args:
            frame: Any frame of this link.
            owe_ack: False to hold the acknowledgement back (and with it the peer) until `release_ack`.
        Returns:
            Whether its rows are new. False for a bare acknowledgement and for a repeated frame.
        """
        if frame.epoch != self._peer_epoch:
            self._peer_epoch = frame.epoch
            self._received = 0
        if self._under_way is not None and frame.ack >= self._under_way.number:
            self._under_way = None
        if frame.number == BARE_ACK:
            return False
        self._owes_ack = self._owes_ack or owe_ack
        if frame.number <= self._received:
            self._owes_ack = True
            return False
        self._received = frame.number
        return True

    def release_ack(self) -> None:
        """Lets the acknowledgement go that `receive(owe_ack=False)` held back."""
        self._owes_ack = True

    def resend(self) -> Batch[T] | None:
        """The frame under way once more, for a peer that was restarted or did not answer."""
        if self._under_way is not None:
            self._under_way.ack = self._received
        return self._under_way

    def take_back(self) -> list[T]:
        """Everything not acknowledged, in order; the link forgets it. For a peer that is gone."""
        rows = (self._under_way.rows if self._under_way else []) + list(self._waiting)
        self._under_way = None
        self._waiting.clear()
        return rows
