"""Which shared workers there are to be: what operators ask for, and what their age and memory demand. Pure; kept by Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flora.messages.errors import BadRequest, Conflict, NotFound
from flora.messages.placement import FIRST_DEDICATED_WORKER
from flora.messages.pool import OperationEnded, OperationKind, OperationState, Pool, PoolOperation
from flora.messages.settings import MAX_WORKERS

LEAST_AGE_S = 600.0  # of a worker that is recycled for its memory: one that needs so much would be recycled for ever
PAUSE_S = 60.0  # between two workers that are recycled by themselves


class PoolGoal:
    """The members of the pool, and the last operation. Every change gives a new `pool`."""

    def __init__(self, count: int) -> None:
        self.pool = Pool(version=1, members=tuple(range(count)))

    def wants(self, worker: int) -> bool:
        """Whether a worker is to stay."""
        return worker in self.pool.members

    @property
    def is_running(self) -> bool:
        """An operation is under way."""
        operation = self.pool.operation
        return operation is not None and operation.state is OperationState.RUNNING

    # What is asked for

    def scale(self, count: int, now_s: float, *, force: bool = False) -> int:
        """So many workers; those with the lowest numbers stay. Gives the operation's number. now_s: since the epoch.

        Raises:
            BadRequest: less than one, or more than MAX_WORKERS.
            Conflict: all that stay are drained.
        """
        if not 1 <= count <= MAX_WORKERS:
            raise BadRequest(f"there can be 1 to {MAX_WORKERS} shared workers", least=1, most=MAX_WORKERS)
        old = self.pool.members
        members = old[:count]
        free = (number for number in range(count + len(old)) if number not in old)
        members = tuple(sorted((*members, *(next(free) for _ in range(count - len(members))))))
        drained = tuple(worker for worker in self.pool.drained if worker in members)
        self._check_open(members, drained)
        # On the way down all that stay take guilds over alike, also those that had just come in.
        fresh = tuple(sorted({*members} - {*old} | {*self._fresh()})) if count >= len(old) else ()
        return self._begin(OperationKind.SCALE, count, now_s, members, drained, fresh=fresh, force=force)

    def drain(self, worker: int, now_s: float, *, force: bool = False) -> int:
        """No guilds for a worker.

        Raises:
            NotFound: there is no such worker.
            Conflict: it is one guild's own, no other one would take guilds, or something else is under way.
        """
        self._check_member(worker)
        self._check_idle(but=OperationKind.DRAIN)
        drained = tuple(sorted({*self.pool.drained, worker}))
        self._check_open(self.pool.members, drained)
        return self._begin(OperationKind.DRAIN, worker, now_s, self.pool.members, drained, force=force)

    def undrain(self, worker: int, now_s: float) -> int:
        """Guilds for a drained worker again. Raises: as `drain`; Conflict also: it is not drained."""
        self._check_member(worker)
        if worker not in self.pool.drained:
            raise Conflict(f"worker {worker} is not drained", worker=worker)
        self._check_idle(but=OperationKind.DRAIN)
        drained = tuple(each for each in self.pool.drained if each != worker)
        return self._begin(OperationKind.UNDRAIN, worker, now_s, self.pool.members, drained, fresh=(worker,))

    def recycle(self, worker: int, now_s: float, *, force: bool = False, automatic: bool = False) -> int:
        """A fresh worker, with the lowest free number, in place of this one. Raises: as `drain`."""
        self._check_member(worker)
        self._check_idle()
        if worker in self.pool.drained:
            raise Conflict(f"worker {worker} is drained and has nothing to hand over; undrain it first", worker=worker)
        heir = next(number for number in range(MAX_WORKERS + 1) if number not in self.pool.members)
        members = tuple(sorted({*self.pool.members} - {worker} | {heir}))
        more = {"force": force, "automatic": automatic}
        return self._begin(
            OperationKind.RECYCLE, worker, now_s, members, self.pool.drained, fresh=(heir,), heir=heir, **more
        )

    # What is known

    def ended(self, told: OperationEnded, now_s: float) -> bool:
        """Takes note of the router's word; False: it is about an operation that was replaced."""
        operation = self.pool.operation
        if operation is None or operation.number != told.number:
            return False
        ended = replace(operation, state=told.state, text=told.text, moved=told.moved, ended_s=now_s)
        self._change(operation=ended)
        return True

    def came_up(self, worker: int, now_s: float) -> None:
        """A shared worker serves from now on."""
        self._change(up_since=(*self._up_without(worker), (worker, now_s)))

    def is_gone(self, worker: int) -> None:
        """A shared worker has ended."""
        self._change(up_since=self._up_without(worker))

    # The rest

    def _fresh(self) -> tuple[int, ...]:
        return self.pool.operation.fresh if self.pool.operation is not None and self.is_running else ()

    def _up_without(self, worker: int) -> tuple[tuple[int, float], ...]:
        return tuple(entry for entry in self.pool.up_since if entry[0] != worker)

    def _begin(
        self,
        kind: OperationKind,
        target: int,
        now_s: float,
        members: tuple[int, ...],
        drained: tuple[int, ...],
        *,
        fresh: tuple[int, ...] = (),
        heir: int | None = None,
        force: bool = False,
        automatic: bool = False,
    ) -> int:
        last = self.pool.operation
        number = 1 if last is None else last.number + 1
        operation = PoolOperation(
            number=number,
            kind=kind,
            target=target,
            began_s=now_s,
            fresh=fresh,
            heir=heir,
            force=force,
            automatic=automatic,
        )
        self._change(members=members, drained=drained, operation=operation)
        return number

    def _change(self, **changes: object) -> None:
        self.pool = replace(self.pool, version=self.pool.version + 1, **changes)  # type: ignore[arg-type]

    def _check_member(self, worker: int) -> None:
        if worker >= FIRST_DEDICATED_WORKER:
            raise Conflict(
                f"worker {worker} is one guild's own: it comes and goes with it, and `flora place GUILD shared` moves the guild",
                worker=worker,
            )
        if worker not in self.pool.members:
            raise NotFound(f"there is no shared worker {worker}", worker=worker)

    def _check_idle(self, but: OperationKind | None = None) -> None:
        operation = self.pool.operation
        if operation is not None and self.is_running and operation.kind is not but:
            raise Conflict(
                f"{title(operation)} is under way; wait for its end (`flora workers` shows it), or scale again",
                operation=operation.number,
            )

    @staticmethod
    def _check_open(members: tuple[int, ...], drained: tuple[int, ...]) -> None:
        if not {*members} - {*drained}:
            raise Conflict("no worker would be left to take guilds; undrain one first", drained=list(drained))


