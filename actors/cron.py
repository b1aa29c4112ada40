"""Cron: the clock of scheduled jobs. Knows which worker has something due when, and nothing about jobs."""

from __future__ import annotations

import time
from collections.abc import Callable

from flora.actors.base import FloraActor
from flora.actors.cron_dues import Dues
from flora.messages.base import Address
from flora.messages.cron import CronDue, CronTick
from flora.messages.lifecycle import Drain, Peers, Start

LONGEST_WAIT_S = 30.0  # then the wall clock is looked at again: it may have been set


class Cron(FloraActor):
    """Sends CronTick to a worker when something of it is due, and to no other.

    Receives   CronDue (workers)
    Sends      CronTick (workers)
    State      a heap of next due times, one per worker: memory only. To a new Cron every worker says again when it is due.
    Fails      a late tick carries the real time; what was missed is for the worker to judge
    """

    wall_clock: Callable[[], float] = staticmethod(time.time)

    def __init__(self) -> None:
        super().__init__()
        self._tick_no = 0
        self._dues = Dues()
        self._timer = 0
        self._armed_for_s: float | None = None
        self._stopped = False
        self._workers: dict[int, Address] = {}

    def on_start(self, msg: Start) -> None:
        self._workers = dict(msg.peers.workers)

    def on_peers(self, peers: Peers) -> None:
        """What a worker that is gone had due, its successor will say anew."""
        known, self._workers = self._workers, dict(peers.workers)
        self._dues.keep({number for number, address in known.items() if self._workers.get(number) == address})

    def on_drain(self, msg: Drain) -> None:
        """The system ends: no more ticks."""
        self._stopped = True

    def receiveMsg_CronDue(self, msg: CronDue, sender: Address) -> None:
        """A worker says when it is due next. It may do so before Runtime has told that it lives."""
        self._workers[msg.worker_id] = sender
        self._dues.put(msg.worker_id, msg.due_s)
        self._arm()

    def _arm(self) -> None:
        due_s = self._dues.next_s()
        if self._stopped or due_s is None or (self._armed_for_s is not None and self._armed_for_s <= due_s):
            return
        self.cancel_timer(self._timer)
        wait_s = min(max(0.0, due_s - self.wall_clock()), LONGEST_WAIT_S)
        self._armed_for_s = due_s
        self._timer = self.after(wait_s, self._look)

    def _look(self) -> None:
        self._armed_for_s = None
        if self._stopped:
            return
        now_s = self.wall_clock()
        for worker_id in self._dues.take(now_s):
            self._tick_no += 1
            self.tell(self._workers.get(worker_id), CronTick(now_us=int(now_s * 1e6), tick_no=self._tick_no))
        self._arm()
