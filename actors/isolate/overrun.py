"""The deadline of what runs in an isolate: who is over it, and ending that.

Two cases. Something waits too long: nothing runs, the isolate has to be made anew, because only then is it certain that the handler
never acts again. Or something holds V8: `Rescue` cancels it, and if that does not help closes the isolate.
"""

from __future__ import annotations

import time
from enum import Enum

from flora.actors.isolate.engine import Isolate
from flora.actors.isolate.ladder import Rescue, Verdict
from flora.actors.isolate.runs import Runs


class Finding(Enum):
    """What a look at the deadlines came to, where anything has to be done."""

    WAITS_TOO_LONG = "waits_too_long"
    GONE = "gone"  # it held V8, and the isolate is closed or closing


class Overrun:
    """Watches one isolate at a time; `reset` when it is replaced."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._rescue: Rescue | None = None
        self.victim = 0  # the event whose run is being ended; 0: code of no event, or it has been reported

    @property
    def rescuing(self) -> bool:
        """A run is being ended: nothing new goes in before that has come to its end."""
        return self._rescue is not None

    def reset(self) -> None:
        """What was being ended has ended, or its isolate is gone."""
        self._rescue = None
        self.victim = 0

    def check(self, isolate: Isolate, now_s: float, limit_s: float) -> Finding | None:
        """Looks, and takes the next step of a rescue under way.

        Args:
            now_s: time.monotonic().
            limit_s: 0 for none.
        """
        if self._rescue is not None:
            return self._poll(self._rescue, now_s)
        if not limit_s:
            return None
        if not isolate.busy:
            return Finding.WAITS_TOO_LONG if self._runs.overdue(now_s, limit_s) else None
        if now_s - _began_s(isolate) <= limit_s:
            return None
        progress = isolate.progress()
        self.victim = progress.running_seq or progress.started_seq
        self._rescue = Rescue(isolate, now_s)
        return self._poll(self._rescue, now_s)

    def _poll(self, rescue: Rescue, now_s: float) -> Finding | None:
        verdict = rescue.poll(now_s)
        if verdict is None or verdict is Verdict.ALIVE:
            return None  # alive: the engine says TERMINATED, or the call came to its end after all
        self._rescue = None
        return Finding.GONE


def _began_s(isolate: Isolate) -> float:
    """When the event that holds V8 now began: with the round trip, or later within it."""
    began_ago_s = time.time() - isolate.progress().started_at_ms / 1000
    return max(isolate.busy_since, time.monotonic() - max(0.0, began_ago_s))