def title(operation: PoolOperation) -> str:
    """Like "scale to 4", "recycle of worker 2"."""
    if operation.kind is OperationKind.SCALE:
        return f"scale to {operation.target}"
    return f"{operation.kind} of worker {operation.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecyclePolicy:
    """When a worker is recycled by itself. 0: never for that reason."""

    max_age_s: float = 0.0
    max_rss_mb: int = 0
    least_age_s: float = LEAST_AGE_S
    pause_s: float = PAUSE_S

    def __bool__(self) -> bool:
        return bool(self.max_age_s or self.max_rss_mb)

    def pick(self, pool: Pool, rss_bytes: Mapping[int, int], now_s: float) -> tuple[int, str] | None:
        """The worker to recycle now and why, or None. One at a time, never while the pool is not as it is to be.

        Args:
            pool: What is wanted.
            rss_bytes: Resident memory of every shared worker that runs.
            now_s: Since the epoch.
        """
        operation = pool.operation
        if set(rss_bytes) != {*pool.members} or pool.drained:
            return None
        if operation is not None and (operation.ended_s is None or now_s - operation.ended_s < self.pause_s):
            return None
        ages_s = {worker: now_s - since_s for worker, since_s in pool.up_since if worker in rss_bytes}
        if not ages_s:
            return None
        oldest = max(ages_s, key=ages_s.__getitem__)
        if self.max_age_s and ages_s[oldest] >= self.max_age_s:
            return oldest, f"it is {ages_s[oldest]:.0f} s old"
        grown = [worker for worker, age_s in ages_s.items() if age_s >= self.least_age_s]
        largest = max(grown, key=rss_bytes.__getitem__, default=None)
        if self.max_rss_mb and largest is not None and rss_bytes[largest] >= self.max_rss_mb << 20:
            return largest, f"it has {rss_bytes[largest] >> 20} MB resident"
        return None
