"""How the router moves a guild: a played gateway, played workers, and what each of them hears in which order."""

from __future__ import annotations

from typing import Any

import pytest

from flora.actors import router_moves
from flora.actors.routing import default_worker
from flora.actors.tracing import TRACES_FOLDER
from flora.messages.base import Failed, Ok
from flora.messages.deployment import LoadGuild, ReloadGuilds, UnloadGuild
from flora.messages.dispatch import DispatchFrame, UnloadIsolate, WorkerReport
from flora.messages.errors import LoadFailed, NotFound, TimedOut, WorkerGone
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Drain
from flora.messages.migration import DescribeMoves, DropFrozen, MigrateGuild, MoveOut, ThawGuild
from flora.messages.placement import FIRST_DEDICATED_WORKER, Placement
from flora.messages.secrets import NO_SECRETS, GiveSecrets
from flora.storage.trace_files import TraceReader

G = next(GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0)


@pytest.fixture
def scene(make_scene):
    """G serves in worker 0."""
    scene = make_scene()
    serve(scene)
    return scene


def serve(scene: Any) -> None:
    scene.load(G, "first")
    scene.arrives(scene.workers[0])
    scene.stored(G)


def migrate(scene: Any, target: int | None = 1) -> Any:
    """Asks for a move; gives who asked."""
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, MigrateGuild(req_id=ReqId("m"), guild_id=G, target=target))
    return asker


def answer(scene: Any, asker: Any) -> Any:
    return scene.stage.until(lambda: scene.stage.seen_by(asker))[0]


def refuse(scene: Any, worker: Any, kind: type, error: Any) -> None:
    request = scene.stage.until(lambda: scene.stage.seen_by(worker, kind))[-1]
    scene.stage.say(worker, scene.router, error.as_failed(request.req_id))


def moves(scene: Any) -> list[dict[str, Any]]:
    return list(scene.ask(DescribeMoves(req_id=ReqId("d"))).value)


@pytest.mark.scenario("T41")
def test_given_a_guild_at_rest_when_migrated_then_it_serves_on_the_target_and_the_figures_say_so(scene):
    source, target = scene.workers

    asker = migrate(scene)
    request = scene.leaves(source)
    scene.arrives(target)

    told = answer(scene, asker).value
    assert (told["source"], told["target"], told["queued"]) == (0, 1, 0)
    assert told["paused_us"] > 0
    (load,) = scene.loads_at(target)
    assert (load.script, load.restore, load.jobs) == ("script", True, ())
    assert [dropped.epoch for dropped in scene.stage.seen_by(source, DropFrozen)] == [request.epoch]
    event = scene.events(G)
    assert (scene.sent_to(target), scene.sent_to(source)) == (event, [])
    metrics = scene.metrics()
    assert (metrics["migration_success"], metrics["migration_quiesce_duration_us"]) == (1, 7)
    assert [(move["guild_id"], move["state"]) for move in moves(scene)] == [(G, "moved")]


def test_given_moves_that_end_well_and_not_then_each_leaves_a_record_with_its_reason(scene, settings):
    migrate(scene)
    scene.leaves(scene.workers[0])
    scene.arrives(scene.workers[1])
    back = migrate(scene, 0)
    refuse(scene, scene.workers[1], MoveOut, TimedOut("migration_quiesce timed out"))
    answer(scene, back)

    reader = TraceReader(settings.data_dir / TRACES_FOLDER)
    records = [record for record in reader.records() if record.kind == "move"]

    assert [(r.guild_id, r.outcome, r.why) for r in records] == [
        (G, "ok", ""),
        (G, "TIMED_OUT", "migration_quiesce timed out"),
    ]
    assert records[0].attrs["target"] == 1
    assert records[0].took_us >= records[0].attrs["paused_us"] > 0


@pytest.mark.scenario("T42")
@pytest.mark.parametrize("target", [0, 2])
def test_given_the_worker_it_is_in_modulo_their_number_when_migrated_there_then_nothing_happens(scene, target):
    told = answer(scene, migrate(scene, target))

    assert isinstance(told, Ok)
    assert (told.value["source"], told.value["target"]) == (0, 0)
    assert scene.stage.seen_by(scene.workers[0], MoveOut) == []
    assert scene.metrics()["migration_success"] == 0


