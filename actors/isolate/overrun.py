"""The deadline of what runs in an isolate: who is over it, and ending that.

Two cases. Something waits too long: nothing runs, the isolate has to be made anew, because only then is it certain that the handler
never acts again. Or something holds V8: `Rescue` cancels it, and if that does not help closes the isolate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

from flora.actors.isolate.engine import Isolate
from flora.actors.isolate.ladder import Rescue, Verdict
from flora.actors.isolate.runs import Runs

BUSY_GRACE_S = 0.5  # so long an event that is over its limit is left alone because another one of the same script runs


class Finding(Enum):
    """What a look at the deadlines came to, where anything has to be done."""

    WAITS_TOO_LONG = "waits_too_long"
    GONE = "gone"  # it held V8, and the isolate is closed or closing


class Overrun:
    """Watches one isolate at a time; `reset` when it is replaced."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._rescue: Rescue | None = None
        self.victim = 0  # the event whose run is being ended; 0: code of no event

    @property
    def rescuing(self) -> bool:
        """A run is being ended: nothing new goes in before that has come to its end."""
        return self._rescue is not None

    def reset(self) -> None:
        """What was being ended has ended, or its isolate is gone."""
        self._rescue = None
        self.victim = 0

    def check(self, isolate: Isolate, now_s: float, limit_s_of: Callable[[str], float]) -> Finding | None:
        """Looks, and takes the next step of a rescue under way.

        Args:
            now_s: time.monotonic().
            limit_s_of: For the name of an event, "" for code of no event; 0 for none.
        """
        if self._rescue is not None:
            return self._poll(self._rescue, isolate, now_s)
        if isolate.busy:
            running = isolate.progress().running_seq
            limit_s = limit_s_of(self._runs.name_of(running))
            if limit_s and now_s - _began_s(isolate) > limit_s:
                self.victim = running
                self._rescue = Rescue(isolate, now_s)
                return self._poll(self._rescue, isolate, now_s)
            now_s -= BUSY_GRACE_S
        return Finding.WAITS_TOO_LONG if self._runs.overdue(now_s, limit_s_of) else None

    def _poll(self, rescue: Rescue, isolate: Isolate, now_s: float) -> Finding | None:
        if rescue.poll(now_s) is Verdict.ALIVE:
            self._rescue = None  # the call came to its end after all: a cancelled one would have said TERMINATED by now
        elif not isolate.busy:
            return Finding.GONE
        return None


def _began_s(isolate: Isolate) -> float:
    """When the event that holds V8 now began: with the round trip, or later within it."""
    began_ago_s = time.time() - isolate.progress().started_at_ms / 1000
    return max(isolate.busy_since, time.monotonic() - max(0.0, began_ago_s))
