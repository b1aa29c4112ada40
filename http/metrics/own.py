"""What the front-end counts: requests that were answered, metrics that were pushed."""

from __future__ import annotations

from collections import Counter

from flora.messages.metrics import OTHER, Labels, Sample
from flora.messages.series import Histogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class OwnFigures:
    """On the server's loop; read from the actor's thread, which sees a moment of it."""

    def __init__(self) -> None:
        self.pushes: Counter[str] = Counter()  # by outcome
        self._requests: Counter[Labels] = Counter()  # (method, route, status)
        self._times: dict[str, Histogram] = {}  # by route

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """A request has been answered."""
        self._requests[method if method in METHODS else OTHER, route, str(status)] += 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = Histogram("http_time")
        times.add(int(took_s * 1e6))

    def samples(self) -> dict[str, dict[Labels, Sample]]:
        """For `ReadMetrics`."""
        return {
            "http": dict(self._requests),
            "http_time": {(route,): times.sample() for route, times in dict(self._times).items()},
            "telemetry_pushes": {(outcome,): count for outcome, count in dict(self.pushes).items()},
        }
