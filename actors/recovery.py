"""What a restarted router learns before it takes events again: which of them the workers have already. Pure.

The gateway sends everything again that it was not told is settled. For each of those events one of three things is true:

    a worker received it and has not finished it      it is under way: noted, so that the worker's death can be handled
    a worker received it and it is done, or had started when its worker died      it is settled: never sent again
    no worker ever received it      it is new: it goes the usual way

Workers receive a guild's events in order, so the highest number each of them ever received tells the last two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from flora.messages.ids import GuildId, WorkerId

RECOVERY_LIMIT_S = 5.0
"""A worker that says nothing for so long is stuck. Its guilds come when it reports; what was sent for them meanwhile is lost."""


class Fate(Enum):
    """What to do with an event that the gateway sends again."""

    NEW = "new"
    UNDER_WAY = "under_way"
    SETTLED = "settled"


class Recovery:
    """One router's recovery."""

    def __init__(self, workers: Iterable[WorkerId]) -> None:
        """
        Args:
            workers: Those that live; each is to report.
        """
        self._missing = set(workers)
        self._received: dict[GuildId, int] = {}
        self._heard: dict[WorkerId, int] = {}  # highest number of an event of no guild
        self._unfinished: dict[GuildId, set[int]] = {}
        self._owner: dict[GuildId, WorkerId] = {}  # of unfinished events
        self._again: dict[GuildId, set[int]] = {}  # received by a worker that died before they started

    @property
    def complete(self) -> bool:
        """Every worker has reported, or is dead."""
        return not self._missing

    @property
    def highest(self) -> int:
        """Highest event number that any worker has received: what comes after it is new."""
        return max((*self._received.values(), *self._heard.values()), default=0)

    def reported(
        self,
        worker: WorkerId,
        received: Iterable[tuple[str, int]],
        unfinished: Iterable[tuple[str, Iterable[int]]],
    ) -> None:
        """Takes in a worker's report, see `WorkerReport`."""
        self._missing.discard(worker)
        for guild_id, seq in received:
            if guild_id == "":
                self._heard[worker] = seq
            else:
                self._raise_mark(GuildId(guild_id), seq)
        for guild_id, seqs in unfinished:
            self._unfinished[GuildId(guild_id)] = set(seqs)
            self._owner[GuildId(guild_id)] = worker

    def died_before(self, started: Mapping[str, int]) -> None:
        """A worker died before this router began: what had started is over, the rest of what it had is new.

        Args:
            started: Per guild, the event that was started last (from the flight recorder).
        """
        for guild_id, seq in started.items():
            if guild_id:
                self._raise_mark(GuildId(guild_id), seq)

    def worker_died(self, worker: WorkerId, started: Mapping[str, int]) -> None:
        """A worker died now, whether it had reported or not."""
        self._missing.discard(worker)
        self._heard.pop(worker, None)
        for guild_id in [guild_id for guild_id, owner in self._owner.items() if owner == worker]:
            del self._owner[guild_id]
            left = self._unfinished.pop(guild_id)
            self._again.setdefault(guild_id, set()).update(s for s in left if s > started.get(guild_id, 0))
        self.died_before(started)

    def done(self, guild_id: GuildId, seq: int) -> None:
        """A worker finished an event that the gateway has not sent again yet."""
        unfinished = self._unfinished.get(guild_id)
        if unfinished is not None:
            unfinished.discard(seq)

    def fate(self, guild_id: GuildId, seq: int) -> Fate:
        """What to do with an event of a guild."""
        if seq > self._received.get(guild_id, 0) or seq in self._again.get(guild_id, ()):
            return Fate.NEW
        if seq in self._unfinished.get(guild_id, ()):
            return Fate.UNDER_WAY
        return Fate.SETTLED

    def has_heard(self, worker: WorkerId, seq: int) -> bool:
        """Whether a worker received an event of no guild."""
        return seq <= self._heard.get(worker, 0)

    def _raise_mark(self, guild_id: GuildId, seq: int) -> None:
        self._received[guild_id] = max(self._received.get(guild_id, 0), seq)
