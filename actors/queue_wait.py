"""How long events wait in gateway and router: from the gateway's reading of each until it is sent to its worker. Pure.

The gateway says with each frame when it read its events. Those times are kept per frame, not with the events, so that a batch that
goes to a worker costs a look-up and a subtraction per event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any

from flora.messages.series import Histogram

MAX_KEPT = 100_000
"""Events whose times are kept. What waits for longer than that many others is counted as waiting since the oldest that is known."""

Frame = tuple[int, Sequence[int]]
"""(number of the first event, when each was read, µs since 1970)"""


class QueueWait:
    """One per router."""

    def __init__(self) -> None:
        self.waits = Histogram("router_wait")
        self._frames: deque[Frame] = deque()
        self._kept = 0

    def took(self, first_seq: int, received_us: Sequence[int]) -> None:
        """The router takes in a frame of the gateway's."""
        if not received_us:
            return
        self._frames.append((first_seq, received_us))
        self._kept += len(received_us)
        while self._kept > MAX_KEPT and len(self._frames) > 1:
            self._kept -= len(self._frames.popleft()[1])

    def sent(self, rows: Sequence[tuple[Any, ...]], now_us: int) -> None:
        """Events go to their worker. rows: (number, …); now_us: wall clock."""
        if not self._frames:
            return
        waits = []
        first, times = self._frames[-1]
        for row in rows:
            place = row[0] - first
            if not 0 <= place < len(times):
                first, times = self._frame_of(row[0])
                place = max(0, min(row[0] - first, len(times) - 1))
            waits.append(now_us - times[place])
        waits.sort(reverse=True)  # in order already, but for events that are sent once more
        self.waits.add_descending(waits)

    def _frame_of(self, seq: int) -> Frame:
        return self._frames[max(0, bisect_right(self._frames, seq, key=_first_of) - 1)]


def _first_of(frame: Frame) -> int:
    return frame[0]
