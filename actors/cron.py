"""Cron: the clock of the workers. Sends each worker a tick a second; knows nothing about handlers."""

from __future__ import annotations

import time

from flora.actors.base import FloraActor
from flora.messages.dispatch import CronTick
from flora.messages.lifecycle import Drain, Start

TICK_S = 1.0


class Cron(FloraActor):
    """Sends CronTick to every worker once a second.

    Receives   nothing but the lifecycle
    Sends      CronTick (workers)
    State      the number of the last tick
    Fails      a late tick carries the real time; missed ticks are not made up
    """

    def __init__(self) -> None:
        super().__init__()
        self._tick_no = 0
        self._stopped = False

    def on_start(self, msg: Start) -> None:
        self._arm()

    def _arm(self) -> None:
        now_s = time.time()
        self.after(TICK_S - now_s % TICK_S, self._tick)

    def on_drain(self, msg: Drain) -> None:
        """The system ends: no more ticks."""
        self._stopped = True

    def _tick(self) -> None:
        if self._stopped:
            return
        self._tick_no += 1
        tick = CronTick(now_us=time.time_ns() // 1000, tick_no=self._tick_no)
        for _, worker in self.peers.workers:
            self.send(worker, tick)
        self._arm()
