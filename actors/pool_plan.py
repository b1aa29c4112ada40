"""What is left to do until the pool of shared workers is as Runtime wants it. Pure, no clock; kept by the router.

    workers that are no members, and drained ones      lose their guilds, the highest number first, some at a time
    workers that are no members, and empty             end
    workers that come in                               take guilds over from the others, once all of them are up

Nothing else is remembered than what cannot be seen: which moves are under way, and which guilds did not come along. So a new router goes
on where the old one died, a new goal needs nothing undone, and a guild moves at most once per operation: only from workers that are to be
empty, or to workers that come in.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flora.messages.ids import GuildId, WorkerId
from flora.messages.pool import OperationKind, OperationState, Pool, PoolOperation
from flora.storage.backoff import Backoff

MOVES_AT_ONCE = 4
MAX_TRIES = 5  # then the operation is stuck; the guild is tried on, now and then
AGAIN = Backoff(first_s=0.5, cap_s=60.0, jitter=0.0)
START_LIMIT_S = 60.0  # for workers that come in
_NO_JITTER = random.Random(0)


class Sight(Protocol):
    """What the router sees of its workers and guilds now."""

    def workers(self) -> Mapping[WorkerId, bool]:
        """Every shared worker, and whether it runs."""

    def guilds_on(self, worker: WorkerId) -> Sequence[GuildId]:
        """Guilds that lead to a worker."""

    def is_moving(self, guild_id: GuildId) -> bool:
        """Somebody moves it."""

    def is_movable(self, guild_id: GuildId) -> bool:
        """Nobody moves it, and it is not being loaded."""

    def is_quiet(self, worker: WorkerId) -> bool:
        """No move of anybody comes from there or goes there, and nothing is being loaded there."""

    def spread(self, guilds: Sequence[GuildId], onto: Sequence[WorkerId]) -> Mapping[GuildId, WorkerId]:
        """For each guild one of these workers, none of which is its own."""


@dataclass(frozen=True, slots=True)
class Move:
    """Have the guild moved."""

    guild_id: GuildId
    target: WorkerId
    by_force: bool = False  # without waiting until it comes to rest


@dataclass(frozen=True, slots=True)
class Resettle:
    """These guilds' worker is dead and does not come back: load them there."""

    targets: Mapping[GuildId, WorkerId]


