"""Counters and reply latencies of the simulated Discord, for benchmarks and `/sim/stats`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

MAX_SAMPLES = 200_000


def quantile(sorted_values: list[float], q: float) -> float:
    """The q-quantile (0…1) of a sorted, non-empty list, by nearest rank."""
    return sorted_values[min(len(sorted_values) - 1, int(q * len(sorted_values)))]


class Stats:
    """What was pushed, what came back, and how long it took.

    A reply is a message that refers to one posted by a person here, or the response to an interaction.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts anew."""
        self.started_at = time.monotonic()
        self.rest_calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.rate_limited: Counter[str] = Counter()
        self.replies = 0
        self.last_reply_at = 0.0
        self._waiting: dict[str, float] = {}  # message or interaction id → time.perf_counter() of its push
        self._latencies_s: deque[float] = deque(maxlen=MAX_SAMPLES)

    def pushed(self, event_id: str) -> None:
        """Notes that something a bot may answer was handed to the gateway now."""
        if len(self._waiting) >= MAX_SAMPLES:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[event_id] = time.perf_counter()

    def replied(self, event_id: str, arrived_at: float) -> None:
        """Notes a reply; only the first one to each event counts.

        Args:
            arrived_at: time.perf_counter() when the request came in.
        """
        since = self._waiting.pop(event_id, None)
        if since is not None:
            self.replies += 1
            self.last_reply_at = arrived_at
            self._latencies_s.append(arrived_at - since)

    def answered(self, route: str, status: int) -> None:
        """Notes one REST request."""
        self.rest_calls[route] += 1
        self.statuses[status] += 1
        if status == 429:
            self.rate_limited[route] += 1

    def unanswered(self) -> int:
        return len(self._waiting)

    def latency(self) -> dict[str, float | int | None]:
        """Milliseconds from push to reply: p50, p90, p99, max and the number of samples."""
        return latency_ms(self._latencies_s)

    def summary(self) -> dict[str, Any]:
        """All figures, as JSON."""
        return {
            "since_s": round(time.monotonic() - self.started_at, 3),
            "rest_calls": dict(self.rest_calls),
            "rest_total": self.rest_calls.total(),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "rate_limited": dict(self.rate_limited),
            "rate_limited_total": self.rate_limited.total(),
            "replies": self.replies,
            "unanswered": self.unanswered(),
            "reply_latency_ms": self.latency(),
        }


def latency_ms(samples_s: Iterable[float]) -> dict[str, float | int | None]:
    """Summary of samples given in seconds; None where there are none."""
    values = sorted(samples_s)
    if not values:
        return {"count": 0, "p50": None, "p90": None, "p99": None, "max": None}
    named = {"p50": quantile(values, 0.5), "p90": quantile(values, 0.9), "p99": quantile(values, 0.99)}
    named["max"] = values[-1]
    return {"count": len(values), **{name: round(value * 1000, 3) for name, value in named.items()}}
