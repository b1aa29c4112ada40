"""What the gateway counts of scripts' calls to Discord. Pure. On the loop; read from the actor's thread, which sees a moment of it."""

from __future__ import annotations

from collections import Counter

from flora.actors.discord.routes import template_of
from flora.messages.errors import DiscordRateLimited, FloraError, ScopeForbidden
from flora.messages.metrics import Labels, Sample
from flora.messages.series import BoundedLabels, Histogram, alone, counted

MAX_ROUTES = 64
"""More templates than scripts have operations for; a bound should one ever hold something that differs in each call."""


def ending_of(status: int, error: FloraError | None) -> str:
    """How a call ended, in a word.

    Args:
        status: Of Discord's last answer; 0: it gave none.
        error: What the script is told.
    Returns:
        The class of the status, or rate_limited, forbidden (by us, Discord was not asked), failed (there was no answer).
    """
    if isinstance(error, DiscordRateLimited):
        return "rate_limited"
    if status:
        return f"{status // 100}xx"
    return "forbidden" if isinstance(error, ScopeForbidden) else "failed"


class RestFigures:
    """Calls by route and ending, and their times by route."""

    def __init__(self) -> None:
        self.refused = 0  # because too many of the guild wait
        self._route = BoundedLabels(MAX_ROUTES)
        self._ended: Counter[Labels] = Counter()
        self._times: dict[str, tuple[Histogram, Histogram]] = {}  # by route: all of it, waits for rate limits

    def finished(self, method: str, path: str, ending: str, took_s: float, on_wire_s: float) -> None:
        """A call has come to its end.

        Args:
            took_s: From its turn.
            on_wire_s: Of that, waiting for Discord's answers. The rest was for rate limits.
        """
        route = self._route(template_of(method, path))
        self._ended[route, ending] += 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = Histogram("rest_time"), Histogram("rest_rate_limit")
        times[0].add(int(took_s * 1e6))
        times[1].add(int((took_s - on_wire_s) * 1e6))

    def samples(self) -> dict[str, dict[Labels, Sample]]:
        """For `ReadMetrics`."""
        times = dict(self._times)  # one step: the loop may add meanwhile
        return {
            "rest": counted(dict(self._ended)),
            "rest_time": {(route,): both[0].sample() for route, both in times.items()},
            "rest_rate_limit": {(route,): both[1].sample() for route, both in times.items()},
            "rest_refused": counted({"guild_queue_full": self.refused}),
        }


def of_executor(figures: RestFigures, waiting: int, unfinished: int) -> dict[str, dict[Labels, Sample]]:
    """With what is under way now."""
    return {
        **figures.samples(),
        "rest_waiting": alone(waiting),
        "rest_running": alone(unfinished - waiting),
    }
