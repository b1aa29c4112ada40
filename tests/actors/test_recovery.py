"""Routers that are killed at any point between a gateway and workers that live on: every event runs once, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.event_book import EventBook
from flora.actors.lanes import Lanes, Row
from flora.actors.recovery import Fate, Recovery
from flora.actors.retained import Retained
from flora.messages.ids import GuildId, WorkerId

GUILDS = ("a", "b", "c")
HOME = {"a": WorkerId(0), "b": WorkerId(0), "c": WorkerId(1)}
FIRST = 1000


@dataclass
class PlayedWorker:
    """A worker that runs its events when told; `ran` is what the outside world saw."""

    book: EventBook = field(default_factory=EventBook)
    inbox: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)  # done, not yet told

    def take(self, rows: list[Row]) -> None:
        for guild in GUILDS:
            mine = [row[0] for row in rows if row[1] == guild]
            if mine:
                self.book.took(guild, mine)
        self.inbox.extend(rows)


class World:
    """One gateway, two workers, one router after the other."""

    def __init__(self) -> None:
        self.retained: Retained[Row] = Retained(FIRST, lambda row: len(row[3]))
        self.workers = {WorkerId(0): PlayedWorker(), WorkerId(1): PlayedWorker()}
        self.started: dict[str, int] = {}
        self.ran: list[Row] = []
        self.sent = FIRST  # next event of the gateway that the router takes
        self.recovery: Recovery | None = None
        self.lanes = Lanes()
        self._open_lanes()

    def _open_lanes(self) -> None:
        for guild, worker in HOME.items():
            self.lanes.open(GuildId(guild), worker, held=False)

    def event(self, guild: str) -> None:
        self.retained.keep([(self.retained.next_seq, guild, "messageCreate", "{}")])

    def router_takes(self, count: int) -> None:
        for row in self.retained.rows()[self.sent - self.retained.first_seq :][:count]:
            self.sent = row[0] + 1
            if self.recovery is not None:
                fate = self.recovery.fate(GuildId(row[1]), row[0])
                if fate is Fate.UNDER_WAY:
                    self.lanes.adopt(row)
                if fate is not Fate.NEW:
                    continue
            if self.lanes.admit(row):
                self.workers[HOME[row[1]]].take([row])

    def run(self, worker: WorkerId, count: int) -> None:
        played = self.workers[worker]
        for row in played.inbox[:count]:
            self.ran.append(row)
            self.started[row[1]] = row[0]
            played.book.done(row[1], row[0])
            played.reports.append(row)
        del played.inbox[:count]

    def worker_reports(self, worker: WorkerId) -> None:
        for row in self.workers[worker].reports:
            self.lanes.done(GuildId(row[1]), row[0], worker)
            if self.recovery is not None:
                self.recovery.done(GuildId(row[1]), row[0])
        self.workers[worker].reports.clear()

    def settle(self) -> None:
        oldest = self.lanes.oldest()
        self.retained.settle(self.sent if oldest is None else min(oldest, self.sent))

    def kill_router(self) -> None:
        self.lanes = Lanes()
        self._open_lanes()
        self.recovery = Recovery(self.workers)
        for worker, played in self.workers.items():
            played.reports.clear()  # under way to the router that died
            self.recovery.reported(worker, played.book.received(), played.book.unfinished())
        assert self.recovery.complete
        self.sent = self.retained.first_seq

    def kill_worker(self, worker: WorkerId) -> None:
        """And its successor has loaded everything."""
        started = {guild: seq for guild, seq in self.started.items() if HOME[guild] == worker}
        self.workers[worker] = PlayedWorker()
        if self.recovery is not None:
            self.recovery.worker_died(worker, started)
        self.lanes.worker_died(worker, started)
        for guild in (g for g, home in HOME.items() if home == worker):
            self.workers[worker].take(self.lanes.release(GuildId(guild)))

    def finish(self) -> None:
        self.router_takes(1 << 20)
        for worker in self.workers:
            self.run(worker, 1 << 20)
            self.worker_reports(worker)
        self.settle()


STEPS = st.one_of(
    st.tuples(st.just("event"), st.sampled_from(GUILDS)),
    st.tuples(st.just("router_takes"), st.integers(1, 5)),
    st.tuples(st.just("run"), st.sampled_from([WorkerId(0), WorkerId(1)]), st.integers(1, 4)),
    st.tuples(st.just("worker_reports"), st.sampled_from([WorkerId(0), WorkerId(1)])),
    st.tuples(st.just("settle")),
    st.tuples(st.just("kill_router")),
)


@given(steps=st.lists(STEPS, max_size=80))
def test_given_a_router_killed_at_any_points_then_every_event_runs_once_and_in_order(steps) -> None:
    world = World()
    for name, *args in steps:
        getattr(world, name)(*args)

    world.finish()

    sent = [row for row in steps if row[0] == "event"]
    assert len(world.ran) == len(sent), "lost or doubled"
    for guild in GUILDS:
        seqs = [row[0] for row in world.ran if row[1] == guild]
        assert seqs == sorted(set(seqs))
    assert len(world.retained) == 0, "something never counts as settled"
    assert world.lanes.oldest() is None


@given(
    before=st.lists(STEPS, max_size=40),
    worker=st.sampled_from([WorkerId(0), WorkerId(1)]),
    after=st.lists(STEPS.filter(lambda step: step[0] != "kill_router"), max_size=40),
)
def test_given_a_worker_that_dies_after_a_recovery_then_what_had_not_started_runs_once_and_in_order(
    before, worker, after
) -> None:
    world = World()
    for name, *args in before:
        getattr(world, name)(*args)
    world.kill_router()

    world.kill_worker(worker)
    for name, *args in after:
        getattr(world, name)(*args)
    world.finish()

    assert len(world.ran) == len([step for step in (*before, *after) if step[0] == "event"])
    for guild in GUILDS:
        seqs = [row[0] for row in world.ran if row[1] == guild]
        assert seqs == sorted(set(seqs))
    assert len(world.retained) == 0


def test_given_a_worker_that_died_while_there_was_no_router_then_what_it_had_started_is_over_and_the_rest_is_new() -> (
    None
):
    recovery = Recovery([WorkerId(1)])
    recovery.reported(WorkerId(1), [("c", 9)], [("c", (8,))])

    recovery.died_before({"a": 5})

    fates = [recovery.fate(GuildId(guild), seq) for guild, seq in [("a", 5), ("a", 6), ("c", 7), ("c", 8), ("c", 10)]]
    assert fates == [Fate.SETTLED, Fate.NEW, Fate.SETTLED, Fate.UNDER_WAY, Fate.NEW]
    assert recovery.highest == 9


def test_given_an_event_of_no_guild_then_each_worker_hears_it_once() -> None:
    recovery = Recovery([WorkerId(0), WorkerId(1)])
    recovery.reported(WorkerId(0), [("", 7)], [])
    assert not recovery.complete
    recovery.reported(WorkerId(1), [], [])

    assert [recovery.has_heard(WorkerId(n), 7) for n in (0, 1)] == [True, False]
    assert not recovery.has_heard(WorkerId(0), 8)
    assert recovery.complete


@pytest.mark.parametrize(("rows", "size"), [(3, 1 << 20), (1 << 20, 30)])
def test_given_more_than_may_be_kept_then_the_oldest_are_dropped_and_counted(rows: int, size: int) -> None:
    retained: Retained[str] = Retained(FIRST, len, max_rows=rows, max_bytes=size)

    retained.keep([f"{number:010}" for number in range(8)])

    assert (retained.first_seq, retained.next_seq, retained.dropped) == (FIRST + 5, FIRST + 8, 5)
    assert retained.rows() == [f"{number:010}" for number in (5, 6, 7)]
    retained.settle(FIRST + 100)
    assert (len(retained), retained.first_seq, retained.next_seq) == (0, FIRST + 8, FIRST + 8)


def test_given_a_lower_start_than_already_used_then_numbers_still_rise() -> None:
    retained: Retained[str] = Retained(FIRST, len)

    retained.start_at(FIRST - 5)
    assert retained.next_seq == FIRST
    retained.start_at(FIRST + 5)
    assert retained.next_seq == FIRST + 5