@pytest.mark.scenario("T43")
def test_given_events_during_the_move_then_they_follow_in_order_and_later_ones_come_after_them(scene):
    asker = migrate(scene)
    early = scene.events(G, G)
    scene.leaves(scene.workers[0])
    late = scene.events(G, G, G)
    scene.arrives(scene.workers[1])
    after = scene.events(G)

    assert scene.sent_to(scene.workers[1]) == early + late + after
    assert scene.sent_to(scene.workers[0]) == []
    assert answer(scene, asker).value["queued"] == 5


def test_given_events_under_way_when_migrated_then_it_waits_for_them_and_goes_with_the_last_report(scene):
    source, _ = scene.workers
    under_way = scene.events(G, G)
    scene.sent_to(source)
    migrate(scene)

    scene.worker_says(source, ack=9, done=((under_way[0], G, "ok"),))
    early = scene.stage.seen_by(source, MoveOut)
    scene.worker_says(source, ack=9, done=((under_way[1], G, "ok"),))

    assert early == []
    scene.leaves(source)


@pytest.mark.scenario("T44")
def test_given_an_event_that_throws_and_a_request_that_fails_during_the_replay_then_the_rest_follows(scene):
    source, target = scene.workers
    migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    first = scene.events(G, G)
    scene.load(G, "deploy")
    second = scene.events(G, G)
    scene.stage.say(scene.caller, scene.router, GiveSecrets(req_id=ReqId("give"), guild_id=G, secrets=NO_SECRETS))
    third = scene.events(G)
    scene.leaves(source)
    scene.arrives(target)

    assert scene.sent_to(target) == first
    scene.worker_says(target, ack=9, done=((first[0], G, "ok"), (first[1], G, "threw")))
    scene.stage.until(lambda: len(scene.loads_at(target)) == 2)
    scene.fail_load(target)
    refuse(scene, target, GiveSecrets, WorkerGone("it is gone"))

    scene.stage.until(lambda: scene.sent_to(target) == first + second + third)
    assert {reply.req_id: reply.code for reply in scene.replies() if isinstance(reply, Failed)} == {
        "deploy": LoadFailed.code,
        "give": WorkerGone.code,
    }


@pytest.mark.scenario("T45")
def test_given_a_move_when_another_is_wanted_then_that_is_refused_and_the_first_one_ends_well(scene):
    first = migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(scene.workers[0], MoveOut))
    second = answer(scene, migrate(scene))
    scene.leaves(scene.workers[0])
    scene.arrives(scene.workers[1])

    assert (second.code, second.message) == ("CONFLICT", "guild migration already in progress")
    assert isinstance(answer(scene, first), Ok)


@pytest.mark.scenario("T46")
def test_given_a_guild_that_does_not_come_to_rest_then_it_stays_and_gets_what_waited(scene):
    asker = migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(scene.workers[0], MoveOut))
    waiting = scene.events(G)
    refuse(scene, scene.workers[0], MoveOut, TimedOut("migration_quiesce timed out"))

    told = answer(scene, asker)
    assert (told.code, told.message) == ("TIMED_OUT", "migration_quiesce timed out")
    assert scene.sent_to(scene.workers[0]) == waiting
    metrics = scene.metrics()
    assert (metrics["migration_timeout"], metrics["migration_failed"], metrics["migration_success"]) == (1, 1, 0)


@pytest.mark.scenario("T47")
@pytest.mark.parametrize("how", ["refuses", "dies"])
def test_given_a_target_that_refuses_or_dies_then_the_guild_goes_on_where_it_was(scene, how):
    source, target = scene.workers
    asker = migrate(scene)
    scene.leaves(source)
    waiting = scene.events(G)
    scene.stage.until(lambda: scene.loads_at(target))

    if how == "refuses":
        scene.fail_load(target)
    else:
        scene.worker_dies(1)
    epoch = scene.thaws(source).epoch

    told = answer(scene, asker)
    assert told.code == (LoadFailed.code if how == "refuses" else "WORKER_GONE")
    assert epoch == scene.stage.seen_by(source, MoveOut)[0].epoch
    assert scene.sent_to(source) == waiting
    assert scene.reloads() == []


