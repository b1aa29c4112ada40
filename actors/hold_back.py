"""How long the gateway is kept waiting before events are dropped. Pure.

A burst is no overload: while what is over-full visibly drains, its sender waits and nothing is lost. What does not drain is an overload:
then the sender goes on, and droppable events of the over-full guilds and workers are shed.
"""

from __future__ import annotations

CHECK_S = 0.02
MAX_STALLED_CHECKS = 15  # checks in a row without progress after which waiting is pointless
MAX_HOLD_S = 5.0  # longest time the gateway waits for one frame, however well things go
PROGRESS_SHARE = 100  # the hundredth part less than at best so far is progress


class HoldBack:
    """The state of one hold-back after another."""

    def __init__(self) -> None:
        self.shedding = False  # waiting did not help: drop what may be dropped
        self._since_s = 0.0
        self._lowest = 0
        self._stalled = 0

    def begins(self, overfull: int, now_s: float) -> bool:
        """A frame was taken in. Is its sender to wait?

        Args:
            overfull: Events in what is over its threshold; 0: nothing is.
            now_s: Monotonic seconds.
        """
        if overfull == 0:
            self.shedding = False
        self._since_s, self._lowest, self._stalled = now_s, overfull, 0
        return overfull > 0 and not self.shedding

    def goes_on(self, overfull: int, now_s: float) -> bool:
        """Called every `CHECK_S` during a hold-back. Is the sender to wait on?"""
        if overfull == 0:
            return False
        if overfull <= self._lowest - max(1, self._lowest // PROGRESS_SHARE):
            self._lowest, self._stalled = overfull, 0
        else:
            self._stalled += 1
        if self._stalled >= MAX_STALLED_CHECKS or now_s - self._since_s >= MAX_HOLD_S:
            self.shedding = True
        return not self.shedding
