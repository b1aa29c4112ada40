"""How the router makes the pool what Runtime wants: with a router, and everybody around it played by the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flora.actors import router_pool
from flora.actors.pool_goal import PoolGoal
from flora.actors.routing import default_worker
from flora.messages.audit import RecordAudit
from flora.messages.base import Failed, Ok
from flora.messages.deployment import ListWantedGuilds
from flora.messages.dispatch import UnloadIsolate, WorkerReport
from flora.messages.errors import Conflict, TimedOut
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import PeersChanged
from flora.messages.migration import MigrateGuild, MoveOut
from flora.messages.placement import DescribeWorkers, StopWorker
from flora.messages.pool import DescribePool, OperationEnded, OperationState

G, H = [GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 1][:2]
ELSEWHERE = GuildId(next(str(n) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_pool, "LOOK_EVERY_S", 0.01)


class Pool:
    """Runtime's part of the scene."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.goal = PoolGoal(2)
        self.tell()

    def tell(self) -> None:
        self.scene.change_peers(pool=self.goal.pool)

    def scale(self, count: int, **more: Any) -> None:
        self.goal.scale(count, 0.0, **more)
        self.tell()

    def stops(self) -> list[StopWorker]:
        return list(self.scene.stage.seen_by(self.scene.runtime, StopWorker))

    def let_stop(self, worker: int) -> None:
        """Runtime ends a worker that it was asked to end."""
        request = self.scene.stage.until(self.stops)[-1]
        assert request.worker_id == worker
        left = tuple(entry for entry in self.scene.peers.workers if entry[0] != worker)
        self.scene.change_peers(workers=left)
        self.scene.stage.say(self.scene.runtime, self.scene.router, Ok(req_id=request.req_id))

    def ended(self) -> list[tuple[int, OperationState, str]]:
        return [
            (told.number, told.state, told.text)
            for told in self.scene.stage.seen_by(self.scene.runtime, OperationEnded)
        ]

    def until_ended(self) -> tuple[int, OperationState, str]:
        return self.scene.stage.until(self.ended)[-1]

    def describe(self) -> dict[str, Any]:
        return dict(self.scene.ask(DescribePool(req_id=ReqId("p"))).value)


def serve(scene: Any, guild_id: GuildId, worker: int) -> None:
    scene.load(guild_id, f"load {guild_id}")
    scene.finish_load(scene.workers[worker])
    scene.stored(guild_id)


def finish(scene: Any, worker: Any, *events: int) -> None:
    scene.worker_says(worker, ack=1, done=tuple((seq, G, "ok") for seq in events))