@pytest.mark.scenario("T48")
def test_given_a_source_that_refuses_the_rollback_then_both_reasons_are_told_and_it_is_loaded_from_its_deployment(
    scene,
):
    source, target = scene.workers
    asker = migrate(scene)
    scene.leaves(source)
    waiting = scene.events(G)
    scene.stage.until(lambda: scene.loads_at(target))
    scene.fail_load(target)
    refuse(scene, source, ThawGuild, NotFound("guild runtime not loaded on worker"))

    told = answer(scene, asker)
    assert told.message == "migration failed and rollback failed: no; rollback: guild runtime not loaded on worker"
    scene.stage.until(lambda: scene.reloads() == [(G,)])
    scene.load(G, "again", restore=True)
    scene.arrives(source, 2)
    assert scene.sent_to(source) == waiting


@pytest.mark.scenario("T49")
def test_given_a_guild_that_is_not_loaded_then_that_is_said_and_nothing_waits(scene):
    known = migrate(scene)
    refuse(scene, scene.workers[0], MoveOut, NotFound("guild runtime not loaded on worker"))
    unknown = scene.ask(MigrateGuild(req_id=ReqId("m"), guild_id=GuildId("999"), target=1))

    for told in (answer(scene, known), unknown):
        assert (told.code, told.message) == ("NOT_FOUND", "guild runtime not loaded on worker")
    assert scene.metrics()["migrations_under_way"] == 0


@pytest.mark.scenario("T50")
def test_given_a_deploy_during_the_move_then_it_loads_on_the_target_and_later_events_wait_for_it(scene):
    source, target = scene.workers
    migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    before = scene.events(G)
    scene.load(G, "deploy")
    after = scene.events(G)
    scene.leaves(source)
    scene.arrives(target)

    scene.stage.until(lambda: len(scene.loads_at(target)) == 2)
    early = scene.sent_to(target)
    scene.finish_load(target)

    assert (early, scene.sent_to(target)) == (before, before + after)
    assert len(scene.loads_at(source)) == 1
    assert Ok(req_id=ReqId("deploy"), value={"worker": 1, "replaced": False}) in scene.replies()


def test_given_a_deploy_under_way_when_migrated_then_the_move_waits_until_it_is_stored_and_holds_nothing_back(scene):
    source, _ = scene.workers
    scene.load(G, "deploy")
    scene.stage.until(lambda: len(scene.loads_at(source)) == 2)
    migrate(scene)
    event = scene.events(G)
    assert scene.sent_to(source) == event, "the old one serves"
    scene.worker_says(source, ack=9, done=((event[0], G, "ok"),))

    scene.finish_load(source)
    scene.acknowledge_controls()
    assert scene.stage.seen_by(source, MoveOut) == []
    scene.stored(G)

    assert scene.leaves(source).guild_id == G


def test_given_an_undeploy_during_the_move_then_the_target_unloads_it_and_nothing_is_left(scene):
    source, target = scene.workers
    asker = migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    scene.stage.say(scene.caller, scene.router, UnloadGuild(req_id=ReqId("unload"), guild_id=G))
    scene.leaves(source)
    scene.arrives(target)

    (unload,) = scene.stage.until(lambda: scene.stage.seen_by(target, UnloadIsolate))
    scene.stage.say(target, scene.router, Ok(req_id=unload.req_id))

    scene.stage.until(lambda: any(reply.req_id == "unload" for reply in scene.replies()))
    assert isinstance(answer(scene, asker), Ok)
    metrics = scene.metrics()
    assert (metrics["guild_routes"], metrics["migrations_under_way"]) == (0, 0)


