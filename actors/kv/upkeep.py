"""Sweeping and compacting of a worker's stores, a millisecond at a time, from the worker's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flora.actors.kv.jobs import Upkeep
from flora.actors.kv.lane import Lane

BUDGET_S = 0.001  # at once; events wait so long at most
THREAD_BUDGET_S = 0.02  # where it is a helper's thread
PAUSE_S = 0.005


class Rounds:
    """Goes around the lanes once a second, and goes on in small steps while there is more to do."""

    def __init__(
        self,
        lanes: Callable[[], Iterable[Lane]],
        after: Callable[[float, Callable[[], None]], object],
        *,
        is_threaded: bool,
    ) -> None:
        self._lanes = lanes
        self._after = after
        self._is_threaded = is_threaded
        self._waiting: list[Lane] = []
        self._is_under_way = False

    def begin(self) -> None:
        """A second has passed."""
        if not self._is_under_way:
            self._waiting = [lane for lane in self._lanes() if lane.guild is not None]
            self._step()

    def _step(self) -> None:
        """One slice; the lane that has more to do goes to the end, so that none keeps the others waiting."""
        self._is_under_way = False
        until_s = time.perf_counter() + BUDGET_S
        while self._waiting:
            lane = self._waiting.pop(0)
            if lane.guild is not None and lane.is_idle:
                self._look_after(lane, until_s)
            if time.perf_counter() >= until_s:
                break
        if self._waiting:
            self._go_on_later()

    def _look_after(self, lane: Lane, until_s: float) -> None:
        def done(has_more: bool) -> None:
            if has_more:
                self._waiting.append(lane)
                if self._is_threaded:
                    self._go_on_later()

        left_s = max(0.0, until_s - time.perf_counter())
        lane.add(Upkeep(THREAD_BUDGET_S if self._is_threaded else left_s, done))

    def _go_on_later(self) -> None:
        if not self._is_under_way:
            self._is_under_way = True
            self._after(PAUSE_S, self._step)