@dataclass(frozen=True, slots=True)
class Stop:
    """The worker is too many, and empty."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class End:
    """How the operation stands now."""

    state: OperationState
    text: str


Action = Move | Resettle | Stop | End


@dataclass(slots=True)
class Hitch:
    """A guild that did not come along."""

    worker: WorkerId
    why: str
    tries: int
    again_s: float


class PoolPlan:
    """To be asked by `look` whenever something happened, and a few times a second while `is_active`."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.moving: dict[GuildId, WorkerId] = {}  # by this plan, to where
        self.hitches: dict[GuildId, Hitch] = {}
        self.moved: set[GuildId] = set()  # in this operation
        self._earlier: set[GuildId] = set()  # under way since an operation that was replaced
        self._destined: dict[GuildId, WorkerId] = {}  # where those that must leave go
        self._to_fill: dict[GuildId, tuple[WorkerId, WorkerId]] | None = None  # from, to
        self._stopping: set[WorkerId] = set()
        self._told = OperationState.DONE

    def take(self, pool: Pool) -> None:
        """What Runtime wants from now on. An older one is ignored."""
        if pool.version <= self.pool.version:
            return
        before, self.pool = self.pool.operation, pool
        operation = pool.operation
        if operation is None or (before is not None and before.number == operation.number):
            return
        self.hitches.clear()
        self.moved.clear()
        self._earlier = set(self.moving)
        self._to_fill = None
        self._destined.clear()
        self._stopping.clear()
        self._told = operation.state

    def is_open(self, worker: WorkerId) -> bool:
        """Whether guilds may come to a shared worker."""
        return not self.pool.version or (self._is_member(worker) and worker not in self.pool.drained)

    def _is_member(self, worker: WorkerId) -> bool:
        return not self.pool.version or worker in self.pool.members  # as long as nothing is known all stay

    @property
    def is_running(self) -> bool:
        """An operation is under way."""
        return self.pool.operation is not None and self._told is OperationState.RUNNING

    def is_active(self, sight: Sight) -> bool:
        """Whether there is, or may soon be, anything to do."""
        if self.moving or self._told in (OperationState.RUNNING, OperationState.STUCK):
            return True
        return any(not self.is_open(worker) and sight.guilds_on(worker) for worker in sight.workers()) or any(
            not self._is_member(worker) for worker in sight.workers()
        )

    # What happened

    def ended(self, guild_id: GuildId, why: str | None, now_s: float) -> None:
        """A move has ended: the guild serves at its target, or stays for a reason. now_s: monotonic."""
        if self.moving.pop(guild_id, None) is None:
            return
        if guild_id in self._earlier:
            self._earlier.discard(guild_id)
            return
        if why is None:
            self._came(guild_id)
            return
        known = self.hitches.get(guild_id)
        tries = 1 if known is None else known.tries + 1
        self.hitches[guild_id] = Hitch(WorkerId(-1), why, tries, now_s + AGAIN.delay_s(tries, _NO_JITTER))

    def _came(self, guild_id: GuildId) -> None:
        self._destined.pop(guild_id, None)
        self.moved.add(guild_id)
        self.hitches.pop(guild_id, None)
        if self._to_fill is not None:
            self._to_fill.pop(guild_id, None)

    def not_stopped(self, worker: WorkerId) -> None:
        """Runtime did not end a worker: it wants it again, or died with the question."""
        self._stopping.discard(worker)

    # What to do

    def look(self, now_s: float, sight: Sight, now_epoch_s: float) -> list[Action]:
        """What is to be done now; moves among it count as under way from now on."""
        actions: list[Action] = []
        up = [worker for worker, runs in sight.workers().items() if runs and self.is_open(worker)]
        to_empty = sorted((w for w in sight.workers() if not self.is_open(w)), reverse=True)
        left = {worker: sight.guilds_on(worker) for worker in to_empty}
        self._forget_hitches(left)
        if targets := self._targets(up):
            for worker in to_empty:
                actions += self._leave(worker, left[worker], targets, now_s, sight)
            actions += self._fill(up, now_s, sight)
        actions += self._stop(left, sight)
        actions += self._end(left, sight, now_epoch_s)
        return actions

    def left(self, sight: Sight) -> int:
        """How many guilds are to move and do not yet."""
        here = [g for worker in sight.workers() if not self.is_open(worker) for g in sight.guilds_on(worker)]
        return len({*here, *(self._to_fill or ())} - {*self.moving})

    def loading(self, sight: Sight) -> int:
        """How many of them cannot move now, because they are being loaded or moved by somebody else."""
        here = [g for worker in sight.workers() if not self.is_open(worker) for g in sight.guilds_on(worker)]
        return sum(not sight.is_movable(guild_id) for guild_id in here if guild_id not in self.moving)

    def starting(self, sight: Sight) -> tuple[int, ...]:
        """Workers that come in and do not run yet."""
        return tuple(worker for worker in self._fresh() if not sight.workers().get(WorkerId(worker)))

    def _targets(self, up: list[WorkerId]) -> list[WorkerId]:
        """Where guilds go that must leave. Where workers come in, to those only: nobody then moves on from another one, not even when
        a router that was restarted does not know any more who has moved.
        """
        fresh = self._fresh()
        return [worker for worker in up if worker in fresh] if fresh else up

    def _leave(
        self, worker: WorkerId, guilds: Sequence[GuildId], targets: list[WorkerId], now_s: float, sight: Sight
    ) -> list[Action]:
        here = [guild_id for guild_id in guilds if guild_id not in self.moving]
        if not sight.workers()[worker]:
            here = [guild_id for guild_id in here if not sight.is_moving(guild_id)]
            there = sight.spread(here, targets)
            return [self._resettle(there)] if there else []
        for guild_id in here:
            if guild_id in self.hitches:
                self.hitches[guild_id].worker = worker
        room = MOVES_AT_ONCE - len(self.moving)
        ready = [guild_id for guild_id in here if self._is_due(guild_id, now_s) and sight.is_movable(guild_id)][:room]
        return [
            self._begin(guild_id, target) for guild_id, target in self._destine(ready, here, targets, sight).items()
        ]

    def _destine(
        self, ready: Sequence[GuildId], here: Sequence[GuildId], targets: list[WorkerId], sight: Sight
    ) -> dict[GuildId, WorkerId]:
        """Decided for all guilds of a worker at once: the figures it is decided from are some seconds old."""
        if any(self._destined.get(guild_id) not in targets for guild_id in ready):
            unknown = [guild_id for guild_id in here if self._destined.get(guild_id) not in targets]
            self._destined |= sight.spread(unknown, targets)
        return {guild_id: target for guild_id in ready if (target := self._destined.get(guild_id)) in targets}

    def _resettle(self, targets: Mapping[GuildId, WorkerId]) -> Resettle:
        for guild_id in targets:
            self._came(guild_id)
        return Resettle(dict(targets))

    def _begin(self, guild_id: GuildId, target: WorkerId) -> Move:
        self.moving[guild_id] = target
        operation = self.pool.operation
        may_force = operation is not None and operation.force
        return Move(guild_id, target, by_force=may_force and guild_id in self.hitches)

    def _is_due(self, guild_id: GuildId, now_s: float) -> bool:
        hitch = self.hitches.get(guild_id)
        return hitch is None or now_s >= hitch.again_s

    def _forget_hitches(self, left: Mapping[WorkerId, Sequence[GuildId]]) -> None:
        """Of guilds that have gone by other means."""
        still = {guild_id for guilds in left.values() for guild_id in guilds} | {*self.moving, *(self._to_fill or ())}
        for guild_id in [guild_id for guild_id in self.hitches if guild_id not in still]:
            del self.hitches[guild_id]

    # Workers that come in

    def _fresh(self) -> tuple[WorkerId, ...]:
        operation = self.pool.operation
        if operation is None or self._told is OperationState.DONE:
            return ()
        return tuple(WorkerId(worker) for worker in operation.fresh if worker in self.pool.members)

    def _fill(self, up: list[WorkerId], now_s: float, sight: Sight) -> list[Action]:
        operation, fresh = self.pool.operation, self._fresh()
        if operation is None or operation.kind is OperationKind.RECYCLE or not fresh:
            return []
        if self._to_fill is None:
            if not {*fresh} <= {*up}:
                return []
            self._to_fill = self._shares(up, fresh, sight)
        actions: list[Action] = []
        here = {source: {*sight.guilds_on(source)} for source, _ in self._to_fill.values()}
        for guild_id, (source, target) in list(self._to_fill.items()):
            hitch = self.hitches.get(guild_id)
            if guild_id in self.moving:
                continue
            if guild_id not in here[source] or (hitch is not None and hitch.tries >= MAX_TRIES):
                del self._to_fill[guild_id]  # gone by itself; or it stays, which is no harm
            elif (
                len(self.moving) < MOVES_AT_ONCE
                and self._is_due(guild_id, now_s)
                and self._can_go(guild_id, target, sight)
            ):
                self.moving[guild_id] = target
                actions.append(Move(guild_id, target))
        return actions

    @staticmethod
    def _can_go(guild_id: GuildId, target: WorkerId, sight: Sight) -> bool:
        return sight.is_movable(guild_id) and sight.workers().get(target, False)

    def _shares(
        self, up: list[WorkerId], fresh: Iterable[WorkerId], sight: Sight
    ) -> dict[GuildId, tuple[WorkerId, WorkerId]]:
        """Who goes to workers that come in: so many that each has what is its share, from those that have most."""
        guilds = {worker: [g for g in sight.guilds_on(worker) if sight.is_movable(g)] for worker in up}
        share = sum(len(sight.guilds_on(worker)) for worker in up) // len(up)
        lacking = {worker: share - len(sight.guilds_on(worker)) for worker in fresh}
        old = [worker for worker in up if worker not in lacking]
        leaving: dict[GuildId, WorkerId] = {}
        counts = {worker: len(sight.guilds_on(worker)) for worker in old}
        for _ in range(sum(count for count in lacking.values() if count > 0)):
            giver = max((worker for worker in old if guilds[worker]), key=lambda w: (counts[w], -w), default=None)
            if giver is None or counts[giver] <= share:
                break
            counts[giver] -= 1
            leaving[guilds[giver].pop()] = giver
        wanting = [worker for worker, count in lacking.items() if count > 0]
        targets = sight.spread(tuple(leaving), wanting) if leaving else {}
        return {guild_id: (leaving[guild_id], target) for guild_id, target in targets.items()}

    # Ends

    def _stop(self, left: Mapping[WorkerId, Sequence[GuildId]], sight: Sight) -> list[Action]:
        empty = [
            worker
            for worker, guilds in left.items()
            if worker not in self.pool.members
            and not guilds
            and worker not in self._stopping
            and sight.is_quiet(worker)
        ]
        self._stopping.update(empty)
        return [Stop(worker) for worker in empty]

    def _end(self, left: Mapping[WorkerId, Sequence[GuildId]], sight: Sight, now_epoch_s: float) -> list[Action]:
        operation = self.pool.operation
        if operation is None or self._told in (OperationState.DONE, OperationState.REPLACED) or self.moving:
            return []
        starting = self.starting(sight)
        remaining = [guild_id for guilds in left.values() for guild_id in guilds]
        leaving = [worker for worker in left if not self._is_member(worker)]
        if not (starting or remaining or leaving or self._to_fill):
            return self._tell(OperationState.DONE, self._summary(operation))
        given_up = [g for g in remaining if (hitch := self.hitches.get(g)) is not None and hitch.tries >= MAX_TRIES]
        if starting and now_epoch_s - operation.began_s >= START_LIMIT_S:
            listed = ", ".join(map(str, starting))
            return self._tell(OperationState.STUCK, f"worker {listed} does not start; the process log says why")
        if given_up and len(given_up) == len(remaining) and not starting and not self._to_fill:
            first = given_up[0]
            others = f", nor do {len(given_up) - 1} others" if len(given_up) > 1 else ""
            hint = "" if operation.force else "; --force ends what runs there and starts it where it is to go"
            text = f"guild {first} does not leave worker {self.hitches[first].worker}: {self.hitches[first].why}{others}{hint}"
            return self._tell(OperationState.STUCK, text)
        return []

    def _summary(self, operation: PoolOperation) -> str:
        guilds = "1 guild was moved" if len(self.moved) == 1 else f"{len(self.moved)} guilds were moved"
        if operation.kind is OperationKind.RECYCLE:
            return f"worker {operation.heir} has taken over from worker {operation.target}; {guilds}"
        return guilds

    def _tell(self, state: OperationState, text: str) -> list[Action]:
        if self._told is state:
            return []
        self._told = state
        return [End(state, text)]
