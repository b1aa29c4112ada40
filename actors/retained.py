"""What the gateway keeps of the events it has sent, until the router says that they are settled. Pure.

A router that is killed loses its queues. Events have numbers without gaps, so what is kept is always one stretch of them:
it goes to the next router once more, under the same numbers, and that one learns from the workers what had arrived there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_ROWS = 200_000
MAX_BYTES = 256 * 1024 * 1024
"""Far more than the router lets wait; a bound for a router that settles nothing."""


class Retained(Generic[T]):
    """Rows `first_seq`, `first_seq + 1`, … that are not settled."""

    def __init__(
        self,
        first_seq: int,
        size_of: Callable[[T], int],
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Keeps nothing yet.

        Args:
            first_seq: Number of the first row that will be kept.
            size_of: Bytes of a row, roughly.
            max_rows: More rows than that, and the oldest are dropped.
            max_bytes: The same by size.
        """
        self.first_seq = first_seq
        self.dropped = 0
        self._size_of = size_of
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def next_seq(self) -> int:
        """Number of the next row that is kept."""
        return self.first_seq + len(self._rows)

    def keep(self, rows: Collection[T]) -> None:
        """Adds rows that are about to be sent, in order."""
        self._rows.extend(rows)
        self._bytes += sum(map(self._size_of, rows))
        while len(self._rows) > self._max_rows or self._bytes > self._max_bytes:
            self._forget_first()
            self.dropped += 1

    def settle(self, below: int) -> None:
        """Forgets every row with a number below `below`."""
        while self._rows and self.first_seq < below:
            self._forget_first()

    def rows(self) -> list[T]:
        """Everything kept, in order; the first has the number `first_seq`."""
        return list(self._rows)

    def start_at(self, seq: int) -> None:
        """Gives the next row at least this number. Only while nothing is kept."""
        if not self._rows:
            self.first_seq = max(self.first_seq, seq)

    def _forget_first(self) -> None:
        self._bytes -= self._size_of(self._rows.popleft())
        self.first_seq += 1
