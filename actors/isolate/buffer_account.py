"""When the typed arrays of one isolate call for a collection. Pure."""

from __future__ import annotations

from typing import Final

COLLECT_FROM: Final = 0.5  # of the limit; below it V8 collects by itself often enough


class BufferAccount:
    """What an isolate holds in typed arrays and buffers, by its own account.

    The account falls only when V8 has collected what a script dropped, and V8 has no reason to hurry. So when it runs high the host
    collects between two turns, but not after every turn of a script that simply uses much.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Args: limit_bytes: where the prelude refuses to allocate."""
        self._limit = limit_bytes
        self._start = int(limit_bytes * COLLECT_FROM)
        self._collect_above = self._start
        self.bytes = 0

    def note(self, held_bytes: int) -> bool:
        """The isolate says what it holds now. Returns whether to collect."""
        self.bytes = held_bytes
        next_above = max(self._start, held_bytes + max((self._limit - held_bytes) // 2, self._limit // 16))
        if held_bytes > self._collect_above:
            self._collect_above = next_above  # should all of it still be in use
            return True
        self._collect_above = min(self._collect_above, next_above)
        return False
