"""What a script may ask of its host per second, and at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.actors.isolate.op_args import OpError
from flora.messages.errors import LimitReached

OPS_BURST = 2
"""Operations that may come at once, in seconds' worth."""
LOG_BURST = 5
TELL_AFTER_S = 1.0
"""So long dropped lines are counted before the author is told how many there were."""


@dataclass(slots=True)
class TokenBucket:
    """`rate` tokens per second, at most `burst` of them saved up. A rate of 0 never runs out."""

    rate: float
    burst: float
    now_s: float = 0.0
    _tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def take(self, now_s: float) -> bool:
        """Whether there was one."""
        if not self.rate:
            return True
        tokens = self._tokens + (now_s - self.now_s) * self.rate
        self.now_s = now_s
        self._tokens = min(self.burst, tokens)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class OpAllowance:
    """Whether a script may ask for one more operation."""

    def __init__(self, max_pending: int, per_second: int, now_s: float) -> None:
        """A `per_second` of 0 is no limit."""
        self._max_pending = max_pending
        self._per_second = per_second
        self._bucket = TokenBucket(per_second, per_second * OPS_BURST, now_s)
        self.refused = 0

    def refusal(self, pending: int, now_s: float | None) -> OpError | None:
        """What to tell the script, None: it may.

        Args:
            pending: Operations that wait for their answer.
            now_s: Monotonic; None: one that counts as processor time and not by number.
        """
        if pending >= self._max_pending:
            self.refused += 1
            text = f"{pending} operations of this guild wait for their answer already (limit {self._max_pending})"
            return OpError(text, LimitReached.code, limit="max_pending_ops")
        if now_s is not None and not self._bucket.take(now_s):
            self.refused += 1
            text = f"this guild asks for more than {self._per_second} operations per second"
            return OpError(text, LimitReached.code, limit="ops_per_second")
        return None


class LogAllowance:
    """Lets log lines through, and counts those it does not."""

    def __init__(self, per_second: int, now_s: float) -> None:
        """A `per_second` of 0 is no limit."""
        self._per_second = per_second
        self._bucket = TokenBucket(per_second, per_second * LOG_BURST, now_s)
        self._untold = 0
        self._tell_at_s = 0.0
        self.dropped = 0

    def admits(self, now_s: float) -> bool:
        """Whether one more line may go out."""
        if self._bucket.take(now_s):
            return True
        if not self._untold:
            self._tell_at_s = now_s + TELL_AFTER_S
        self._untold += 1
        self.dropped += 1
        return False

    @property
    def tell_at_s(self) -> float | None:
        """When the author is to be told of dropped lines; None: there are none."""
        return self._tell_at_s if self._untold else None

    def told(self, now_s: float) -> str | None:
        """The line that says how many were dropped, once it is time for it."""
        if not self._untold or now_s < self._tell_at_s:
            return None
        count, self._untold = self._untold, 0
        return f"{count} log lines dropped: more than {self._per_second} per second"