def test_given_a_worker_too_many_then_its_guild_moves_with_what_waits_and_it_ends_when_it_is_empty(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    serve(scene, G, 1)
    old, new = scene.workers[1], scene.workers[0]

    pool.scale(1)
    request = scene.leaves(old)
    waiting = scene.events(G, G)
    assert pool.stops() == []
    assert pool.describe()["operation"]["moving"] == 1
    scene.arrives(new)

    assert request.guild_id == G
    assert scene.sent_to(new) == waiting
    for _ in range(5):
        scene.stage.pump()
    assert pool.stops() == [], "its successor would not know which events it had, should this router die"
    finish(scene, new, *waiting)
    pool.let_stop(1)
    assert pool.until_ended() == (1, OperationState.DONE, "1 guild was moved")
    assert [w["worker"] for w in answered_workers(scene)] == [0]


def answered_workers(scene: Any) -> list[dict[str, Any]]:
    return list(scene.ask(DescribeWorkers(req_id=ReqId("w"))).value)


def test_given_a_drained_worker_then_first_loads_go_to_the_others_and_nobody_is_moved_there(make_scene, monkeypatch):
    monkeypatch.setattr("flora.actors.router_views.USAGE_LIMIT_S", 0.02)
    scene = make_scene()
    pool = Pool(scene)
    pool.goal.drain(1, 0.0)
    pool.tell()
    pool.until_ended()

    scene.load(G)
    scene.finish_load(scene.workers[0])
    scene.stored(G)

    assert scene.loads_at(scene.workers[1]) == []
    refused = scene.ask(MigrateGuild(req_id=ReqId("m"), guild_id=G, target=1))
    assert (refused.code, refused.message) == (Conflict.code, "worker 1 is to have no guilds; `flora workers` says why")
    assert [w["pool_state"] for w in answered_workers(scene)] == ["active", "drained"]


def test_given_a_guild_that_does_not_come_to_rest_when_it_is_tried_again_by_force_then_what_it_had_under_way_fails(
    make_scene,
):
    scene = make_scene()
    pool = Pool(scene)
    serve(scene, G, 1)
    under_way = scene.events(G)
    scene.sent_to(scene.workers[1])

    pool.scale(1, force=True)
    scene.worker_says(scene.workers[1], ack=1, done=((under_way[0], G, "ok"),))
    out = scene.stage.until(lambda: scene.stage.seen_by(scene.workers[1], MoveOut))[0]
    late = TimedOut("migration_quiesce timed out").as_failed(out.req_id)
    scene.stage.say(scene.workers[1], scene.router, late)
    (stuck,) = scene.events(G)
    scene.stage.until(lambda: stuck in scene.sent_to(scene.workers[1]))
    unload = scene.stage.until(lambda: scene.stage.seen_by(scene.workers[1], UnloadIsolate))[-1]
    waiting = scene.events(G)
    scene.stage.say(scene.workers[1], scene.router, Ok(req_id=unload.req_id))
    scene.stage.until(lambda: (G,) in scene.reloads())
    scene.load(G, "again", restore=True)
    scene.stage.until(lambda: scene.loads_at(scene.workers[0]))
    scene.finish_load(scene.workers[0])

    assert scene.stage.until(lambda: scene.sent_to(scene.workers[0])) == waiting, "what had started is not run again"
    assert scene.metrics()["events_died"] == 1
    finish(scene, scene.workers[0], *waiting)
    pool.let_stop(1)
    assert pool.until_ended()[1] is OperationState.DONE


def test_given_a_worker_that_is_to_go_when_it_dies_then_its_guilds_and_what_waits_go_elsewhere(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    serve(scene, G, 1)
    sent = scene.events(G, G)
    scene.sent_to(scene.workers[1])
    pool.scale(1)
    scene.stage.pump()

    scene.worker_dies(1)

    scene.stage.until(lambda: (G,) in scene.reloads())
    scene.load(G, "again", restore=True)
    scene.stage.until(lambda: scene.loads_at(scene.workers[0]))
    scene.finish_load(scene.workers[0])
    assert scene.stage.until(lambda: scene.sent_to(scene.workers[0])) == sent
    finish(scene, scene.workers[0], *sent)
    pool.let_stop(1)
    assert pool.until_ended() == (1, OperationState.DONE, "1 guild was moved")


def test_given_a_load_that_waits_for_a_dead_worker_when_that_is_to_go_then_it_goes_elsewhere(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    scene.worker_dies(1)
    scene.load(G, "first")
    scene.stage.pump()

    pool.scale(1)

    scene.stage.until(lambda: scene.loads_at(scene.workers[0]))
    scene.finish_load(scene.workers[0])
    scene.stage.until(lambda: [reply for reply in scene.replies() if reply.req_id == "first"])
    pool.let_stop(1)
    assert pool.until_ended()[1] is OperationState.DONE


def test_given_runtime_that_wants_the_worker_after_all_then_it_stays(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    pool.scale(1)
    request = scene.stage.until(pool.stops)[-1]

    pool.scale(2)
    refused = Conflict("worker 1 is to stay").as_failed(request.req_id)
    scene.stage.say(scene.runtime, scene.router, refused)
    pool.until_ended()

    serve(scene, G, 1)
    assert len(pool.stops()) == 1


def test_given_a_worker_that_was_ended_when_another_one_has_its_number_already_then_that_one_stays(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    pool.scale(1)
    first = scene.stage.until(pool.stops)[-1]
    pool.scale(1)
    second = scene.stage.until(lambda: pool.stops()[1:])[-1]
    pool.scale(2)
    scene.workers[1] = scene.stage.puppet()
    scene.meet(1, scene.workers[1])

    for request in (first, second):
        scene.stage.say(scene.runtime, scene.router, Ok(req_id=request.req_id))

    pool.until_ended()
    serve(scene, G, 1)


def test_given_a_restarted_router_when_a_worker_is_to_go_then_it_waits_until_that_has_said_which_guilds_it_has(
    make_scene, stage
):
    goal = PoolGoal(2)
    goal.scale(1, 0.0)
    scene = make_scene(restarted=True)
    scene.change_peers(pool=goal.pool)
    for _ in range(20):
        stage.pump()
    assert stage.seen_by(scene.runtime, StopWorker) == [], "nobody knows yet what is there"

    for worker, guilds in ((scene.workers[0], ()), (scene.workers[1], ((G, ("messageCreate",)),))):
        stage.say(worker, scene.router, WorkerReport(guilds=guilds, received=(), unfinished=()))
    wanted = stage.until(lambda: stage.seen_by(scene.deployer, ListWantedGuilds))[0]
    stage.say(scene.deployer, scene.router, Ok(req_id=wanted.req_id, value=(G,)))

    assert scene.leaves(scene.workers[1]).guild_id == G
    scene.arrives(scene.workers[0])
    stage.until(lambda: stage.seen_by(scene.runtime, StopWorker))


def test_given_an_older_word_of_runtime_that_comes_late_then_it_changes_nothing(make_scene):
    scene = make_scene()
    pool = Pool(scene)
    earlier = scene.peers
    pool.scale(1)
    pool.let_stop(1)
    pool.until_ended()

    scene.stage.tell(scene.router, PeersChanged(peers=replace(earlier, workers=scene.peers.workers)))

    assert pool.describe()["members"] == [0]
    serve(scene, G, 0)


def test_given_a_quarantine_then_the_audit_log_says_who_went_where_and_why(make_scene):
    scene = make_scene()
    serve(scene, ELSEWHERE, 0)

    scene.worker_dies(0, cause="its memory was used up", guilty=(ELSEWHERE,))

    (request,) = scene.stage.until(lambda: scene.stage.seen_by(scene.deployer, RecordAudit))
    (line,) = request.lines
    assert (line.guild_id, line.actor.kind, line.action, line.target) == (
        ELSEWHERE, "system", "guild.quarantine", "worker 1000",
    )  # fmt: skip
    assert line.details == {"why": "its memory was used up", "source": 0}


def test_given_a_guild_that_stays_stuck_then_the_operation_says_so_and_who(make_scene, monkeypatch):
    monkeypatch.setattr("flora.actors.pool_plan.MAX_TRIES", 1)
    scene = make_scene()
    pool = Pool(scene)
    serve(scene, G, 1)
    pool.scale(1)
    out = scene.stage.until(lambda: scene.stage.seen_by(scene.workers[1], MoveOut))[0]

    scene.stage.say(
        scene.workers[1],
        scene.router,
        Failed(req_id=out.req_id, code=TimedOut.code, message="migration_quiesce timed out"),
    )

    number, state, text = pool.until_ended()
    assert (number, state) == (1, OperationState.STUCK)
    assert text.startswith(f"guild {G} does not leave worker 1: migration_quiesce timed out; --force")
    assert pool.describe()["operation"]["waiting"] == [
        {"guild_id": G, "worker": 1, "why": "migration_quiesce timed out", "tries": 1}
    ]
    assert scene.sent_to(scene.workers[1]) == []
    assert scene.events(G) == scene.stage.until(lambda: scene.sent_to(scene.workers[1])), "it serves on"
