"""What a guild's isolate uses of the processor: measured, and held to a budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LOOK_AFTER_S: Final = 0.005  # a look costs 0.7 µs, the round trips of so much time are many
MINUTE_S: Final = 60.0
SLICE_S: Final = 5.0
LEAST_PAUSE_S: Final = 0.02  # with shorter ones a guild at its limit would be woken for every single event


class CpuMeter:
    """Processor time of a guild, over all isolates it had. Pure but for `read`.

    Looks at the thread's clock only when the round trips since the last look lasted long enough to matter; without such a clock, what
    they lasted is what counts.
    """

    def __init__(self) -> None:
        self.total_us = 0
        self._read: Callable[[], int | None] = lambda: None
        self._seen_us: int | None = None
        self._busy_s = 0.0
        self._slices: deque[tuple[float, int]] = deque()  # (begin, µs)

    def attach(self, read: Callable[[], int | None]) -> None:
        """A new isolate: `read` gives its thread's processor time in µs, None if it is not known."""
        self._read = read
        self._seen_us = read()
        self._busy_s = 0.0

    def round_trip(self, lasted_s: float) -> bool:
        """A round trip has ended. Says whether it is worth while to look."""
        self._busy_s += lasted_s
        return self._busy_s >= LOOK_AFTER_S

    def look(self, now_s: float) -> int:
        """Gives the µs used since the last look."""
        now_us = self._read()
        if now_us is None or self._seen_us is None:
            used_us = int(self._busy_s * 1e6) if self._seen_us is None else 0
        else:
            used_us, self._seen_us = max(0, now_us - self._seen_us), now_us
        self._busy_s = 0.0
        self._note(used_us, now_s)
        return used_us

    def add(self, used_us: int, now_s: float) -> None:
        """Used elsewhere on the guild's behalf."""
        self._note(used_us, now_s)

    def _note(self, used_us: int, now_s: float) -> None:
        self.total_us += used_us
        if self._slices and now_s - self._slices[-1][0] < SLICE_S:
            begin_s, before_us = self._slices[-1]
            self._slices[-1] = (begin_s, before_us + used_us)
        else:
            self._slices.append((now_s, used_us))
        while now_s - self._slices[0][0] > MINUTE_S:
            self._slices.popleft()

    def last_minute_us(self, now_s: float) -> int:
        """Used within the last minute, to within five seconds."""
        return sum(used_us for begin_s, used_us in self._slices if now_s - begin_s <= MINUTE_S)


@dataclass(slots=True)
class CpuBudget:
    """A token bucket of processor time. Pure.

    Attributes:
        share_percent: Of one core, for good; 0 for no limit.
        burst_us: What may be used at once after a rest.
    """

    share_percent: float
    burst_us: float
    now_s: float = 0.0
    episodes: int = 0  # how often it was used up; a guild that stays at its limit is in one long episode
    held_since_s: float | None = None  # nothing new may start since then
    _balance_us: float = field(init=False)
    _in_episode: bool = False

    def __post_init__(self) -> None:
        self._balance_us = self.burst_us

    def spend(self, used_us: int, now_s: float) -> bool:
        """Takes what was used. Gives True when that begins an episode: the author is to be told."""
        if not self.share_percent:
            return False
        balance_us = self.balance_us(now_s) - used_us
        self._balance_us, self.now_s = balance_us, now_s
        if balance_us > 0:
            self._in_episode = self._in_episode and balance_us < self.burst_us / 2
            return False
        if self.held_since_s is None:
            self.held_since_s = now_s
        begins, self._in_episode = not self._in_episode, True
        self.episodes += begins
        return begins

    def balance_us(self, now_s: float) -> float:
        """What is left; negative: used in advance."""
        return min(self.burst_us, self._balance_us + (now_s - self.now_s) * self._refill_us_per_s)

    @property
    def _refill_us_per_s(self) -> float:
        return self.share_percent * 10_000

    @property
    def ready_at_s(self) -> float:
        """When something new may start, if nothing is spent until then."""
        missing_us = min(self.burst_us, LEAST_PAUSE_S * self._refill_us_per_s) - self._balance_us
        return self.now_s + missing_us / self._refill_us_per_s

    def release(self, now_s: float) -> float:
        """Ends the hold if there is enough again. Gives how long it lasted, 0.0 when it goes on or there is none."""
        if self.held_since_s is None or now_s < self.ready_at_s:
            return 0.0
        held_s, self.held_since_s = now_s - self.held_since_s, None
        return held_s
