"""When a dead actor is started again, and when not any more. Pure."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from flora.storage.backoff import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """At once after the first death, then with growing delay; past `max_restarts` within `window_s` it is a failure."""

    backoff: Backoff = Backoff(first_s=0.25, cap_s=30.0)
    max_restarts: int = 5
    window_s: float = 60.0


@dataclass(slots=True)
class Restarts:
    """The recent deaths of one child."""

    policy: RestartPolicy
    total: int = 0
    _deaths: deque[float] = field(default_factory=deque)

    def died(self, now_s: float, rng: random.Random) -> float | None:
        """Notes a death; gives the delay until the restart in seconds, or None: it flaps, give up."""
        while self._deaths and now_s - self._deaths[0] > self.policy.window_s:
            self._deaths.popleft()
        self._deaths.append(now_s)
        self.total += 1
        recent = len(self._deaths)
        if recent > self.policy.max_restarts:
            return None
        return 0.0 if recent == 1 else self.policy.backoff.delay_s(recent - 1, rng)
