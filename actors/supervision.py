"""When a dead actor is started again, and a guild's ended isolate made anew; and when not any more. Pure."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPolicy:
    """At once after the first fault, then with growing pause; `max_failed_loads` in a row and it takes a deployment."""

    backoff: Backoff = Backoff(first_s=1.0, cap_s=60.0)
    healthy_s: float = 300.0  # served that long without a fault, and the next one counts as the first
    max_failed_loads: int = 5


REBUILDS = RebuildPolicy()
"""For every guild, whether its isolate ended or the worker it has for itself."""


@dataclass(slots=True)
class Rebuilds:
    """The recent faults of one guild's isolate."""

    policy: RebuildPolicy = REBUILDS
    total: int = 0
    failed_loads: int = 0  # in a row
    _faults: int = 0  # since it was last healthy for long
    _serving_since_s: float | None = None

    def ended(self, now_s: float, rng: random.Random, *, loading: bool = False) -> float | None:
        """Notes that the isolate ended.

        Args:
            now_s: Monotonic seconds.
            loading: A rebuild came to nothing, instead of an end while it served.
        Returns:
            The pause before it is to be made anew, in seconds, or None: it has FAILED, only a deployment helps.
        """
        since_s, self._serving_since_s = self._serving_since_s, None
        if not loading and since_s is not None and now_s - since_s >= self.policy.healthy_s:
            self._faults = 0
        self._faults += 1
        self.total += 1
        self.failed_loads = self.failed_loads + 1 if loading else 0
        if self.failed_loads >= self.policy.max_failed_loads:
            return None
        return 0.0 if self._faults == 1 else self.policy.backoff.delay_s(self._faults - 1, rng)

    def loaded(self, now_s: float) -> None:
        """Notes that it serves again."""
        self.failed_loads = 0
        self._serving_since_s = now_s

    def deployed(self) -> None:
        """New code: what the old one did is forgotten, but for the total."""
        self.failed_loads = self._faults = 0
        self._serving_since_s = None
