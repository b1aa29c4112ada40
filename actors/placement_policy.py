"""Which worker a guild is to run on: at first, when its worker is emptied, when one worker has too much to do. Pure; no clock.

Everything is decided from figures that others collect, in three dimensions: processor, backlog, memory. A worker has too much of one
when it is over the mean of the pool by a threshold. Guilds are moved away only when that lasts, only when a move takes at least half of
its guild's weight off the busiest worker, and never twice within a while. So a guild that is hotter than all others together stays
(elsewhere it would only make another worker hot), noise moves nothing, and on a steady load the moves come to an end.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from flora.actors.placement import is_dedicated
from flora.actors.routing import guild_hash
from flora.messages.ids import GuildId, WorkerId

LEAST_GAIN_SHARE = 0.5  # of a guild's weight, that the busiest worker must be better off by
CALM_SHARE = 0.5  # of the threshold, under which an imbalance is over, and down to which moves go on: else it would be back at once
WORTHWHILE_SHARE = 0.08  # of the threshold; what gains less altogether is not worth the guilds' pauses
MAX_TRIED = 8  # guilds for one target: the router's time is short, and where eight have no room hardly any has
LEAST_PATIENCE_S = 30.0  # after the first time that nothing helped, however short `lasting_s` is
MAX_PATIENCE = 16  # times `lasting_s`, where nothing helps that could be done
FIRST_LOAD_TOLERANCE = 2  # thresholds, within which a guild's first worker is the one its id hashes to
GUILDS_ALIKE = 16  # as for that, in guilds; or half of what a worker has on average
HOT_AGAIN_S = 3600.0
GUILD_COST = 0.002  # of a core: what counts a guild, where others are alike
BACKLOG_COST = 0.001  # of a core, for one event


class Dimension(IntEnum):
    """What a worker can have too much of. The worst comes first."""

    MEMORY = 0
    BACKLOG = 1
    PROCESSOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """One worker's figures."""

    worker: WorkerId
    cpu_share: float = 0.0  # of one core, smoothed; more than 1.0 where its isolates keep several busy
    rss_bytes: int = 0
    backlog: int = 0  # events accepted and not done, so many of each guild at most: see `Lanes.pressure_on`
    guilds: int = 0
    accepts: bool = True  # False: it does not run, did not say how it is, or is being emptied. It is left alone

    def of(self, dimension: Dimension) -> float:
        """The figure of a dimension."""
        return (self.rss_bytes, self.backlog, self.cpu_share)[dimension]

    def plus(self, guild: GuildLoad, sign: int = 1) -> WorkerLoad:
        """What it will be with the guild; without it, where `sign` is -1."""
        return replace(
            self,
            cpu_share=self.cpu_share + sign * guild.cpu_share,
            rss_bytes=self.rss_bytes + sign * guild.memory_bytes,
            backlog=self.backlog + sign * guild.backlog,
            guilds=self.guilds + sign,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuildLoad:
    """One guild's figures; what is not known is 0."""

    guild_id: GuildId
    worker: WorkerId
    cpu_share: float = 0.0  # of one core, what its worker does for it included
    backlog: int = 0
    memory_bytes: int = 0
    moved_at_s: float = -math.inf
    movable: bool = True  # False: it has a worker of its own, is under way, or does not serve now

    def of(self, dimension: Dimension) -> float:
        """The figure of a dimension."""
        return (self.memory_bytes, self.backlog, self.cpu_share)[dimension]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When something is done, and how much at once."""

    cpu_over_mean: float = 0.25  # of one core
    backlog_over_mean: int = 500  # a quarter of what the router begins to shed at
    memory_bytes: int = 0  # resident, from where a worker has too much if others have a tenth less; 0: never
    lasting_s: float = 30.0
    cool_down_s: float = 600.0
    max_moves: int = 8  # in one decision
    hot_share: float = 0.4  # of a core, for one guild; 0: none is too hot
    hot_lasting_s: float = 300.0

    def over(self, dimension: Dimension) -> float:
        """How much over the mean is too much."""
        return (self.memory_bytes / 10, self.backlog_over_mean, self.cpu_over_mean)[dimension]

    def floor(self, dimension: Dimension) -> float:
        """What is never too much, whatever the others have."""
        return (self.memory_bytes or math.inf) if dimension is Dimension.MEMORY else 0.0


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A worker has too much of something."""

    dimension: Dimension
    worker: WorkerId
    since_s: float  # or when something was last tried in vain
    patience_s: float  # so long it must last before something is tried

    def is_due(self, now_s: float) -> bool:
        """It has lasted long enough."""
        return now_s - self.since_s >= self.patience_s


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now."""

    moves: tuple[tuple[GuildId, WorkerId], ...] = ()  # the one that helps most first
    cause: Imbalance | None = None
    in_vain: tuple[Imbalance, ...] = ()  # has lasted, and no move would help


class PlacementPolicy:
    """Decides. Remembers nothing but since when which worker has had too much, and which guild was hot."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self._found: dict[tuple[Dimension, WorkerId], Imbalance] = {}
        self._hot_since_s: dict[GuildId, float] = {}

    # Where to begin, where to go

    def choose(self, guild_id: GuildId, loads: Iterable[WorkerLoad]) -> WorkerId:
        """The worker for a guild that runs nowhere yet.

        The one that its id hashes to, as long as that accepts guilds and has not much more to do than the least busy one; else that one.

        Args:
            guild_id: Decimal snowflake, any length.
            loads: Every worker of the pool; dedicated ones are passed over.
        Returns:
            One of them. Where none accepts guilds: the one it hashes to.
        Raises:
            ValueError: there is no worker.
        """
        pool = sorted((load for load in loads if not is_dedicated(load.worker)), key=lambda load: load.worker)
        if not pool:
            raise ValueError("there must be at least one worker")
        hashed = pool[guild_hash(guild_id) % len(pool)]
        accepting = _accepting(pool)
        if not accepting or (hashed.accepts and self._is_alike(hashed, accepting)):
            return hashed.worker
        return min(accepting, key=self._cost).worker

    def _is_alike(self, load: WorkerLoad, pool: Sequence[WorkerLoad]) -> bool:
        for dimension in Dimension:
            tolerated = min(other.of(dimension) for other in pool)
            tolerated += FIRST_LOAD_TOLERANCE * self.thresholds.over(dimension)
            if load.of(dimension) > max(tolerated, self.thresholds.floor(dimension)):
                return False
        counts = [other.guilds for other in pool]
        return load.guilds <= min(counts) + max(GUILDS_ALIKE, sum(counts) / len(counts) / 2)

    def spread(self, guilds: Iterable[GuildLoad], loads: Iterable[WorkerLoad]) -> dict[GuildId, WorkerId]:
        """Where guilds go that must leave their workers, so that the others get about the same.

        Args:
            guilds: All of them are to go, also those that are not `movable`.
            loads: The pool.
        Returns:
            For each guild a worker that accepts guilds and is not its own. Guilds are left out if there is none.
        """
        pool = {load.worker: load for load in _accepting(loads)}
        targets: dict[GuildId, WorkerId] = {}
        for guild in sorted(guilds, key=lambda guild: (-guild.cpu_share, -guild.backlog, guild.guild_id)):
            others = [load for load in pool.values() if load.worker != guild.worker]
            if others:
                target = min(others, key=self._cost)
                pool[target.worker] = target.plus(guild)
                targets[guild.guild_id] = target.worker
        return targets

    def _cost(self, load: WorkerLoad) -> tuple[bool, float, WorkerId]:
        is_full = load.rss_bytes > self.thresholds.floor(Dimension.MEMORY)
        return is_full, load.cpu_share + BACKLOG_COST * load.backlog + GUILD_COST * load.guilds, load.worker

    # One worker has too much

    def look(self, loads: Iterable[WorkerLoad], now_s: float) -> tuple[Imbalance, ...]:
        """Notes who has too much. To be called at every look at the figures, also where nothing may be moved.

        Returns:
            What is too much somewhere; what was found, or tried in vain, longest ago comes first.
        """
        pool = _accepting(loads)
        excess = {(d, load.worker): self._excess(load, d, pool) for d in Dimension for load in pool}
        for key in list(self._found):
            if excess.get(key, -math.inf) < (CALM_SHARE - 1) * self.thresholds.over(key[0]):
                del self._found[key]
        for key in sorted(excess, key=lambda key: (key[0], -excess[key])):
            if excess[key] > 0 and key not in self._found:
                self._found[key] = Imbalance(*key, now_s, self.thresholds.lasting_s)
        return tuple(sorted(self._found.values(), key=lambda found: found.since_s))

    def _excess(self, load: WorkerLoad, dimension: Dimension, pool: Sequence[WorkerLoad]) -> float:
        """How much more than is tolerated; negative: so much is left."""
        mean = sum(other.of(dimension) for other in pool) / len(pool)
        tolerated = max(mean + self.thresholds.over(dimension), self.thresholds.floor(dimension))
        return load.of(dimension) - tolerated

    def forget(self) -> None:
        """The load is being changed by others: whatever is too much must last again."""
        self._found.clear()

    def rebalance(self, loads: Iterable[WorkerLoad], guilds: Iterable[GuildLoad], now_s: float) -> Decision:
        """Which guilds are to move where, now.

        Args:
            loads: The pool.
            guilds: Those of whom figures are known.
            now_s: Monotonic seconds.
        Returns:
            Mostly nothing. At most `max_moves`, all from one worker.
        """
        loads = tuple(loads)
        pool = {load.worker: load for load in _accepting(loads)}
        everybody = tuple(pool.values())
        due = [
            found
            for found in self.look(loads, now_s)
            # At this very moment, too: what is on its way down is over before a move would help.
            if found.is_due(now_s) and self._excess(pool[found.worker], found.dimension, everybody) > 0
        ]
        if not due:
            return Decision()
        rested = [g for g in guilds if g.movable and now_s - g.moved_at_s >= self.thresholds.cool_down_s]
        in_vain: list[Imbalance] = []
        for found in due:
            moves = self._relieve(found, dict(pool), rested)
            if moves:
                self.forget()  # figures follow moves slowly
                return Decision(tuple(moves), found)
            lasting_s = max(self.thresholds.lasting_s, LEAST_PATIENCE_S)
            patience_s = min(max(2 * found.patience_s, lasting_s), MAX_PATIENCE * lasting_s)
            self._found[found.dimension, found.worker] = replace(found, since_s=now_s, patience_s=patience_s)
            in_vain.append(found)
        return Decision(in_vain=tuple(in_vain))

    def _relieve(
        self, imbalance: Imbalance, pool: dict[WorkerId, WorkerLoad], guilds: Iterable[GuildLoad]
    ) -> list[tuple[GuildId, WorkerId]]:
        dimension, source = imbalance.dimension, imbalance.worker
        left = [guild for guild in guilds if guild.worker == source and guild.of(dimension) > 0]
        over = self.thresholds.over(dimension)
        before = pool[source].of(dimension)
        moves: list[tuple[GuildId, WorkerId]] = []
        while len(moves) < self.thresholds.max_moves:
            if self._excess(pool[source], dimension, tuple(pool.values())) <= (CALM_SHARE - 1) * over:
                return moves
            best = self._best_move(source, left, dimension, pool)
            if best is None:
                break
            guild, target = best
            left.remove(guild)
            pool[source], pool[target] = pool[source].plus(guild, -1), pool[target].plus(guild)
            moves.append((guild.guild_id, target))
        gained = before - max(pool[worker].of(dimension) for worker in {source, *(target for _, target in moves)})
        return moves if gained >= WORTHWHILE_SHARE * over else []

    def _best_move(
        self, source: WorkerId, guilds: Sequence[GuildLoad], dimension: Dimension, pool: dict[WorkerId, WorkerLoad]
    ) -> tuple[GuildLoad, WorkerId] | None:
        """The guild that takes most off the source by going to the least busy worker, or if that has no room for any, the next one."""
        weights = [(guild.of(dimension), guild) for guild in guilds]
        for target in sorted(pool.values(), key=lambda load: (load.of(dimension), load.worker)):
            gap = pool[source].of(dimension) - target.of(dimension)
            gains = [
                (min(weight, gap - weight), -weight, guild.guild_id, guild)
                for weight, guild in weights
                if gap - weight >= LEAST_GAIN_SHARE * weight
            ]
            for *_, guild in heapq.nlargest(MAX_TRIED, gains, key=lambda gain: gain[:3]):
                if self._has_room(target.plus(guild), dimension, pool):
                    return guild, target.worker
        return None

    def _has_room(self, target: WorkerLoad, dimension: Dimension, pool: dict[WorkerId, WorkerLoad]) -> bool:
        """Whether a move that helps in one dimension leaves the target well in the others."""
        others = tuple(pool.values())
        return all(self._excess(target, other, others) <= 0 for other in Dimension if other is not dimension)

    # One guild is too much

    def hot_guilds(self, guilds: Iterable[GuildLoad], now_s: float) -> list[GuildLoad]:
        """Guilds of the pool that have used so much for so long that each should have a worker of its own, the hottest first.

        Args:
            guilds: Those of whom figures are known; to be given at every look. Who is missing starts anew.
            now_s: Monotonic seconds.
        Returns:
            Each once, and again after `HOT_AGAIN_S` if it goes on.
        """
        share = self.thresholds.hot_share
        hot = [g for g in guilds if g.movable and share and g.cpu_share >= share]
        self._hot_since_s = {g.guild_id: self._hot_since_s.get(g.guild_id, now_s) for g in hot}
        found = [g for g in hot if now_s - self._hot_since_s[g.guild_id] >= self.thresholds.hot_lasting_s]
        for guild in found:
            self._hot_since_s[guild.guild_id] = now_s + HOT_AGAIN_S
        return sorted(found, key=lambda guild: (-guild.cpu_share, guild.guild_id))


def _accepting(loads: Iterable[WorkerLoad]) -> list[WorkerLoad]:
    return [load for load in loads if load.accepts and not is_dedicated(load.worker)]
