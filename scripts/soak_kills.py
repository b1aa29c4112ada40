"""Whom a soak kills next. Pure, apart from the list of processes it is given."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

PARTS: Final = (
    "worker", "router", "gateway", "cron", "http", "log book", "deployer", "compiler", "postgres", "valkey",
)  # fmt: skip
"""What can be killed. `worker` is any of them."""
WINDOW_S: Final = 60.0
MOST_IN_WINDOW: Final = 3
"""Kills of one process within the window. One that dies more often is meant to end the system (a worker: to wait ever longer)."""
PAUSE_S: Final = (0.5, 2.0)
"""Shortest and longest pause between the recovery from one kill and the next."""


class Killer:
    """Draws parts and pauses from a seed: the same seed gives the same sequence as long as the processes are the same."""

    def __init__(self, parts: Sequence[str], seed: int) -> None:
        self._parts = tuple(parts)
        self._rng = random.Random(seed)
        self._recent: dict[str, list[float]] = {}

    def pause_s(self) -> float:
        """How long to wait before the next kill."""
        return self._rng.uniform(*PAUSE_S)

    def choose(self, processes: Mapping[int, str], now_s: float) -> tuple[int, str] | None:
        """The next process to kill and its title, or None when all have been killed often enough for now.

        Args:
            processes: Titles by id, oldest process first.
            now_s: Second of the soak.
        """
        able = {part: found for part in self._parts if (found := self._able(part, processes, now_s))}
        if not able:
            return None
        pid, title = self._rng.choice(able[self._rng.choice(list(able))])
        self._recent.setdefault(title, []).append(now_s)
        return pid, title

    def _able(self, part: str, processes: Mapping[int, str], now_s: float) -> list[tuple[int, str]]:
        first: dict[str, int] = {}  # of several with one title the oldest is the one that started the others
        for pid, title in processes.items():
            if title == part or (part == "worker" and title.startswith("worker ")):
                first.setdefault(title, pid)
        return [(pid, title) for title, pid in first.items() if self._kills_of(title, now_s) < MOST_IN_WINDOW]

    def _kills_of(self, title: str, now_s: float) -> int:
        recent = [at_s for at_s in self._recent.get(title, []) if now_s - at_s < WINDOW_S]
        self._recent[title] = recent
        return len(recent)
