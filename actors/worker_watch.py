"""A worker's watch over its isolates: the sweep that has them look at their deadlines, and the process's memory."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from flora.actors.isolate.host import IsolateHost
from flora.actors.isolate.memory_watch import EndIsolate, GiveUp, MemoryGuard
from flora.actors.metrics import WorkerCounters
from flora.actors.worker_exits import GAVE_UP, write_cause
from flora.actors.worker_isolates import Isolates
from flora.messages.isolate import CheckDeadlines, EndForMemory

log = logging.getLogger(__name__)

DEADLINE_SWEEP_S = 0.1  # how often limits are looked at while anything runs


class Watch:
    """Sweeps while anything runs; looks at the memory at every sweep, and once a second when nothing does."""

    def __init__(
        self,
        after: Callable[[float, Callable[[], None]], int],
        isolates: Isolates,
        host: IsolateHost,
        memory: MemoryGuard,
        counters: WorkerCounters,
    ) -> None:
        """Makes a watch that has not begun. after: calls a function after a delay in seconds, on the worker's thread."""
        self._after = after
        self._isolates = isolates
        self._host = host
        self._memory = memory
        self._counters = counters
        self._sweeping = False

    def keep_sweeping(self) -> None:
        """Has the next sweep come, if anything runs. Called after every message."""
        if self._isolates.active and not self._sweeping:
            self._sweeping = True
            self._after(DEADLINE_SWEEP_S, self._sweep)

    def tick(self) -> None:
        """Once a second; a safety net for the sweep."""
        if not self._sweeping:
            self.look_at_memory(time.monotonic())
        self.keep_sweeping()

    def share_memory_with(self, workers: int) -> None:
        """So many shared workers there are from now on."""
        self._memory.share_with(workers)

    def wake_later(self, key: int, delay_s: float) -> None:
        """A timer of an isolate's script is due then."""
        self._after(delay_s, lambda: self._wake(key))

    def look_at_memory(self, now_s: float) -> None:
        """Ends the isolate that used the memory up, or the process if that did not help. now_s: monotonic."""
        match self._memory.look(now_s, self._host.memory_uses()):
            case EndIsolate(number=number) as verdict:
                why = self._memory.why(verdict)
                resident = self._isolates.residents.get(self._host.key_of(number) or 0)
                if resident is not None:
                    log.error("%s", why, extra={"action": "memory_kill", "guild_id": resident.guild_id})
                    self._counters.memory_kills += 1
                    self._isolates.tell(resident, EndForMemory(why=why))
            case GiveUp(guilty=guilty) as verdict:
                why = self._memory.why_give_up(verdict)
                log.error("the worker ends itself: %s", why, extra={"action": "memory_give_up"})
                write_cause(self._host.recorder_path, why, guilty)
                os._exit(GAVE_UP)

    def memory_of_guilds(self) -> dict[str, int]:
        """What each guild's isolates account for, in bytes."""
        return self._memory.watch.guilt_by_guild(self._host.memory_uses())

    def _wake(self, key: int) -> None:
        resident = self._isolates.residents.get(key)
        if resident is not None:
            self._isolates.tell(resident, CheckDeadlines(now_s=time.monotonic()))

    def _sweep(self) -> None:
        self._sweeping = False
        now_s = time.monotonic()
        self.look_at_memory(now_s)
        check = CheckDeadlines(now_s=now_s)
        for key in tuple(self._isolates.active):
            resident = self._isolates.residents.get(key)
            if resident is None:
                self._isolates.active.discard(key)
            elif now_s >= resident.quiet_until_s or not self._host.is_idle(
                key
            ):  # most wait for Discord, far from any limit
                self._isolates.tell(resident, check)
