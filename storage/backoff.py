"""Waiting longer after each failure, as a value."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays first_s, first_s × factor, … up to cap_s, each shortened by a random share of up to `jitter`.

    Jitter only ever shortens: the cap holds, and many clients of one server that came back do not return in step.
    """

    first_s: float
    cap_s: float
    factor: float = 2.0
    jitter: float = 0.2

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after that many failures in a row (1, 2, …).

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError("a delay follows at least one failure")
        # The exponent is bounded before the power is taken: after weeks of failures the float would overflow.
        growth = self.factor ** min(failures - 1, 64)
        return min(self.cap_s, self.first_s * growth) * (1.0 - self.jitter * rng.random())
