"""Who is to blame for a worker's death, and how a guild with a place of its own fares. Pure."""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from flora.actors.supervision import Rebuilds
from flora.messages.dispatch import WorkerExited
from flora.messages.ids import GuildId, WorkerId
from flora.messages.placement import FIRST_DEDICATED_WORKER, GuildState, Placement

# What a process raises against itself: V8 gives up that way, and so do broken pointers.
FAULT_SIGNALS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSYS,
    }
)
MAX_SUSPECTS = 3
SUSPECT_SHARE = 0.5  # of the time for which the longest-running one had been inside V8
REPEAT_WINDOW_S = 600.0  # suspected at two deaths within that time is no bad luck any more
BLAMED_FOR_A_KILL_S = 0.25  # a kill says nothing of guests, unless one had been at it for so long


def is_dedicated(worker: WorkerId) -> bool:
    """Whether a worker is one guild's own."""
    return worker >= FIRST_DEDICATED_WORKER


def suspects(busy_s: Mapping[GuildId, float]) -> tuple[GuildId, ...]:
    """Guilds whose code may have ended their worker, the likeliest first.

    V8 says nothing about which isolate made it give up. Of those that were inside V8 the one that had been there
    longest is the likeliest, unless it had only a small lead.

    Args:
        busy_s: Per guild, for how long V8 had been inside its isolate; guilds at rest are absent.
    """
    longest_s = max(busy_s.values(), default=0.0)
    found = [guild_id for guild_id, taken_s in busy_s.items() if taken_s >= SUSPECT_SHARE * longest_s]
    return tuple(sorted(found, key=lambda guild_id: (-busy_s[guild_id], guild_id))[:MAX_SUSPECTS])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a worker's death means for its guilds."""

    guilty: tuple[GuildId, ...]  # to be quarantined
    cause: str  # half a sentence, such as "V8 aborted (SIGTRAP)"

    def told(self, guild_id: GuildId) -> str:
        """What it means for one guild's event that was running."""
        if guild_id in self.guilty:
            return f"{self.cause} while it was running; the script now runs in a worker of its own"
        return f"its worker died while it was running ({self.cause})"


class Judge:
    """Remembers who was suspected when."""

    def __init__(self) -> None:
        self._deaths: deque[tuple[float, tuple[GuildId, ...]]] = deque()

    def judge(self, exited: WorkerExited, busy_s: Mapping[GuildId, float], now_s: float) -> Verdict:
        """Judges one death.

        Args:
            exited: What Runtime knows of it.
            busy_s: As for `suspects`, only of guilds that are at home in that worker.
            now_s: Monotonic seconds.
        """
        if exited.cause:
            return Verdict(tuple(GuildId(guild_id) for guild_id in exited.guilty), exited.cause)
        aborted = exited.signal in FAULT_SIGNALS
        least_s = 0.0 if aborted else BLAMED_FOR_A_KILL_S
        suspected = suspects({guild_id: taken_s for guild_id, taken_s in busy_s.items() if taken_s >= least_s})
        repeated = tuple(guild_id for guild_id in suspected if guild_id in self._suspected_lately(now_s))
        self._deaths.append((now_s, suspected))
        if aborted:
            assert exited.signal is not None
            return Verdict(suspected, f"V8 aborted ({signal.Signals(exited.signal).name})")
        how = "the worker died" if exited.signal is None else f"the worker was killed (signal {exited.signal})"
        return Verdict(repeated, f"{how} for the second time" if repeated else how)

    def _suspected_lately(self, now_s: float) -> set[GuildId]:
        while self._deaths and now_s - self._deaths[0][0] > REPEAT_WINDOW_S:
            self._deaths.popleft()
        return {guild_id for _, suspected in self._deaths for guild_id in suspected}


class Stage(Enum):
    """Where a guild with a worker of its own stands."""

    STARTING = "starting"  # its worker is being started
    LOADING = "loading"
    SERVING = "serving"
    RESTING = "resting"  # the pause before the next attempt
    FAILED = "failed"  # no worker; a deployment brings it back


_STATES = {
    Stage.STARTING: GuildState.LOADING,
    Stage.LOADING: GuildState.LOADING,
    Stage.SERVING: GuildState.SERVING,
    Stage.RESTING: GuildState.RESTING,
    Stage.FAILED: GuildState.FAILED,
}


@dataclass(slots=True)
class Home:
    """One guild that has, or is to have, a worker of its own."""

    guild_id: GuildId
    placement: Placement  # DEDICATED or QUARANTINED
    reason: str
    since_s: float  # seconds since the epoch
    worker: WorkerId
    stage: Stage = Stage.STARTING
    probation: int = 0  # number of the probation under way; 0: none
    timer: int = 0  # of the pause
    rebuilds: Rebuilds = field(default_factory=Rebuilds)

    @property
    def state(self) -> GuildState:
        """As people see it."""
        return _STATES[self.stage]

    def ended(self, now_s: float, rng: random.Random) -> float | None:
        """Its worker ended, or a load came to nothing. The pause before the next attempt in seconds; None: it has FAILED."""
        loading = self.stage in (Stage.STARTING, Stage.LOADING)
        pause_s = self.rebuilds.ended(now_s, rng, loading=loading)
        self.stage = Stage.FAILED if pause_s is None else Stage.RESTING
        self.probation = 0
        return pause_s

    def loaded(self, now_s: float, *, deployed: bool) -> None:
        """It serves; `deployed`: with new code."""
        if deployed:
            self.rebuilds.deployed()
        self.rebuilds.loaded(now_s)
        self.stage = Stage.SERVING


class Homes:
    """All guilds that have workers of their own."""

    def __init__(self) -> None:
        self._homes: dict[GuildId, Home] = {}
        self._next_worker = FIRST_DEDICATED_WORKER

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self._homes

    def __iter__(self) -> Iterator[Home]:
        return iter(tuple(self._homes.values()))

    def get(self, guild_id: GuildId) -> Home | None:
        """A guild's home; None: it lives in the pool."""
        return self._homes.get(guild_id)

    def of_worker(self, worker: WorkerId) -> Home | None:
        """The home that a dedicated worker is."""
        return next((home for home in self._homes.values() if home.worker == worker), None)

    def add(
        self, guild_id: GuildId, placement: Placement, reason: str, since_s: float, taken: Iterable[WorkerId]
    ) -> Home:
        """Gives a guild a home with a worker of a new number, higher than any in `taken`."""
        worker = WorkerId(max(self._next_worker, *(number + 1 for number in taken), FIRST_DEDICATED_WORKER))
        self._next_worker = worker + 1
        home = self._homes[guild_id] = Home(guild_id, placement, reason, since_s, worker)
        return home

    def adopt(self, home: Home) -> None:
        """A home that was there before this router."""
        self._homes[home.guild_id] = home
        self._next_worker = max(self._next_worker, home.worker + 1)

    def remove(self, guild_id: GuildId) -> Home | None:
        """The guild has no home of its own any more."""
        return self._homes.pop(guild_id, None)

    def count(self, placement: Placement) -> int:
        """How many are of a kind."""
        return sum(home.placement is placement for home in self._homes.values())
