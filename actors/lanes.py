"""What the router knows of events under way: per guild a lane, per worker a backlog. Pure.

A guild's lane is open, or held while it has no isolate, or gated while it moves (gate.py): then it queues. Everything that was sent
to a worker stays in the lane's `unfinished` until the worker reports it done, so that after a worker's death the events it never
started can be sent again, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flora.messages.ids import GuildId, WorkerId

Row = tuple[int, str, str, str]
"""(seq, guild id, event name, payload as JSON text)"""

DROPPABLE = frozenset({"messageCreate", "messageUpdate"})
DROP_THRESHOLD = 2000  # unfinished events of a worker, or of one guild, from which droppable events are shed
HARD_LIMIT = 2 * DROP_THRESHOLD  # headroom for everything else; past it any event of that guild is shed
GUILD_SHARE = (
    DROP_THRESHOLD // 10
)  # what one guild can add to its worker's pressure: a flooded guild is its own problem


@dataclass(slots=True)
class Lane:
    """One guild's events."""

    worker: WorkerId
    held: bool
    waiting: deque[Row] = field(default_factory=deque)
    unfinished: dict[int, Row] = field(default_factory=dict)  # in gateway order
    shedding: int = 0  # events shed since the last one that was let through
    gated: bool = False  # the guild moves

    @property
    def backlog(self) -> int:
        """Events accepted and not yet done."""
        return len(self.waiting) + len(self.unfinished)


@dataclass(slots=True)
class Tally:
    """Counters of the router."""

    accepted: int = 0
    sent: int = 0
    done: int = 0
    dropped_no_isolate: int = 0
    shed: int = 0
    died: int = 0


@dataclass(slots=True)
class Salvage:
    """What a worker's death left of one guild's events."""

    guild_id: GuildId
    failed: list[Row]  # had started; are never run again
    kept: int  # had not; wait in the lane


