"""How Runtime changes the pool of workers, with children that tests can end; and when a worker is recycled by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from thespian.actors import ActorExitRequest

from flora.actors import pool_supervisor
from flora.actors.base import DEFERRED, FloraActor
from flora.actors.pool_goal import LEAST_AGE_S, PAUSE_S, PoolGoal, RecyclePolicy
from flora.actors.pool_supervisor import PoolSupervisor
from flora.actors.supervision import RestartPolicy, Restarts
from flora.actors.supervisor import Child
from flora.messages.base import Failed, Ok, Request
from flora.messages.dispatch import WorkerExited
from flora.messages.errors import BadRequest, Conflict, NotFound, Unavailable
from flora.messages.ids import ReqId
from flora.messages.lifecycle import DescribeSystem, Drain, Peers, Start
from flora.messages.placement import FIRST_DEDICATED_WORKER, StopWorker
from flora.messages.pool import (
    DrainWorker,
    OperationEnded,
    OperationKind,
    OperationState,
    RecycleWorker,
    ScaleWorkers,
    UndrainWorker,
)
from flora.storage.backoff import Backoff


class Kid(FloraActor):
    """A child that remembers, for the test, that it was started and what it was told."""

    started: ClassVar[dict[str, list[Any]]] = {}
    peers_told: ClassVar[list[Peers]] = []  # to the router
    exits: ClassVar[list[WorkerExited]] = []
    drained: ClassVar[list[str]] = []
    behaviours: ClassVar[list[str]] = []  # of the next starts: "ok", "silent", "refuse"
    recorders: ClassVar[Path]

    def on_start(self, msg: Start) -> Any:
        Kid.started.setdefault(msg.name, []).append(self.myAddress)
        behaviour = Kid.behaviours.pop(0) if Kid.behaviours else "ok"
        if behaviour == "refuse":
            raise ValueError("cannot")
        recorder = Kid.recorders / f"{msg.name}-{len(Kid.started[msg.name])}.recorder"
        recorder.touch()
        return DEFERRED if behaviour == "silent" else {"recorder": str(recorder), "pid": 0}

    def on_peers(self, peers: Peers) -> None:
        if self.name == "router":
            Kid.peers_told.append(peers)

    def on_drain(self, msg: Drain) -> None:
        Kid.drained.append(self.name)

    def receiveMsg_WorkerExited(self, msg: WorkerExited, sender: Any) -> None:
        Kid.exits.append(msg)


class SmallSystem(PoolSupervisor):
    """A router and two workers."""

    worker_class = Kid

    def on_start(self, msg: Start) -> object:
        self._request = msg
        self._set_out_with(2)
        self._start(["router", "worker 0", "worker 1"])
        return DEFERRED

    def _start(self, names: list[str]) -> None:
        if not names:
            self._take_orders()
            self.reply_ok(self._request, None)
            return
        name = names.pop(0)
        number = int(name[-1]) if name[-1].isdigit() else None
        restarts = Restarts(RestartPolicy(backoff=Backoff(first_s=0.01, cap_s=0.02), max_restarts=99))
        self._children[name] = Child(name, Kid, "" if number is not None else name, number, restarts=restarts)
        self._start_child(self._children[name], lambda: self._start(names), lambda error: None)

    def receiveMsg_DescribeSystem(self, msg: DescribeSystem, sender: Any) -> None:
        self.reply_ok(msg, sender, {name: child.state for name, child in self._children.items()})

    def _fatal(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture(autouse=True)
def fresh_kids(tmp_path: Path) -> None:
    Kid.started, Kid.peers_told, Kid.exits, Kid.drained, Kid.behaviours = {}, [], [], [], []
    Kid.recorders = tmp_path


class Scene:
    def __init__(self, stage: Any, settings: Any) -> None:
        self.stage = stage
        self.runtime = stage.create(SmallSystem)
        start = Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime")
        assert isinstance(stage.ask(self.runtime, start), Ok)

    def ask(self, request: Request) -> Any:
        return self.stage.ask(self.runtime, request)

    def states(self) -> dict[str, str]:
        return dict(self.ask(DescribeSystem(req_id=ReqId("d"))).value)

    def until(self, **states: str) -> None:
        wanted = {"router": "running", **{name.replace("_", " "): state for name, state in states.items()}}
        self.stage.until(lambda: self.states() == wanted)

    def die(self, name: str) -> None:
        self.stage.tell(Kid.started[name][-1], ActorExitRequest())


@pytest.fixture
def scene(stage, settings) -> Scene:
    return Scene(stage, settings)


def scale(count: int) -> ScaleWorkers:
    return ScaleWorkers(req_id=ReqId("s"), count=count)


def stop(worker: int) -> StopWorker:
    return StopWorker(req_id=ReqId("e"), worker_id=worker)


def test_given_a_larger_pool_then_workers_start_one_after_another_and_everybody_hears_who_is_to_be_there(scene):
    Kid.behaviours = ["silent"]

    assert scene.ask(scale(4)).value == 1

    scene.stage.until(lambda: "worker 2" in Kid.started)
    assert "worker 3" not in Kid.started, "one at a time"
    assert Kid.peers_told[-1].pool.members == (0, 1, 2, 3)
    assert Kid.peers_told[-1].pool.operation.fresh == (2, 3)
    scene.die("worker 2")
    scene.until(worker_0="running", worker_1="running", worker_2="running", worker_3="running")
    peers = Kid.peers_told[-1]
    assert [number for number, _ in peers.workers] == [0, 1, 2, 3]
    assert [number for number, _ in peers.pool.up_since] == [0, 1, 2, 3] or len(peers.pool.up_since) == 4


def test_given_a_worker_that_is_one_too_many_when_it_is_empty_then_it_says_its_last_words_and_ends_for_good(scene):
    scene.ask(scale(1))
    assert scene.states() == {"router": "running", "worker 0": "running", "worker 1": "running"}, "it has guilds still"

    assert isinstance(scene.ask(stop(1)), Ok)

    assert isinstance(scene.ask(stop(1)), Ok), "asked twice"
    scene.until(worker_0="running")
    assert Kid.drained == ["worker 1"]
    assert [number for number, _ in Kid.peers_told[-1].workers] == [0]
    scene.stage.until(lambda: not (Kid.recorders / "worker 1-1.recorder").exists())
    assert Kid.exits == [], "its end is no death"


def test_given_a_worker_that_is_to_stay_then_it_is_not_stopped_whatever_an_old_router_says(scene):
    refused = scene.ask(stop(1))

    assert (refused.code, refused.message) == (Conflict.code, "worker 1 is to stay")
    scene.until(worker_0="running", worker_1="running")


def test_given_a_worker_that_is_to_go_when_it_dies_then_the_router_hears_it_and_it_stays_dead(scene):
    scene.ask(scale(1))

    scene.die("worker 1")

    scene.stage.until(lambda: Kid.exits)
    assert Kid.exits[0].worker_id == 1
    scene.until(worker_0="running")
    assert len(Kid.started["worker 1"]) == 1


def test_given_workers_that_are_starting_when_they_are_not_wanted_any_more_then_they_end_at_once(scene):
    Kid.behaviours = ["silent"]
    scene.ask(scale(4))
    scene.stage.until(lambda: "worker 2" in Kid.started)

    assert scene.ask(scale(2)).value == 2

    scene.until(worker_0="running", worker_1="running")
    assert Kid.drained == []
    assert scene.ask(scale(3)).value == 3
    scene.until(worker_0="running", worker_1="running", worker_2="running")


def test_given_a_worker_that_cannot_start_then_it_is_tried_on_and_the_others_start(scene):
    Kid.behaviours = ["refuse"]

    scene.ask(scale(4))

    scene.until(worker_0="running", worker_1="running", worker_2="running", worker_3="running")
    assert len(Kid.started["worker 2"]) == 2


def test_given_a_new_router_then_it_learns_what_is_wanted_and_how_that_stands(scene):
    scene.ask(RecycleWorker(req_id=ReqId("r"), worker_id=0))
    ended = OperationEnded(number=1, state=OperationState.STUCK, text="guild 7 does not leave", moved=3)
    scene.stage.tell(scene.runtime, replace(ended, number=99))
    scene.stage.tell(scene.runtime, ended)
    scene.stage.until(lambda: Kid.peers_told and Kid.peers_told[-1].pool.operation.state is OperationState.STUCK)

    scene.die("router")

    scene.stage.until(lambda: len(Kid.started["router"]) == 2)
    scene.until(worker_0="running", worker_1="running", worker_2="running")
    pool = Kid.peers_told[-1].pool
    assert pool.members == (1, 2)
    assert (pool.operation.heir, pool.operation.text, pool.operation.moved) == (2, "guild 7 does not leave", 3)


# What is asked for


def test_given_a_pool_when_it_is_scaled_then_the_lowest_stay_and_the_lowest_free_numbers_come():
    goal = PoolGoal(3)
    goal.recycle(0, 0.0)
    assert goal.pool.members == (1, 2, 3)
    goal.ended(OperationEnded(number=1, state=OperationState.DONE, text="", moved=0), 1.0)

    goal.scale(5, 2.0)
    assert goal.pool.members == (0, 1, 2, 3, 4)
    assert goal.pool.operation.fresh == (0, 4)
    goal.scale(2, 3.0)
    assert goal.pool.members == (0, 1)
    assert goal.pool.operation.fresh == ()


@pytest.mark.parametrize("count", [0, -1, 65])
def test_given_too_few_or_too_many_then_a_scale_is_refused(count):
    goal = PoolGoal(2)

    with pytest.raises(BadRequest, match="1 to 64"):
        goal.scale(count, 0.0)
    assert goal.pool.operation is None


def test_given_something_under_way_then_only_a_scale_takes_its_place():
    goal = PoolGoal(4)
    goal.drain(0, 0.0)
    goal.drain(1, 1.0)  # two at once are fine
    goal.undrain(0, 2.0)
    goal.ended(OperationEnded(number=3, state=OperationState.DONE, text="", moved=0), 3.0)
    goal.recycle(2, 4.0)

    for order in (lambda: goal.drain(3, 5.0), lambda: goal.undrain(1, 5.0), lambda: goal.recycle(3, 5.0)):
        with pytest.raises(Conflict, match="recycle of worker 2 is under way"):
            order()
    assert goal.scale(2, 6.0) == 5
    assert (goal.pool.members, goal.pool.drained) == ((0, 1), (1,))
    assert not goal.ended(OperationEnded(number=4, state=OperationState.DONE, text="", moved=0), 7.0)
    assert goal.is_running


def test_given_orders_that_make_no_sense_then_each_is_refused_with_the_reason():
    goal = PoolGoal(2)

    with pytest.raises(NotFound, match="there is no shared worker 2"):
        goal.drain(2, 0.0)
    with pytest.raises(Conflict, match="one guild's own"):
        goal.recycle(FIRST_DEDICATED_WORKER, 0.0)
    with pytest.raises(Conflict, match="worker 1 is not drained"):
        goal.undrain(1, 0.0)
    goal.drain(0, 0.0)
    with pytest.raises(Conflict, match="no worker would be left"):
        goal.drain(1, 0.0)
    with pytest.raises(Conflict, match="no worker would be left"):
        goal.scale(1, 0.0)
    goal.ended(OperationEnded(number=1, state=OperationState.DONE, text="", moved=0), 1.0)
    with pytest.raises(Conflict, match="drained and has nothing to hand over"):
        goal.recycle(0, 2.0)


# Recycling by itself

DAY_S = 86_400.0


def a_pool(*up_since_s: float) -> PoolGoal:
    goal = PoolGoal(len(up_since_s))
    for worker, since_s in enumerate(up_since_s):
        goal.came_up(worker, since_s)
    return goal


def sizes(*megabytes: int) -> dict[int, int]:
    return {worker: size << 20 for worker, size in enumerate(megabytes)}


def test_given_workers_over_the_age_then_the_oldest_is_recycled_and_the_next_one_only_after_a_pause():
    policy = RecyclePolicy(max_age_s=DAY_S)
    goal = a_pool(10.0, 0.0)

    assert policy.pick(goal.pool, sizes(90, 90), DAY_S - 1) is None
    assert policy.pick(goal.pool, sizes(90, 90), DAY_S) == (1, "it is 86400 s old")
    goal.recycle(1, DAY_S, automatic=True)
    assert policy.pick(goal.pool, sizes(90, 90, 90), 2 * DAY_S) is None, "one at a time"
    goal.is_gone(1)
    goal.came_up(2, DAY_S)
    goal.ended(OperationEnded(number=1, state=OperationState.DONE, text="", moved=0), DAY_S + 20)

    left = {0: 90 << 20, 2: 90 << 20}
    assert policy.pick(goal.pool, left, DAY_S + 20 + PAUSE_S - 1) is None
    assert policy.pick(goal.pool, left, DAY_S + 20 + PAUSE_S) == (0, "it is 86470 s old")


def test_given_a_worker_that_is_too_large_then_it_is_recycled_unless_it_is_young():
    policy = RecyclePolicy(max_rss_mb=300)
    goal = a_pool(0.0, 500.0)

    assert policy.pick(goal.pool, sizes(299, 400), LEAST_AGE_S) is None, "the large one would be as large again"
    assert policy.pick(goal.pool, sizes(300, 400), LEAST_AGE_S) == (0, "it has 300 MB resident")
    assert policy.pick(goal.pool, sizes(300, 400), LEAST_AGE_S + 500) == (1, "it has 400 MB resident")


def test_given_a_pool_that_is_not_as_it_is_to_be_then_nobody_is_recycled_by_itself():
    policy = RecyclePolicy(max_age_s=1.0)
    goal = a_pool(0.0, 0.0)

    assert policy.pick(goal.pool, sizes(90), DAY_S) is None, "one is missing"
    assert policy.pick(goal.pool, sizes(90, 90, 90), DAY_S) is None, "one has not left yet"
    goal.drain(0, 0.0)
    goal.ended(OperationEnded(number=1, state=OperationState.DONE, text="", moved=0), 1.0)
    assert policy.pick(goal.pool, sizes(90, 90), DAY_S) is None, "an operator is at work"
    assert not RecyclePolicy()


def test_given_a_worker_over_the_age_then_runtime_begins_by_itself(stage, settings, monkeypatch):
    monkeypatch.setattr(pool_supervisor, "RECYCLE_LOOK_S", 0.02)
    aging = replace(settings, runtime=replace(settings.runtime, worker_max_age_s=0.01))
    scene = Scene(stage, aging)

    stage.until(lambda: Kid.peers_told and Kid.peers_told[-1].pool.operation is not None)

    operation = Kid.peers_told[-1].pool.operation
    assert (operation.kind, operation.automatic, operation.heir) == (OperationKind.RECYCLE, True, 2)
    scene.until(worker_0="running", worker_1="running", worker_2="running")


def test_given_orders_while_it_boots_then_they_are_refused_for_now(stage, settings):
    Kid.behaviours = ["silent"]
    runtime = stage.create(SmallSystem)
    stage.tell(runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))
    stage.until(lambda: Kid.started)

    for order in (scale(3), DrainWorker(req_id=ReqId("d"), worker_id=0), UndrainWorker(req_id=ReqId("u"), worker_id=0)):
        refused = stage.ask(runtime, order)
        assert isinstance(refused, Failed)
        assert refused.code == Unavailable.code
