"""Streams between two actors, batch by batch.

A message between two processes costs the actor library some 0.3 ms of processor time, whatever is in it. So a stream travels
in frames, and while a frame is under way the next one fills: at low load a frame holds one item and adds no delay; under load
the cost per item falls by two orders of magnitude.

Acknowledgements are messages too. Small frames therefore do not ask for one; they are acknowledged with the next frame in the other
direction. A large frame, or the last one of a window, asks, and the sender waits for the answer: that lets the next frame
fill, and it holds back a sender that is faster than its peer.

Frames are numbered, so that one delivered twice is handled once; an epoch tells a restarted peer from the old one. Where both ends
send at the same moment the actor library drops the connection and sends again after a pause, while later frames go on:
each frame therefore says which one went before it, and one that comes too early waits for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flora.messages.base import Frame

T = TypeVar("T")
AnyFrame = TypeVar("AnyFrame", bound=Frame)

BARE_ACK = 0
"""Number of a frame that only acknowledges; it is itself not acknowledged."""


WINDOW = 8
"""Frames that may go without an acknowledgement."""
WINDOW_ROWS = 8
"""Rows in them, altogether; more and the peer is asked to acknowledge."""


@dataclass(slots=True)
class Batch(Generic[T]):
    """What the next frame must carry."""

    number: int
    ack: int
    rows: list[T]
    after: int = 0
    wants_ack: bool = False


class Link(Generic[T]):
    """One end of a stream. Pure: knows nothing of actors or time."""

    def __init__(self, epoch: str, max_rows: int = 1024, window: int = 1) -> None:
        """Makes one end.

        Args:
            epoch: Of this end; new for each life of an actor.
            max_rows: Most rows in a frame.
            window: Small frames under way without acknowledgement. 1: every frame is acknowledged before the next one goes.
        """
        self.epoch = epoch
        self._max_rows = max_rows
        self._window = window
        self._waiting: deque[T] = deque()
        self._under_way: deque[Batch[T]] = deque()
        self._sent = 0
        self._last = 0  # number of the last frame that went to this peer
        self._received = 0
        self._early: dict[int, Frame] = {}  # by number; they came before one that went before them
        self._peer_epoch = ""
        self._owes_ack = False

    def __len__(self) -> int:
        """Rows not yet acknowledged by the peer."""
        return len(self._waiting) + sum(len(batch.rows) for batch in self._under_way)

    @property
    def full(self) -> bool:
        """Nothing can be sent before the peer acknowledges."""
        return bool(self._under_way) and self._under_way[-1].wants_ack

    @property
    def owes_ack(self) -> bool:
        """The peer asked for an acknowledgement that has not gone yet."""
        return self._owes_ack

    @property
    def waiting(self) -> int:
        """Rows not yet sent."""
        return len(self._waiting)

    def unsent(self) -> list[T]:
        """Rows not yet sent, in order."""
        return list(self._waiting)

    def offer(self, row: T) -> None:
        """Queues one row."""
        self._waiting.append(row)

    def offer_all(self, rows: Iterable[T]) -> None:
        """Queues rows in order."""
        self._waiting.extend(rows)

    def withdraw(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Takes rows back that have not been sent."""
        gone = [row for row in self._waiting if unwanted(row)]
        if gone:
            self._waiting = deque(row for row in self._waiting if not unwanted(row))
        return gone

    def poll(self, *, even_empty: bool = False) -> Batch[T] | None:
        """The next frame to send now, or None. Call until it gives None after every change.

        Args:
            even_empty: There is something to say beside the rows.
        """
        if (self._waiting or even_empty) and not self.full:
            self._sent += 1
            batch = Batch(self._sent, self._received, self._next_rows(), after=self._last)
            self._last = self._sent
            self._under_way.append(batch)
            rows = sum(len(sent.rows) for sent in self._under_way)
            batch.wants_ack = len(self._under_way) >= self._window or rows > WINDOW_ROWS
            self._owes_ack = False
            return batch
        if self._owes_ack:
            self._owes_ack = False
            return Batch(BARE_ACK, self._received, [])
        return None

    def bare(self) -> Batch[T]:
        """A frame that only acknowledges what was acknowledged before: for what else a frame carries."""
        return Batch(BARE_ACK, 0, [])

    def _next_rows(self) -> list[T]:
        if len(self._waiting) <= self._max_rows:
            rows = list(self._waiting)
            self._waiting.clear()
            return rows
        return [self._waiting.popleft() for _ in range(self._max_rows)]

    def receive(self, frame: AnyFrame, *, owe_ack: bool = True) -> list[AnyFrame]:
        """Takes note of a frame from the peer, and says what is to be handled now.

        Args:
            frame: Any frame of this link.
            owe_ack: False to hold the acknowledgement back (and with it the peer) until `release_ack`.
        Returns:
            Frames whose rows are new, in order: none for a bare acknowledgement, a repeated frame and one that comes too early;
            several when it is the one that others waited for.
        """
        if frame.epoch != self._peer_epoch:
            self._peer_epoch = frame.epoch
            self._received = 0
            self._early.clear()
        while self._under_way and frame.ack >= self._under_way[0].number:
            self._under_way.popleft()
        if frame.number == BARE_ACK:
            return []
        if frame.number <= self._received:
            self._owes_ack = True
            return []
        if frame.after > self._received:
            self._early[frame.number] = frame
            return []
        ready = [frame]
        self._received = frame.number
        while self._early:
            early: Any = self._early[first := min(self._early)]
            if early.after > self._received:
                break
            del self._early[first]
            ready.append(early)
            self._received = first
        self._owes_ack = self._owes_ack or (owe_ack and any(taken.wants_ack for taken in ready))
        return ready

    def release_ack(self) -> None:
        """Lets the acknowledgement go that `receive(owe_ack=False)` held back."""
        self._owes_ack = True

    def resend(self) -> Batch[T] | None:
        """The oldest frame under way once more, for a peer that was restarted or did not answer."""
        if not self._under_way:
            return None
        batch = self._under_way[0]
        batch.ack, batch.wants_ack = self._received, True
        return batch

    def take_back(self) -> list[T]:
        """Everything not acknowledged, in order; the link forgets it. For a peer that is gone."""
        rows = self.forget_sent() + list(self._waiting)
        self._waiting.clear()
        return rows

    def forget_sent(self) -> list[T]:
        """What was sent and not acknowledged, in order; the link forgets it, and the peer. What was not sent goes to the next peer."""
        rows = [row for batch in self._under_way for row in batch.rows]
        self._under_way.clear()
        self._received, self._peer_epoch, self._owes_ack, self._last = 0, "", False, 0
        self._early.clear()
        return rows
