"""The events of one isolate: waiting, handed to V8, started, done. Pure.

Events are handed over in batches, in order; the flight recorder's page says which was started last. So whatever happens to the
isolate, each event is known to have started or not: one that had is never run again, one that had not always is. Runs of cron jobs
stand in the same line; they have numbers of their own, -1, -2 …, which the recorder notes in a place of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from flora.messages.series import Histogram

Event = tuple[int, str, str]
"""(sequence number, name, payload as JSON text)"""

CRON_PREFIX = "__cron:"
"""Starts the name of an event that is a run of a cron job."""
MAX_HANDED = 100  # events handed to V8 and not done; enough to amortise a round trip, few enough to keep the call short


class Runs:
    """Where each event is."""

    def __init__(self, waits: Histogram | None = None) -> None:
        """Makes one without events. `waits`: counts how long they waited, from `add` until they had started."""
        self._waits = waits or Histogram("worker_wait")
        self._arrivals: deque[tuple[int, float]] = (
            deque()
        )  # (last of a batch, monotonic second), that have not all started
        self._waiting: deque[Event] = deque()
        self._handed: dict[int, Event] = {}  # in order; handed over, not done
        self.job_runs = 0  # how many there have been
        self.job_runs_started = 0  # the recorder's word: the highest of them that has started
        self._started: dict[int, float] = {}  # seq → monotonic second at which it was running at the latest

    @property
    def waiting(self) -> int:
        """Events not handed over yet."""
        return len(self._waiting)

    @property
    def empty(self) -> bool:
        """No event waits or is under way."""
        return not (self._handed or self._waiting)

    @property
    def unfinished(self) -> int:
        """Events handed over and not done."""
        return len(self._handed)

    def add(self, events: Iterable[Event]) -> None:
        """Queues events in order."""
        self._waiting.extend(events)
        if self._waiting:
            self._arrivals.append((self._waiting[-1][0], time.monotonic()))

    def add_job(self, name: str, payload: str) -> None:
        """Queues a run of a cron job behind the events that wait."""
        self.job_runs += 1
        self._waiting.append((-self.job_runs, CRON_PREFIX + name, payload))

    def _has_started(self, seq: int, last_started: int) -> bool:
        return seq <= last_started if seq > 0 else -seq <= self.job_runs_started

    def hand_over(self) -> list[Event]:
        """The next events for V8; from now on they count as handed over."""
        count = min(len(self._waiting), MAX_HANDED - len(self._handed))
        events = [self._waiting.popleft() for _ in range(count)]
        for event in events:
            self._handed[event[0]] = event
        return events

    def is_unfinished(self, seq: int) -> bool:
        """Whether this event was handed over and is not done."""
        return seq in self._handed

    def name_of(self, seq: int) -> str:
        """The event's name, "" when it is not unfinished."""
        event = self._handed.get(seq)
        return event[1] if event else ""

    def note_started(self, last_started: int, at_s: float) -> None:
        """The recorder says that events up to this one have started; `at_s`: when the round trip began."""
        for seq in self._handed:
            if (
                seq > last_started if seq > 0 else -seq > self.job_runs_started
            ):  # as `_has_started`; this is asked all the time
                break
            if seq not in self._started:
                self._started[seq] = at_s
                if seq > 0:
                    self._note_wait(seq, at_s)

    def _note_wait(self, seq: int, at_s: float) -> None:
        """Events start in order: batches whose last one is before this one are through."""
        arrivals = self._arrivals
        while arrivals and arrivals[0][0] < seq:
            arrivals.popleft()
        if arrivals:  # else it has been made to wait again and is late for its batch
            self._waits.add(int((at_s - arrivals[0][1]) * 1e6))

    def done(self, seq: int) -> bool:
        """An event is done; False when it was not under way."""
        self._started.pop(seq, None)
        return self._handed.pop(seq, None) is not None

    def oldest_start_s(self, default_s: float) -> float:
        """When the first of those that have started and are not done was running at the latest; monotonic."""
        return next(iter(self._started.values()), default_s)

    def overdue(self, now_s: float, limit_s_of: Callable[[str], float]) -> list[int]:
        """Events that started longer ago than the limit for their name allows; a limit of 0 allows everything."""
        return [seq for seq, at_s in self._started.items() if 0 < limit_s_of(self._handed[seq][1]) < now_s - at_s]

    def postpone(self, pause_s: float) -> None:
        """For so long nothing could move: it does not count against what had started."""
        for seq in self._started:
            self._started[seq] += pause_s

    def all_started(self, last_started: int) -> bool:
        """Nothing that was handed over can still begin."""
        return all(self._has_started(seq, last_started) for seq in self._handed)

    def take_back(self, last_started: int) -> list[int]:
        """What was handed over and has not started waits again, in order. Gives its sequence numbers."""
        back = [event for seq, event in self._handed.items() if not self._has_started(seq, last_started)]
        for seq, _, _ in back:
            del self._handed[seq]
        self._waiting.extendleft(reversed(back))
        return [seq for seq, _, _ in back]

    def take_waiting(self) -> list[Event]:
        """Everything that was not handed over; it is forgotten here."""
        events = list(self._waiting)
        self._waiting.clear()
        return events

    def isolate_died(self, last_started: int) -> list[Event]:
        """The isolate is gone: what had not started waits again, in order.

        Returns:
            What had started and is now lost.
        """
        self.take_back(last_started)
        lost = list(self._handed.values())
        self._handed.clear()
        self._started.clear()
        return lost
