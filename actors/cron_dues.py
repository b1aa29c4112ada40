"""Which worker has something due when. Pure."""

from __future__ import annotations

import heapq

TICK_AGAIN_S = 10.0
"""A worker that says nothing after a tick gets another one: it may be busy, or its word or ours may have been lost."""


class Dues:
    """A heap of times, one per worker; times in seconds since the epoch."""

    def __init__(self) -> None:
        self._due_s: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []  # also holds times that do not count any more

    def put(self, worker_id: int, due_s: float | None) -> None:
        """The worker's next time; None: it has none."""
        if due_s is None:
            self._due_s.pop(worker_id, None)
        elif self._due_s.get(worker_id) != due_s:
            self._due_s[worker_id] = due_s
            heapq.heappush(self._heap, (due_s, worker_id))

    def keep(self, worker_ids: set[int]) -> None:
        """Forgets all other workers."""
        for worker_id in self._due_s.keys() - worker_ids:
            del self._due_s[worker_id]

    def next_s(self) -> float | None:
        """When the first of them is due."""
        while self._heap and self._due_s.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now_s: float) -> list[int]:
        """Workers with something due, the most overdue first. Until they say otherwise they are due again after TICK_AGAIN_S."""
        taken: list[int] = []
        while (due_s := self.next_s()) is not None and due_s <= now_s:
            worker_id = self._heap[0][1]
            taken.append(worker_id)
            self.put(worker_id, now_s + TICK_AGAIN_S)
        return taken
