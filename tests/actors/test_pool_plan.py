"""The plan by which the pool of workers changes: single steps, and any order of what may happen, against a model."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from flora.actors.pool_goal import PoolGoal
from flora.actors.pool_plan import MAX_TRIES, MOVES_AT_ONCE, START_LIMIT_S, End, Move, PoolPlan, Resettle, Stop
from flora.messages.errors import Conflict, FloraError
from flora.messages.ids import GuildId, WorkerId
from flora.messages.pool import OperationEnded, OperationState


class World:
    """Runtime, router, workers and guilds, without anything between them. Moves end when the test says so."""

    def __init__(self, workers: int, guilds: int) -> None:
        self.goal = PoolGoal(workers)
        self.plan = PoolPlan()
        self.up: dict[WorkerId, bool] = {WorkerId(number): True for number in range(workers)}
        self.home = {GuildId(str(number)): WorkerId(number % workers) for number in range(guilds)}
        self.moving: dict[GuildId, WorkerId] = {}
        self.began_in: dict[GuildId, int] = {}  # the operation of a move under way
        self.arrivals: list[tuple[int, GuildId]] = []
        self.loading: set[GuildId] = set()
        self.moves: list[tuple[int, GuildId]] = []  # (operation, guild), in order
        self.forced: list[GuildId] = []
        self.stopped: list[WorkerId] = []
        self.now_s = 0.0
        self.tell()

    # What the plan sees

    def workers(self) -> Mapping[WorkerId, bool]:
        return self.up

    def guilds_on(self, worker: WorkerId) -> Sequence[GuildId]:
        return [guild_id for guild_id, home in self.home.items() if home == worker]

    def is_moving(self, guild_id: GuildId) -> bool:
        return guild_id in self.moving

    def is_movable(self, guild_id: GuildId) -> bool:
        return guild_id not in self.moving and guild_id not in self.loading and self.up[self.home[guild_id]]

    def is_quiet(self, worker: WorkerId) -> bool:
        return all(worker not in (self.home[guild_id], target) for guild_id, target in self.moving.items())

    def spread(self, guilds: Sequence[GuildId], onto: Sequence[WorkerId]) -> Mapping[GuildId, WorkerId]:
        assert onto
        assert all(self.plan.is_open(worker) for worker in onto), "nothing goes where it would have to leave again"
        return dict(zip(guilds, itertools.cycle(onto), strict=False))

    # What happens

    @property
    def operation(self) -> Any:
        return self.goal.pool.operation

    def tell(self) -> None:
        self.plan.take(self.goal.pool)

    def look(self) -> None:
        for action in self.plan.look(self.now_s, self, self.now_s):
            self.carry_out(action)

    def carry_out(self, action: Move | Resettle | Stop | End) -> None:
        match action:
            case Move(guild_id=guild_id, target=target, by_force=by_force):
                assert self.is_movable(guild_id)
                assert self.up[target], "a move to a worker that does not run"
                self.moves.append((self.operation.number, guild_id))
                self.moving[guild_id] = target
                self.began_in[guild_id] = self.operation.number
                if by_force:
                    self.forced.append(guild_id)
            case Resettle(targets=targets):
                for guild_id, target in targets.items():
                    assert not self.up[self.home[guild_id]]
                    assert guild_id not in self.moving
                    self.home[guild_id] = target
            case Stop(worker=worker):
                if self.goal.wants(worker):
                    self.plan.not_stopped(worker)
                else:
                    assert not self.guilds_on(worker), "a worker was ended with guilds in it"
                    del self.up[worker]
                    self.stopped.append(worker)
            case End(state=state, text=text):
                told = OperationEnded(number=self.operation.number, state=state, text=text, moved=0)
                assert self.goal.ended(told, self.now_s)
                self.tell()

    def arrive(self, guild_id: GuildId) -> None:
        self.home[guild_id] = self.moving.pop(guild_id)
        self.arrivals.append((self.began_in[guild_id], guild_id))
        self.plan.ended(guild_id, None, self.now_s)

    def refuse(self, guild_id: GuildId, why: str = "it does not come to rest") -> None:
        del self.moving[guild_id]
        self.plan.ended(guild_id, why, self.now_s)

    def start_members(self) -> None:
        """Runtime starts every member that does not run; and no other worker."""
        self.up |= {WorkerId(worker): True for worker in self.goal.pool.members}

    def settle(self, rounds: int = 300) -> None:
        """From now on everything works."""
        self.start_members()
        self.loading.clear()
        for _ in range(rounds):
            self.now_s += 0.1
            self.look()
            for guild_id in list(self.moving):
                self.arrive(guild_id)

    def counts(self) -> dict[WorkerId, int]:
        return {worker: len(self.guilds_on(worker)) for worker in sorted(self.up)}

    def most_moves_of_a_guild(self) -> int:
        """Within one operation."""
        return max(Counter(self.arrivals).values(), default=0)


# Single steps


def test_given_a_pool_that_grows_when_new_workers_are_up_then_each_has_its_share_and_nobody_else_moves():
    world = World(workers=2, guilds=20)
    world.goal.scale(4, 0.0)
    world.tell()
    world.look()
    assert world.moves == [], "the new ones do not run yet"
    assert world.plan.starting(world) == (2, 3)

    world.settle()

    assert world.counts() == {0: 5, 1: 5, 2: 5, 3: 5}
    assert len(world.moves) == 10
    assert world.most_moves_of_a_guild() == 1
    assert (world.operation.state, world.operation.text) == (OperationState.DONE, "10 guilds were moved")


def test_given_a_pool_that_shrinks_then_the_highest_workers_are_emptied_first_a_few_guilds_at_once_and_end():
    world = World(workers=4, guilds=24)
    world.goal.scale(2, 0.0)
    world.tell()

    world.look()

    assert len(world.moving) == MOVES_AT_ONCE
    assert {world.home[guild_id] for guild_id in world.moving} == {3}
    world.settle()
    assert world.counts() == {0: 12, 1: 12}
    assert world.stopped == [3, 2]
    assert world.most_moves_of_a_guild() == 1
    assert world.operation.state is OperationState.DONE


def test_given_a_guild_that_does_not_come_along_then_it_is_tried_again_later_and_then_the_operation_says_so():
    world = World(workers=2, guilds=2)
    world.goal.scale(1, 0.0)
    world.tell()
    tried_at_s = []
    while world.operation.state is OperationState.RUNNING:
        world.look()
        if world.moving:
            tried_at_s.append(world.now_s)
            world.refuse(GuildId("1"), "3 of its events do not come to an end")
        world.now_s = round(world.now_s + 0.1, 1)

    assert tried_at_s == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert len(tried_at_s) == MAX_TRIES
    assert world.operation.state is OperationState.STUCK
    assert world.operation.text == (
        "guild 1 does not leave worker 1: 3 of its events do not come to an end;"
        " --force ends what runs there and starts it where it is to go"
    )

    world.settle()

    assert world.counts() == {0: 2}, "it is tried on, and the worker ends after all"
    assert world.operation.state is OperationState.DONE


def test_given_force_then_only_a_guild_that_did_not_come_to_rest_is_moved_by_force():
    world = World(workers=2, guilds=4)
    world.goal.scale(1, 0.0, force=True)
    world.tell()
    world.look()
    world.refuse(GuildId("1"))

    world.settle()

    assert world.forced == ["1"]
    assert world.operation.state is OperationState.DONE


def test_given_a_worker_that_dies_while_it_is_emptied_then_its_guilds_are_loaded_elsewhere_at_once():
    world = World(workers=3, guilds=30)
    world.goal.scale(2, 0.0)
    world.tell()
    world.look()
    for guild_id in list(world.moving):
        world.refuse(guild_id, "the worker died")

    world.up[WorkerId(2)] = False
    world.look()

    assert world.guilds_on(WorkerId(2)) == []
    world.settle()
    assert world.stopped == [2]
    assert world.operation.state is OperationState.DONE


def test_given_a_drained_worker_then_it_stays_and_gets_guilds_again_when_it_is_undrained():
    world = World(workers=3, guilds=30)
    world.goal.drain(1, 0.0)
    world.tell()
    world.settle()
    assert world.counts() == {0: 15, 1: 0, 2: 15}
    assert world.stopped == []

    world.home[GuildId("late")] = WorkerId(1)  # its load was under way when the drain began
    assert world.plan.is_active(world)
    world.settle()
    assert world.counts()[WorkerId(1)] == 0

    world.goal.undrain(1, world.now_s)
    world.tell()
    world.settle()
    assert world.counts()[WorkerId(1)] == 10


def test_given_a_recycled_worker_then_its_guilds_all_go_to_its_heir_and_no_other_moves():
    world = World(workers=3, guilds=30)
    ours = world.guilds_on(WorkerId(1))
    world.goal.recycle(1, 0.0)
    world.tell()
    world.look()
    assert world.moves == [], "its heir does not run yet"

    world.settle()

    assert world.guilds_on(WorkerId(3)) == ours
    assert world.counts() == {0: 10, 2: 10, 3: 10}
    assert world.stopped == [1]
    assert world.operation.text == "worker 3 has taken over from worker 1; 10 guilds were moved"


def test_given_workers_that_do_not_start_then_the_operation_says_so_and_ends_when_they_do():
    world = World(workers=1, guilds=10)
    world.goal.scale(2, 0.0)
    world.tell()
    world.now_s = START_LIMIT_S
    world.look()
    assert (world.operation.state, world.operation.text) == (
        OperationState.STUCK,
        "worker 1 does not start; the process log says why",
    )

    world.settle()

    assert world.counts() == {0: 5, 1: 5}
    assert world.operation.state is OperationState.DONE


def test_given_a_new_router_then_it_goes_on_and_moves_nobody_twice():
    world = World(workers=2, guilds=20)
    world.goal.scale(4, 0.0)
    world.tell()
    world.start_members()
    world.look()
    for guild_id in list(world.moving):
        world.arrive(guild_id)

    world.plan = PoolPlan()
    world.tell()
    world.settle()

    assert world.counts() == {0: 5, 1: 5, 2: 5, 3: 5}
    assert world.most_moves_of_a_guild() == 1


def test_given_an_older_pool_that_comes_late_then_it_is_ignored():
    world = World(workers=2, guilds=2)
    earlier = world.goal.pool
    world.goal.scale(1, 0.0)
    world.tell()

    world.plan.take(earlier)

    assert not world.plan.is_open(WorkerId(1))


# Any order


class AnyOrder(RuleBasedStateMachine):
    """Moves that end, fail and never end, workers and routers that die, new goals, guilds that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(workers=3, guilds=12)
        self.next_guild = 100

    def _begin(self, order: Any) -> None:
        try:
            order(self.world.goal)
        except Conflict:
            return
        self.world.tell()
        for worker in [w for w, up in self.world.up.items() if not up and not self.world.goal.wants(w)]:
            assert worker not in self.world.goal.pool.members
        self.world.look()

    @rule(count=st.integers(1, 6), force=st.booleans())
    def scale(self, count: int, force: bool) -> None:
        self._begin(lambda goal: goal.scale(count, self.world.now_s, force=force))

    @rule(worker=st.integers(0, 6))
    def drain(self, worker: int) -> None:
        self._try(lambda goal: goal.drain(worker, self.world.now_s))

    @rule(worker=st.integers(0, 6))
    def undrain(self, worker: int) -> None:
        self._try(lambda goal: goal.undrain(worker, self.world.now_s))

    @rule(worker=st.integers(0, 6))
    def recycle(self, worker: int) -> None:
        self._try(lambda goal: goal.recycle(worker, self.world.now_s))

    def _try(self, order: Any) -> None:
        before = self.world.goal.pool
        try:
            self._begin(order)
        except FloraError:
            assert self.world.goal.pool is before, "what is refused changes nothing"

    @rule(seconds=st.sampled_from([0.1, 1.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now_s += seconds
        self.world.look()

    @precondition(lambda self: self.world.moving)
    @rule(data=st.data(), fails=st.booleans())
    def a_move_ends(self, data: st.DataObject, fails: bool) -> None:
        guild_id = data.draw(st.sampled_from(sorted(self.world.moving)))
        if fails or not self.world.up.get(self.world.moving[guild_id], False):
            self.world.refuse(guild_id)
        else:
            self.world.arrive(guild_id)
        self.world.look()

    @rule()
    def workers_come_up(self) -> None:
        self.world.start_members()
        self.world.look()

    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        up = [worker for worker, runs in self.world.up.items() if runs]
        if not up:
            return
        worker = data.draw(st.sampled_from(sorted(up)))
        self.world.up[worker] = False
        for guild_id, target in list(self.world.moving.items()):
            if target == worker or self.world.home[guild_id] == worker:
                self.world.refuse(guild_id, "the worker died")
        self.world.look()

    @rule()
    def the_router_dies(self) -> None:
        self.world.moving.clear()
        self.world.plan = PoolPlan()
        self.world.tell()
        self.world.look()

    @rule(data=st.data())
    def a_guild_comes(self, data: st.DataObject) -> None:
        guild_id = GuildId(str(self.next_guild))
        self.next_guild += 1
        self.world.home[guild_id] = data.draw(st.sampled_from(sorted(self.world.up)))
        self.world.loading.add(guild_id)

    @precondition(lambda self: self.world.home)
    @rule(data=st.data())
    def a_guild_goes(self, data: st.DataObject) -> None:
        guild_id = data.draw(st.sampled_from(sorted(self.world.home)))
        if guild_id in self.world.moving:
            self.world.refuse(guild_id, "it was unloaded")
        del self.world.home[guild_id]
        self.world.loading.discard(guild_id)

    @rule()
    def loads_end(self) -> None:
        self.world.loading.clear()
        self.world.look()

    @invariant()
    def no_more_than_a_few_at_once(self) -> None:
        assert len(self.world.plan.moving) <= MOVES_AT_ONCE
        assert {*self.world.plan.moving} <= {*self.world.moving}

    def teardown(self) -> None:
        """Whatever happened: when nothing goes wrong any more the goal is met, and every guild is somewhere."""
        world = self.world
        guilds = {*world.home}
        world.settle(rounds=400 + len(guilds) * 20)

        pool = world.goal.pool
        assert {*world.up} == {*pool.members}, "workers too many, or too few"
        assert {*world.home} == guilds
        for guild_id, worker in world.home.items():
            assert world.up[worker], guild_id
            assert world.plan.is_open(worker), guild_id
        assert pool.operation is None or pool.operation.state is OperationState.DONE, pool.operation
        assert world.most_moves_of_a_guild() <= 1


@pytest.mark.scenario("T50")
def test_given_any_order_of_what_may_happen_when_it_is_over_then_the_pool_is_as_wanted_and_no_guild_is_lost():
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


@given(counts=st.lists(st.integers(1, 64), max_size=6), recycled=st.lists(st.integers(0, 64), max_size=4))
def test_given_any_orders_then_there_are_as_many_members_as_wanted_and_their_numbers_stay_low(counts, recycled):
    goal = PoolGoal(4)

    for count, worker in itertools.zip_longest(counts, recycled):
        if count is not None:
            goal.scale(count, 0.0)
            assert len(goal.pool.members) == count
        goal.ended(OperationEnded(number=1, state=OperationState.DONE, text="", moved=0), 0.0)
        if worker in goal.pool.members and not goal.is_running:
            goal.recycle(worker, 0.0)

    assert list(goal.pool.members) == sorted({*goal.pool.members})
    assert max(goal.pool.members) <= 64