class Lanes:
    """All lanes. `admit` gives the row back when it is to be sent to the lane's worker now."""

    def __init__(self) -> None:
        self._lanes: dict[GuildId, Lane] = {}
        self._backlog: dict[WorkerId, int] = {}
        self._pressure: dict[WorkerId, int] = {}
        self._flooded: set[GuildId] = set()  # lanes at or over the threshold
        self.tally = Tally()

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self._lanes

    def __getitem__(self, guild_id: GuildId) -> Lane:
        return self._lanes[guild_id]

    def __len__(self) -> int:
        return len(self._lanes)

    def get(self, guild_id: GuildId) -> Lane | None:
        """The guild's lane, if it has one."""
        return self._lanes.get(guild_id)

    def __iter__(self) -> Iterator[GuildId]:
        return iter(tuple(self._lanes))

    def backlog_of(self, worker: WorkerId) -> int:
        """Events sent to a worker and not yet done."""
        return self._backlog.get(worker, 0)

    def pressure_on(self, worker: WorkerId) -> int:
        """Events of all guilds of a worker that are accepted and not done, at most `GUILD_SHARE` of each."""
        return self._pressure.get(worker, 0)

    def waiting_for(self, workers: Container[WorkerId]) -> int:
        """Events that are accepted and not done, of the guilds of these workers."""
        return sum(lane.backlog for lane in self._lanes.values() if lane.worker in workers)

    def overfull(self) -> int:
        """How many events are in lanes and workers that are at or over the threshold; 0: all is well."""
        lanes = sum(self._lanes[guild_id].backlog for guild_id in self._flooded)
        return lanes + sum(pressure for pressure in self._pressure.values() if pressure >= DROP_THRESHOLD)

    def open(self, guild_id: GuildId, worker: WorkerId, *, held: bool) -> Lane:
        """Makes a lane, or gives the one there is."""
        lane = self._lanes.get(guild_id)
        if lane is None:
            lane = self._lanes[guild_id] = Lane(worker, held)
        return lane

    def close(self, guild_id: GuildId) -> int:
        """Forgets a lane; gives how many events were lost with it."""
        lane = self._lanes.pop(guild_id, None)
        if lane is None:
            return 0
        self._backlog[lane.worker] = self.backlog_of(lane.worker) - len(lane.unfinished)
        self._pressure[lane.worker] = self.pressure_on(lane.worker) - min(lane.backlog, GUILD_SHARE)
        self._flooded.discard(guild_id)
        self.tally.dropped_no_isolate += len(lane.waiting)
        return len(lane.waiting)

    def admit(self, row: Row, *, shed: bool = True) -> bool:
        """Takes in an event.

        Args:
            row: The event.
            shed: False: the sender is being held back, so nothing needs to be dropped yet.
        Returns:
            True when the row is to be sent to its lane's worker now; False when it waits or was dropped.
        """
        lane = self._lanes.get(GuildId(row[1]))
        if lane is None:
            self.tally.dropped_no_isolate += 1
            return False
        if shed and self._must_shed(lane, row[2]):
            lane.shedding += 1
            self.tally.shed += 1
            return False
        lane.shedding = 0
        self.tally.accepted += 1
        self._grew(GuildId(row[1]), lane)
        if lane.held or lane.gated or lane.waiting:
            lane.waiting.append(row)
            return False
        self._send(lane, row)
        return True

    def _must_shed(self, lane: Lane, name: str) -> bool:
        backlog = lane.backlog
        if name in DROPPABLE:
            return backlog >= DROP_THRESHOLD or self.pressure_on(lane.worker) >= DROP_THRESHOLD
        return backlog >= HARD_LIMIT

    def _grew(self, guild_id: GuildId, lane: Lane) -> None:
        """Called before one more event is put into the lane."""
        backlog = lane.backlog
        if backlog < GUILD_SHARE:
            self._pressure[lane.worker] = self.pressure_on(lane.worker) + 1
        elif backlog + 1 == DROP_THRESHOLD:
            self._flooded.add(guild_id)

    def _shrank(self, guild_id: GuildId, lane: Lane) -> None:
        """Called after one event has left the lane."""
        backlog = lane.backlog
        if backlog < GUILD_SHARE:
            self._pressure[lane.worker] -= 1
        elif backlog + 1 == DROP_THRESHOLD:
            self._flooded.discard(guild_id)

    def _send(self, lane: Lane, row: Row) -> None:
        lane.unfinished[row[0]] = row
        self._backlog[lane.worker] = self.backlog_of(lane.worker) + 1
        self.tally.sent += 1

    def adopt(self, row: Row) -> None:
        """Notes an event that its worker already has; for a router that was restarted. The guild has a lane."""
        guild_id = GuildId(row[1])
        lane = self._lanes[guild_id]
        self.tally.accepted += 1
        self._grew(guild_id, lane)
        self._send(lane, row)

    def oldest(self) -> int | None:
        """Lowest number of an event that is accepted and not done; None: there is none."""
        found: int | None = None
        for lane in self._lanes.values():
            if lane.unfinished and (found is None or found > next(iter(lane.unfinished))):
                found = next(iter(lane.unfinished))
            if lane.waiting and (found is None or found > lane.waiting[0][0]):
                found = lane.waiting[0][0]
        return found

    def done(self, guild_id: GuildId, seq: int, worker: WorkerId) -> bool:
        """Notes that an event is done; False when it was not under way in that worker (a late report, or the guild has moved)."""
        lane = self._lanes.get(guild_id)
        if lane is None or lane.worker != worker or lane.unfinished.pop(seq, None) is None:
            return False
        self._backlog[lane.worker] -= 1
        self._shrank(guild_id, lane)
        self.tally.done += 1
        return True

    def hold(self, guild_id: GuildId) -> None:
        """Lets a lane queue instead of send."""
        self._lanes[guild_id].held = True

    def release(self, guild_id: GuildId) -> list[Row]:
        """Opens a held lane; gives what is to be sent now, in order."""
        lane = self._lanes.get(guild_id)
        if lane is None:
            return []
        lane.held = False
        return [] if lane.gated else self._let_through(lane, len(lane.waiting))

    def gate(self, guild_id: GuildId) -> None:
        """The guild is about to move: its lane queues, whether it is held or not."""
        self._lanes[guild_id].gated = True

    def ungate(self, guild_id: GuildId) -> list[Row]:
        """Its move is over; gives what is to be sent now, in order: nothing where the lane is held, or is no more."""
        lane = self._lanes.get(guild_id)
        if lane is None:
            return []
        lane.gated = False
        return [] if lane.held else self._let_through(lane, len(lane.waiting))

    def last_waiting(self, guild_id: GuildId) -> int:
        """Number of the last event that waits; 0: none does."""
        lane = self._lanes.get(guild_id)
        return lane.waiting[-1][0] if lane is not None and lane.waiting else 0

    def let_through(self, guild_id: GuildId, mark: int) -> list[Row]:
        """What is to be sent now of a gated lane, in order: everything up to an event's number."""
        lane = self._lanes.get(guild_id)
        if lane is None or lane.held:
            return []
        return self._let_through(lane, sum(row[0] <= mark for row in lane.waiting))

    def _let_through(self, lane: Lane, count: int) -> list[Row]:
        rows = [lane.waiting.popleft() for _ in range(count)]
        for row in rows:
            self._send(lane, row)
        return rows

    def insert(self, guild_id: GuildId, rows: Iterable[Row]) -> None:
        """Puts events that the guild has missed among those that wait, by their numbers. The lane is gated."""
        lane = self._lanes[guild_id]
        for row in rows:
            self.tally.accepted += 1
            self._grew(guild_id, lane)
            lane.waiting.append(row)
        lane.waiting = deque(sorted(lane.waiting, key=lambda row: row[0]))

    def take_back(self, guild_id: GuildId) -> int:
        """Holds a lane; what its worker has not done waits again, in order. For events that are known not to have started.

        Returns:
            How many they are.
        """
        lane = self._lanes[guild_id]
        lane.held = True
        count = len(lane.unfinished)
        lane.waiting.extendleft(reversed(lane.unfinished.values()))
        lane.unfinished.clear()
        self._backlog[lane.worker] = self.backlog_of(lane.worker) - count
        return count

    def give_up(self, guild_id: GuildId) -> list[Row]:
        """Holds a lane; what its worker has not done counts as failed, and is never run again. Gives what that is."""
        lane = self._lanes[guild_id]
        lane.held = True
        failed = list(lane.unfinished.values())
        before = min(lane.backlog, GUILD_SHARE)
        lane.unfinished.clear()
        self._backlog[lane.worker] = self.backlog_of(lane.worker) - len(failed)
        self._pressure[lane.worker] = self.pressure_on(lane.worker) - before + min(lane.backlog, GUILD_SHARE)
        if lane.backlog < DROP_THRESHOLD:
            self._flooded.discard(guild_id)
        self.tally.died += len(failed)
        return failed

    def move(self, guild_id: GuildId, worker: WorkerId) -> None:
        """Lets a held or gated lane lead to another worker from now on.

        Raises:
            ValueError: the old one still has events of the guild, or the lane is open.
        """
        lane = self._lanes[guild_id]
        if not (lane.held or lane.gated) or lane.unfinished:
            raise ValueError(f"guild {guild_id} cannot move: {len(lane.unfinished)} events are under way")
        share = min(lane.backlog, GUILD_SHARE)
        self._pressure[lane.worker] = self.pressure_on(lane.worker) - share
        lane.worker = worker
        self._pressure[worker] = self.pressure_on(worker) + share

    def worker_died(self, worker: WorkerId, last_started: Mapping[str, int]) -> list[Salvage]:
        """Holds the worker's lanes, and sorts what it had: started events fail, the others wait again, in order.

        Args:
            worker: Its id.
            last_started: Per guild, the sequence number of the event that was started last (from the flight recorder).
        """
        salvaged = []
        for guild_id, lane in self._lanes.items():
            if lane.worker != worker:
                continue
            lane.held = True
            limit = last_started.get(guild_id, 0)
            before = min(lane.backlog, GUILD_SHARE)
            failed = [row for seq, row in lane.unfinished.items() if seq <= limit]
            kept = [row for seq, row in lane.unfinished.items() if seq > limit]
            lane.waiting.extendleft(reversed(kept))
            lane.unfinished.clear()
            self._pressure[worker] = self.pressure_on(worker) - before + min(lane.backlog, GUILD_SHARE)
            if lane.backlog < DROP_THRESHOLD:
                self._flooded.discard(guild_id)
            self.tally.died += len(failed)
            salvaged.append(Salvage(guild_id, failed, len(kept)))
        self._backlog[worker] = 0
        return salvaged

    def of_worker(self, worker: WorkerId) -> list[GuildId]:
        """Guilds whose lane leads to a worker."""
        return [guild_id for guild_id, lane in self._lanes.items() if lane.worker == worker]