def test_given_an_event_of_no_guild_during_the_move_then_the_guild_gets_it_once(scene):
    """The source had heard of the first two when it froze the guild, the target of all but the last when it took over."""
    source, target = scene.workers
    first = scene.events("", "", name="ready")
    migrate(scene)
    scene.leaves(source, heard=first[1])
    missed = scene.events("", name="ready")
    waiting = scene.events(G)
    scene.stage.until(lambda: scene.loads_at(target))
    later = scene.events("", name="ready")
    value = {"replaced": False, "handlers": ("messageCreate",), "heard": missed[0]}
    scene.stage.say(target, scene.router, Ok(req_id=scene.loads_at(target)[0].req_id, value=value))

    assert scene.sent_to(target)[-2:] == missed + waiting
    rows = [
        row
        for frame in scene.stage.seen_by(target, DispatchFrame)
        for row in zip(frame.seqs, frame.guild_ids, strict=True)
    ]
    assert [seq for seq, guild_id in rows if guild_id == G] == missed + waiting
    assert [seq for seq, guild_id in rows if not guild_id] == first + missed + later


def test_given_a_move_that_lost_its_sense_when_the_target_answers_late_then_what_it_built_is_unloaded(scene):
    source, target = scene.workers
    migrate(scene)
    scene.leaves(source)
    scene.stage.until(lambda: scene.loads_at(target))
    scene.worker_says(source, ack=9, wedged=((G, "it does not end"),))  # the guild gets a worker of its own
    number, _ = scene.start_worker()
    scene.finish_load(target)

    assert number == FIRST_DEDICATED_WORKER
    (unload,) = scene.stage.until(lambda: scene.stage.seen_by(target, UnloadIsolate))
    assert unload.guild_id == G


def test_given_a_source_that_dies_when_the_guild_is_on_its_way_then_it_arrives_all_the_same(scene):
    source, target = scene.workers
    asker = migrate(scene)
    scene.leaves(source)
    waiting = scene.events(G)
    scene.stage.until(lambda: scene.loads_at(target))
    scene.worker_dies(0)
    scene.worker_returns()
    scene.finish_load(target)

    assert isinstance(answer(scene, asker), Ok)
    assert scene.sent_to(target) == waiting
    assert scene.reloads() == []


def test_given_a_source_that_dies_before_it_has_handed_over_then_the_guild_is_loaded_there_again(scene):
    source, _ = scene.workers
    asker = migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    waiting = scene.events(G)
    scene.worker_dies(0, address=source)
    again = scene.worker_returns()

    assert answer(scene, asker).code == "WORKER_GONE"
    scene.stage.until(lambda: scene.reloads() == [(G,)])
    scene.load(G, "again", restore=True)
    scene.arrives(again)
    assert scene.sent_to(again) == waiting


def test_given_a_deploy_that_waits_when_the_guild_is_lost_then_it_is_carried_out_at_once(scene):
    """The reload needs the guild's turn, which the deploy has."""
    source, _ = scene.workers
    migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    scene.load(G, "deploy")
    scene.worker_dies(0, address=source)
    again = scene.worker_returns()

    scene.arrives(again)

    assert any(reply.req_id == "deploy" and isinstance(reply, Ok) for reply in scene.replies())


def test_given_a_deploy_that_waits_when_the_deployer_dies_then_it_is_not_carried_out(scene):
    """The next deployer loads what is stored; it has not heard of this."""
    source, target = scene.workers
    migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    load = LoadGuild(req_id=ReqId("deploy"), guild_id=G, script="new", source_map=None)
    scene.stage.say(scene.deployer, scene.router, load)
    scene.change_peers(deployer=scene.stage.puppet())
    scene.leaves(source)
    scene.arrives(target)

    event = scene.events(G)
    assert scene.sent_to(target) == event
    assert [request.script for request in scene.loads_at(target)] == ["script"]


