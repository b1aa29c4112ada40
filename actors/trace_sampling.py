"""Which events are traced from the start, and how many of the slow and failed ones are written down afterwards. Pure.

Both are bounded per guild, so that one which floods, or fails at every event, takes nothing from another. Time comes in as
monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BURST_S = 2.0  # of the whole budget: what can come at once after a pause
QUIET_PART, QUIET_S = 0.2, 10.0  # of the budget, only for guilds that were not seen for a while, and how long that is
GUILD_RATE, GUILD_BURST = 1.0, 5.0  # sampled events of one guild, per second and at once
KEPT_RATE, KEPT_BURST = 10.0, 50.0  # slow and failed ones of one guild
KEPT_OF_ALL, KEPT_LEAST = 100.0, 5.0  # of all guilds and workers, per second, and of one worker
TOTAL_BURST_S = 4.0
RARE_S = 10.0  # a guild's first for so long is written down whatever the others have
MAX_GUILDS = 4096  # that are remembered; more and the oldest are taken for new


@dataclass(slots=True)
class Bucket:
    """Tokens that come at a steady rate, up to a burst."""

    rate: float  # tokens per second
    burst: float
    tokens: float
    at_s: float
    suppressed: int = 0  # refused since the last one that was let through

    def refill(self, now_s: float) -> float:
        """Tokens there are now."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now_s - self.at_s) * self.rate)
        self.at_s = now_s
        return self.tokens


class _Buckets:
    """One per guild. Bounded: a bucket that is full again says nothing and is forgotten."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._by_guild: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._by_guild)

    def of(self, guild_id: str, now_s: float) -> Bucket:
        """The guild's, filled up to now."""
        bucket = self._by_guild.get(guild_id)
        if bucket is None:
            if len(self._by_guild) >= MAX_GUILDS:
                self._make_room(now_s)
            bucket = self._by_guild[guild_id] = Bucket(self._rate, self._burst, self._burst, now_s)
        else:
            bucket.refill(now_s)
        return bucket

    def suppress(self, guild_id: str, now_s: float) -> None:
        """Counts a refusal that has nothing to do with the guild's own tokens."""
        bucket = self._by_guild.get(guild_id) or self.of(guild_id, now_s)
        bucket.suppressed += 1

    def _make_room(self, now_s: float) -> None:
        for guild_id, bucket in list(self._by_guild.items()):
            if bucket.refill(now_s) >= bucket.burst and not bucket.suppressed:
                del self._by_guild[guild_id]
        for guild_id in list(self._by_guild)[: len(self._by_guild) - MAX_GUILDS // 2]:
            del self._by_guild[guild_id]


class HeadSampler:
    """Chooses events at the border. A guild that was not seen for a while is, whatever the others do."""

    def __init__(self, events_per_second: int, now_s: float) -> None:
        """events_per_second: of all guilds together; 0: none."""
        common, quiet = events_per_second * (1 - QUIET_PART), events_per_second * QUIET_PART
        self._common = Bucket(common, common * BURST_S, common * BURST_S, now_s)
        self._quiet = Bucket(quiet, quiet * QUIET_S, quiet * QUIET_S, now_s)
        self._guilds = _Buckets(GUILD_RATE, GUILD_BURST)
        self._quiet_until_s: dict[str, float] = {}  # guild → from then on it has not been seen for a while

    def choose(self, guild_ids: Sequence[str], now_s: float) -> list[int]:
        """Which of these events are traced, as positions in order. Costs 0.1 µs an event while the budget is used up.

        Args:
            guild_ids: Of each event; "" is never chosen.
        """
        common, quiet, until_s = self._common, self._quiet, self._quiet_until_s
        chosen = []
        if quiet.refill(now_s) >= 1:
            chosen = [at for at, guild_id in enumerate(guild_ids) if until_s.get(guild_id, 0.0) <= now_s]
            chosen = [at for at in chosen if self._takes_quiet(guild_ids[at], now_s)]
        if common.refill(now_s) >= 1:
            of, already, spent = (
                self._guilds.of,
                frozenset(chosen),
                {""},
            )  # of a flooding guild this is asked thousands of times
            for at, guild_id in enumerate(guild_ids):
                if guild_id in spent or at in already:
                    continue
                guild = of(guild_id, now_s)
                if guild.tokens < 1:
                    spent.add(guild_id)
                    continue
                chosen.append(at)
                guild.tokens -= 1
                common.tokens -= 1
                if common.tokens < 1:
                    break
            chosen.sort()
        return chosen

    def _takes_quiet(self, guild_id: str, now_s: float) -> bool:
        until_s = self._quiet_until_s
        if not guild_id or self._quiet.tokens < 1 or until_s.get(guild_id, 0.0) > now_s:
            return False
        if len(until_s) >= MAX_GUILDS:
            self._quiet_until_s = until_s = {known: at_s for known, at_s in until_s.items() if at_s > now_s}
        self._quiet.tokens -= 1
        # With many guilds a while is longer: were all of them busy, they would take half of what there is for quiet ones.
        until_s[guild_id] = now_s + max(QUIET_S, 2 * len(until_s) / self._quiet.rate)
        return True


class Admission:
    """How many slow and failed ones of each guild are written down; the others are counted."""

    def __init__(
        self, rate: float = KEPT_RATE, burst: float = KEPT_BURST, *, total_rate: float | None = None, now_s: float = 0.0
    ) -> None:
        """Lets everything through at first.

        Args:
            rate: Per guild and second.
            burst: Of a guild, at once.
            total_rate: Of all guilds together; None: no such limit. What a guild has once in a while is let through all the same.
        """
        self._guilds = _Buckets(rate, burst)
        self._admitted_s: dict[str, float] = {}  # guild → when last, where there is a limit for all
        self._closed_until_s = 0.0  # no token for all before; under load this is asked for every event
        self._total = None
        if total_rate is not None:
            self._total = Bucket(total_rate, total_rate * TOTAL_BURST_S, total_rate * TOTAL_BURST_S, now_s)

    def admit(self, guild_id: str, now_s: float) -> int | None:
        """May one more of this guild's be written down?

        Returns:
            How many were refused since the last one that might; None: this one is refused, too.
        """
        if now_s < self._closed_until_s and self._admitted_s.get(guild_id, -RARE_S) > now_s - RARE_S:
            self._guilds.suppress(guild_id, now_s)
            return None
        bucket = self._guilds.of(guild_id, now_s)
        if bucket.tokens < 1 or not self._has_room(guild_id, now_s):
            bucket.suppressed += 1
            return None
        bucket.tokens -= 1
        suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed

    def _has_room(self, guild_id: str, now_s: float) -> bool:
        total = self._total
        if total is None:
            return True
        if total.refill(now_s) < 1 and self._admitted_s.get(guild_id, -RARE_S) > now_s - RARE_S:
            self._closed_until_s = now_s + (1 - total.tokens) / total.rate
            return False
        total.tokens = max(0.0, total.tokens - 1)
        if len(self._admitted_s) >= MAX_GUILDS:
            self._admitted_s = {known: at_s for known, at_s in self._admitted_s.items() if at_s > now_s - RARE_S}
        self._admitted_s[guild_id] = now_s
        return True


def kept_per_second(workers: int) -> float:
    """Of one worker, so that a system in which everything is slow does not become slower by writing it all down."""
    return max(KEPT_LEAST, KEPT_OF_ALL / workers)