@pytest.mark.parametrize("serves", ["nowhere else", "elsewhere"])
def test_given_a_router_that_died_during_a_move_then_the_frozen_guild_goes_on_unless_it_serves_elsewhere(
    make_scene, serves
):
    scene = make_scene(restarted=True)
    source, target = scene.workers
    elsewhere = ((G, ("messageCreate",)),) if serves == "elsewhere" else ()
    report = WorkerReport(guilds=(), received=(), unfinished=(), frozen=((G, 7),))
    scene.stage.say(source, scene.router, report)
    scene.stage.say(target, scene.router, WorkerReport(guilds=elsewhere, received=(), unfinished=()))
    (wanted,) = scene.stage.until(lambda: [m for m in scene.stage.seen_by(scene.deployer) if "Wanted" in str(m)])
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=wanted.req_id, value=(G,)))

    if serves == "elsewhere":
        (dropped,) = scene.stage.until(lambda: scene.stage.seen_by(source, DropFrozen))
        assert dropped.epoch == 7
        owner = target
    else:
        assert scene.thaws(source).epoch == 7
        owner = source
    event = scene.events(G)
    scene.stage.until(lambda: scene.sent_to(owner) == event)
    assert scene.reloads() == []


def test_given_a_guild_that_two_workers_report_then_one_of_them_unloads_it(make_scene):
    scene = make_scene(restarted=True)
    for worker in scene.workers:
        report = WorkerReport(guilds=((G, ("messageCreate",)),), received=(), unfinished=())
        scene.stage.say(worker, scene.router, report)

    scene.stage.until(lambda: scene.stage.seen_by(scene.workers[1], UnloadIsolate))
    assert scene.stage.seen_by(scene.workers[0], UnloadIsolate) == []


def test_given_a_guild_that_cannot_be_loaded_again_while_its_move_waits_for_that_then_who_asked_hears_of_it(scene):
    scene.worker_dies(0, address=scene.workers[0])
    asker = migrate(scene)
    again = scene.worker_returns()
    scene.stage.until(scene.reloads)
    scene.load(G, "again", restore=True)
    scene.stage.until(lambda: scene.loads_at(again))
    scene.fail_load(again)
    (reload,) = scene.stage.seen_by(scene.deployer, ReloadGuilds)
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=reload.req_id, value={"failed": {G: "no"}}))

    told = answer(scene, asker)
    assert (told.code, told.message) == ("UNAVAILABLE", "guild runtime not loaded on worker")
    assert scene.metrics()["migrations_under_way"] == 0


def test_given_the_end_of_the_system_during_a_move_then_it_is_waited_for_and_no_other_begins(scene):
    source, target = scene.workers
    first = migrate(scene)
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))
    runtime = scene.stage.puppet()
    scene.stage.say(runtime, scene.router, Drain(req_id=ReqId("drain"), limit_s=5.0))
    early = scene.stage.seen_by(runtime)
    scene.leaves(source)
    scene.arrives(target)

    assert early == []
    assert isinstance(answer(scene, first), Ok)
    assert scene.stage.until(lambda: scene.stage.seen_by(runtime))[0].value == {"abandoned": 0}
    assert answer(scene, migrate(scene, 0)).code == "SHUTTING_DOWN"


def test_given_a_source_that_says_nothing_then_it_is_told_to_go_on(scene, monkeypatch):
    monkeypatch.setattr(router_moves, "HAND_OVER_MARGIN_S", 0.05 - 0.5)
    source, _ = scene.workers
    asker = migrate(scene)

    scene.thaws(source)

    assert answer(scene, asker).code == "TIMED_OUT"
    event = scene.events(G)
    assert scene.sent_to(source) == event


@pytest.mark.parametrize(("target", "code"), [(-1, "BAD_REQUEST"), (FIRST_DEDICATED_WORKER, "BAD_REQUEST")])
def test_given_a_target_that_is_none_then_it_is_refused(scene, target, code):
    assert answer(scene, migrate(scene, target)).code == code


def test_given_no_target_then_the_router_chooses_another_worker(scene):
    asker = migrate(scene, None)
    scene.leaves(scene.workers[0])
    scene.arrives(scene.workers[1])

    assert answer(scene, asker).value["target"] == 1


def test_given_a_guild_with_a_worker_of_its_own_then_it_is_not_moved_to_the_pool(make_scene):
    scene = make_scene()
    scene.load(G, "first", placement=Placement.DEDICATED)
    number, own = scene.start_worker()
    scene.arrives(own)
    scene.stored(G)

    assert number >= FIRST_DEDICATED_WORKER
    assert answer(scene, migrate(scene, 0)).code == "CONFLICT"
