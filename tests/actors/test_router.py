"""The router between a played gateway, played workers and a played deployer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flora.actors import router_gateway, router_loads, router_recovery
from flora.actors.routing import default_worker
from flora.messages.base import Ok
from flora.messages.deployment import ListRunning, ListWantedGuilds, ReloadGuilds, ScriptStored, UnloadGuild
from flora.messages.dispatch import UnloadIsolate, WorkerExited, WorkerReport
from flora.messages.errors import LoadFailed, WorkerGone
from flora.messages.gateway import GatewayControl, NotePositions, NoteSession, ResumePoint, ShardSession
from flora.messages.ids import GuildId, ReqId

GUILDS = [GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0]
G, H = GUILDS[:2]


@pytest.fixture
def scene(make_scene):
    return make_scene()


def test_given_a_load_when_the_gateway_does_not_know_the_handlers_yet_then_it_is_not_confirmed(scene):
    scene.load(G)
    request = scene.loads_at(scene.workers[0])[0]
    value = {"replaced": False, "handlers": ("messageCreate",)}
    scene.stage.say(scene.workers[0], scene.router, Ok(req_id=request.req_id, value=value))

    control = scene.stage.seen_by(scene.gateway, GatewayControl)[-1]
    assert control.subscriptions == ((G, ("messageCreate",)),)
    assert scene.replies() == []

    scene.acknowledge_controls()
    assert scene.replies() == [Ok(req_id=ReqId("load"), value={"worker": 0, "replaced": False})]


@pytest.mark.scenario("T10")
def test_given_a_first_deploy_that_fails_then_no_route_remains_and_an_event_is_dropped_and_counted(scene):
    scene.load(G)

    scene.fail_load(scene.workers[0])
    scene.events(G)

    assert [(r.code, r.message) for r in scene.replies()] == [(LoadFailed.code, "no")]
    metrics = scene.metrics()
    assert (metrics["guild_routes"], metrics["events_without_isolate"]) == (0, 1)
    assert scene.sent_to(scene.workers[0]) == []


def test_given_a_first_load_when_events_come_then_they_wait_for_it_and_follow_in_order(scene):
    scene.load(G)
    waiting = scene.events(G, G, G)
    assert scene.sent_to(scene.workers[0]) == []

    scene.finish_load(scene.workers[0])

    later = scene.events(G)
    assert scene.sent_to(scene.workers[0]) == waiting + later


def test_given_events_of_two_workers_when_a_frame_comes_then_each_gets_its_own_in_order(scene):
    other = GuildId(next(str(n) for n in range(100) if default_worker(GuildId(str(n)), 2) == 1))
    scene.load(G)
    scene.finish_load(scene.workers[0])
    scene.load(other, "second")
    scene.finish_load(scene.workers[1])

    seqs = scene.events(G, other, G, other)

    assert scene.sent_to(scene.workers[0]) == [seqs[0], seqs[2]]
    assert scene.sent_to(scene.workers[1]) == [seqs[1], seqs[3]]


def test_given_a_frame_that_is_delivered_twice_then_its_events_are_sent_once(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    seqs = scene.events(G)

    scene._gateway_frames -= 1
    scene._next_seq -= 1
    scene.events(G)

    assert scene.sent_to(scene.workers[0]) == seqs


@pytest.mark.scenario("T40b")
def test_given_an_event_of_no_guild_then_every_worker_gets_it(scene):
    seqs = scene.events("", name="ready")

    assert [scene.sent_to(worker) for worker in scene.workers] == [seqs, seqs]


@pytest.mark.scenario("T34")
def test_given_a_worker_that_dies_when_its_guild_is_loaded_again_then_what_had_not_started_follows_in_order(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    sent = scene.events(G, G)
    assert scene.sent_to(scene.workers[0]) == sent

    scene.worker_dies()
    meanwhile = scene.events(G)
    new = scene.worker_returns()
    assert scene.stage.seen_by(scene.deployer, ReloadGuilds)[0].guild_ids == (G,)
    assert scene.sent_to(new) == []
    scene.load(G, "reload", restore=True)
    scene.finish_load(new)

    assert scene.sent_to(new) == sent + meanwhile
    scene.worker_says(new, ack=2, done=tuple((seq, G, "ok") for seq in sent + meanwhile))
    assert scene.metrics()["events_done"] == 3


def test_given_a_worker_that_dies_during_a_deploy_then_it_fails_at_once_and_the_stored_script_is_loaded(scene):
    scene.load(G, "v1")
    scene.finish_load(scene.workers[0])
    scene.load(G, "v2")

    scene.worker_dies()

    assert [(r.req_id, r.code) for r in scene.replies()[1:]] == [("v2", WorkerGone.code)]
    queued = scene.events(G)
    new = scene.worker_returns()
    assert scene.loads_at(new) == [], "the script of the deploy may be what ended the worker"
    assert scene.stage.seen_by(scene.deployer, ReloadGuilds)[0].guild_ids == (G,)
    scene.load(G, "reload", restore=True)
    scene.finish_load(new)
    assert scene.sent_to(new) == queued


def test_given_a_worker_that_dies_during_a_restore_then_it_is_tried_once_more_and_then_given_up(scene):
    scene.load(G, "restore", restore=True)
    assert len(scene.loads_at(scene.workers[0])) == 1

    scene.worker_dies()
    second = scene.worker_returns()
    assert len(scene.loads_at(second)) == 1
    assert scene.replies() == []
    scene.worker_dies()
    third = scene.worker_returns()

    assert [(r.req_id, r.code) for r in scene.replies()] == [("restore", WorkerGone.code)]
    assert scene.loads_at(third) == []
    assert scene.metrics()["guild_routes"] == 0


def test_given_a_load_that_comes_while_the_worker_is_down_then_it_waits_for_the_next_one(scene):
    scene.worker_dies()
    scene.load(G)

    new = scene.worker_returns()
    scene.finish_load(new)

    assert [r.req_id for r in scene.replies()] == ["load"]


def test_given_a_deploy_while_the_worker_is_down_when_it_fails_to_load_then_the_stored_script_still_comes_back(scene):
    scene.load(G, "v1")
    scene.finish_load(scene.workers[0])
    scene.worker_dies()
    queued = scene.events(G)
    scene.load(G, "v2")

    new = scene.worker_returns()
    scene.fail_load(new)
    scene.load(G, "reload", restore=True)
    scene.finish_load(new)

    assert scene.sent_to(new) == queued


def test_given_a_deployer_that_dies_during_a_reload_then_the_next_one_is_asked(scene, monkeypatch):
    monkeypatch.setattr(router_loads, "RELOAD_AGAIN_S", 0.02)
    scene.load(G)
    scene.finish_load(scene.workers[0])
    scene.worker_dies()
    scene.worker_returns()
    assert len(scene.stage.seen_by(scene.deployer, ReloadGuilds)) == 1

    new = scene.stage.puppet()
    scene.change_peers(deployer=new)

    assert scene.stage.until(lambda: scene.stage.seen_by(new, ReloadGuilds))[0].guild_ids == (G,)


def test_given_a_reload_that_cannot_bring_a_guild_back_then_it_has_no_route_any_more(scene):
    for guild_id in (G, H):
        scene.load(guild_id, f"load {guild_id}")
        scene.finish_load(scene.workers[0])
    scene.worker_dies()
    new = scene.worker_returns()
    scene.load(G, "reload", restore=True)
    scene.finish_load(new)

    asked = scene.stage.seen_by(scene.deployer, ReloadGuilds)[0]
    assert asked.guild_ids == (G, H)
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=asked.req_id, value={"restored": 1, "failed": {H: "gone"}}))

    assert scene.metrics()["guild_routes"] == 1
    scene.acknowledge_controls()
    assert scene.stage.seen_by(scene.gateway, GatewayControl)[-1].subscriptions == ((H, ()),)


@pytest.mark.scenario("T12")
def test_given_an_unload_then_the_route_is_gone_and_an_unknown_guild_is_fine(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])

    scene.stage.say(scene.caller, scene.router, UnloadGuild(req_id=ReqId("bye"), guild_id=G))
    request = scene.stage.seen_by(scene.workers[0], UnloadIsolate)[0]
    scene.stage.say(scene.workers[0], scene.router, Ok(req_id=request.req_id))
    scene.stage.say(scene.caller, scene.router, UnloadGuild(req_id=ReqId("unknown"), guild_id=GuildId("404")))

    assert {r.req_id for r in scene.replies()} == {"load", "bye", "unknown"}
    assert scene.metrics()["guild_routes"] == 0


def test_given_a_restarted_gateway_then_it_hears_every_subscription(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])

    new = scene.stage.puppet()
    scene.change_peers(gateway=new)

    control = scene.stage.seen_by(new, GatewayControl)[-1]
    assert (control.subscriptions, control.replaces_all) == (((G, ("messageCreate",)),), True)


def test_given_a_gateway_that_forgot_the_first_frame_then_it_gets_it_again_until_it_acknowledges(scene, monkeypatch):
    monkeypatch.setattr(router_gateway, "CONTROL_AGAIN_S", 0.02)
    scene.load(G)
    request = scene.loads_at(scene.workers[0])[0]
    value = {"replaced": False, "handlers": ("messageCreate",)}
    scene.stage.say(scene.workers[0], scene.router, Ok(req_id=request.req_id, value=value))

    numbered = lambda: [c for c in scene.stage.seen_by(scene.gateway, GatewayControl) if c.number]  # noqa: E731
    scene.stage.until(lambda: len(numbered()) >= 3)

    assert {(c.number, c.subscriptions, c.replaces_all) for c in numbered()} == {(1, ((G, ("messageCreate",)),), True)}
    scene.acknowledge_controls()
    assert [r.req_id for r in scene.replies()] == ["load"]
    sent = len(numbered())
    scene.load(H, "second")
    scene.finish_load(scene.workers[0])
    assert next((c.number, c.replaces_all) for c in numbered()[sent:]) == (2, False)


def test_given_a_restarted_router_that_first_only_acknowledges_then_its_subscriptions_still_replace_all(scene):
    scene.events("7")  # of a guild without a script: nothing to say but that it came

    scene.load(G)
    scene.finish_load(scene.workers[0])

    controls = [c for c in scene.stage.seen_by(scene.gateway, GatewayControl) if c.number]
    assert controls[0].replaces_all


def test_given_a_full_backlog_then_the_gateway_is_held_back_until_there_is_room(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    seqs = scene.events(*[G] * 2000)
    acks = lambda: max(c.ack for c in scene.stage.seen_by(scene.gateway, GatewayControl))  # noqa: E731
    assert acks() == 0
    assert len(scene.sent_to(scene.workers[0])) == 2000

    scene.worker_says(scene.workers[0], ack=2, done=tuple((seq, G, "ok") for seq in seqs[:1500]))

    assert scene.stage.until(acks) == 1
    assert scene.metrics()["events_shed"] == 0


# A router that was restarted


@pytest.fixture
def restarted(make_scene):
    return make_scene(restarted=True)


def report(scene: Any, worker: Any, guild_id: str, received: int = 0, unfinished: tuple[int, ...] = ()) -> None:
    """What one worker tells a new router."""
    scene.stage.say(
        worker,
        scene.router,
        WorkerReport(
            guilds=((guild_id, ("messageCreate",)),) if guild_id else (),
            received=((guild_id, received),) if received else (),
            unfinished=((guild_id, unfinished),) if unfinished else (),
        ),
    )


def deployer_wants(scene: Any, *guild_ids: GuildId) -> None:
    request = scene.stage.until(lambda: scene.stage.seen_by(scene.deployer, ListWantedGuilds))[0]
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=request.req_id, value=guild_ids))


def test_given_a_restarted_router_when_workers_and_deployer_have_answered_then_it_goes_on_where_the_other_was(
    restarted,
):
    scene = restarted
    seqs = scene.events(G, G, G, G)
    report(scene, scene.workers[0], G, received=seqs[2], unfinished=(seqs[1],))
    assert scene.stage.seen_by(scene.gateway, GatewayControl) == []
    report(scene, scene.workers[1], "")
    assert scene.sent_to(scene.workers[0]) == []

    deployer_wants(scene, G)

    assert scene.sent_to(scene.workers[0]) == [seqs[3]], "what the worker had is not sent again"
    control = scene.stage.seen_by(scene.gateway, GatewayControl)[-1]
    assert (control.subscriptions, control.replaces_all) == (((G, ("messageCreate",)),), True)
    assert control.settled_below == seqs[1], "the first is done, the second is not"
    scene.acknowledge_controls()
    assert scene.stage.seen_by(scene.deployer, ReloadGuilds) == []


def test_given_a_restarted_router_when_everything_is_done_then_the_gateway_hears_it_without_traffic(
    restarted, monkeypatch
):
    monkeypatch.setattr(router_gateway, "TELL_SETTLED_S", 0.02)
    scene = restarted
    seqs = scene.events(G, G)
    report(scene, scene.workers[0], G, received=seqs[0], unfinished=(seqs[0],))
    report(scene, scene.workers[1], "")
    deployer_wants(scene)
    assert scene.sent_to(scene.workers[0]) == [seqs[1]]

    scene.worker_says(scene.workers[0], ack=1, done=tuple((seq, G, "ok") for seq in seqs))

    scene.stage.until(lambda: scene.stage.seen_by(scene.gateway, GatewayControl)[-1].settled_below == seqs[1] + 1)


def test_given_a_restarted_router_when_a_guild_runs_nowhere_then_it_is_loaded_again_and_its_events_wait(restarted):
    scene = restarted
    seqs = scene.events(G)
    report(scene, scene.workers[0], "")
    report(scene, scene.workers[1], "")

    deployer_wants(scene, G)

    assert scene.stage.seen_by(scene.deployer, ReloadGuilds)[0].guild_ids == (G,)
    assert scene.sent_to(scene.workers[0]) == []
    control = scene.stage.seen_by(scene.gateway, GatewayControl)[-1]
    assert (control.subscriptions, control.replaces_all) == (((G, ("*",)),), True), (
        "the gateway keeps its events coming"
    )
    scene.load(G, "reload", restore=True)
    scene.finish_load(scene.workers[0])
    assert scene.sent_to(scene.workers[0]) == seqs


def test_given_a_restarted_router_when_its_worker_dies_then_only_what_had_not_started_is_sent_again(restarted):
    scene = restarted
    report(scene, scene.workers[0], G, received=3, unfinished=(2, 3))
    report(scene, scene.workers[1], "")
    deployer_wants(scene, G)

    scene.worker_dies()
    seqs = scene.events(G, G, G)
    new = scene.worker_returns()
    scene.load(G, "reload", restore=True)
    scene.finish_load(new)

    assert seqs == [1, 2, 3]
    assert scene.sent_to(new) == [2, 3]


def test_given_a_router_and_all_workers_that_died_when_it_is_restarted_then_guilds_wait_for_their_workers(
    make_scene, recorder
):
    path = Path(recorder(**{G: (1.0, 2)}))
    scene = make_scene(restarted=True, deaths=(WorkerExited(worker_id=0, recorder=str(path), signal=9),))
    deployer_wants(scene, G)
    seqs = scene.events(G, G, G)
    assert scene.stage.seen_by(scene.deployer, ReloadGuilds)[0].guild_ids == (G,)

    scene.load(G, "reload", restore=True)
    scene.workers_are_there()
    scene.finish_load(scene.workers[0])

    assert scene.sent_to(scene.workers[0]) == seqs[2:], "two had started when the worker died"
    assert path.exists(), "this router may die, too"


def test_given_a_worker_that_died_before_this_router_lived_then_its_successor_is_left_alone(restarted):
    scene = restarted
    before = scene.stage.puppet()

    scene.stage.tell(scene.router, WorkerExited(worker_id=0, recorder="", address=before))
    report(scene, scene.workers[0], G)
    report(scene, scene.workers[1], "")
    deployer_wants(scene, G)

    assert scene.sent_to(scene.workers[0]) == []
    seqs = scene.events(G)
    assert scene.sent_to(scene.workers[0]) == seqs


def test_given_a_worker_that_stays_silent_then_the_others_do_not_wait_for_ever(stage, make_scene, monkeypatch):
    monkeypatch.setattr(router_recovery, "RECOVERY_LIMIT_S", 0.05)
    scene = make_scene(restarted=True)
    report(scene, scene.workers[0], G)
    seqs = scene.events(G)

    stage.until(lambda: scene.sent_to(scene.workers[0]) == seqs)


def test_given_requests_during_the_recovery_then_they_are_answered_after_it(restarted):
    scene = restarted
    scene.load(G)
    scene.stage.say(scene.caller, scene.router, UnloadGuild(req_id=ReqId("bye"), guild_id=H))
    assert scene.loads_at(scene.workers[0]) == []
    report(scene, scene.workers[0], "")
    report(scene, scene.workers[1], "")

    deployer_wants(scene)
    scene.finish_load(scene.workers[0])

    assert {reply.req_id for reply in scene.replies()} == {"bye", "load"}


# A gateway that was restarted


def where(scene: Any, gateway: Any) -> dict[str, Any]:
    scene.stage.say(gateway, scene.router, ResumePoint(req_id=ReqId("where")))
    return dict(scene.stage.until(lambda: scene.stage.seen_by(gateway, Ok))[-1].value)


SESSION = ShardSession(
    shard_id=0,
    shard_count=1,
    session_id="s",
    resume_url="ws://r",
    application_id="1",
    bot_user_id="2",
    guild_ids=("3",),
)


def test_given_events_taken_when_a_new_gateway_asks_then_it_hears_where_to_go_on(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    scene.stage.say(scene.gateway, scene.router, NoteSession(session=SESSION))
    seqs = scene.events(G, G, positions=((0, "s", 17),))

    found = where(scene, scene.stage.puppet())

    assert found == {
        "next_seq": seqs[-1] + 1,
        "subscriptions": ((G, ("messageCreate",)),),
        "sessions": (replace(SESSION, sequence=17),),
    }


def test_given_a_position_noted_without_events_then_the_new_gateway_hears_of_it(scene):
    scene.stage.say(scene.gateway, scene.router, NoteSession(session=SESSION))
    assert where(scene, scene.gateway)["sessions"] == ()
    scene.stage.say(scene.gateway, scene.router, NotePositions(positions=((0, "s", 99),)))

    assert [session.sequence for session in where(scene, scene.gateway)["sessions"]] == [99]
    scene.stage.say(scene.gateway, scene.router, NotePositions(positions=((0, "another session", 1),)))
    assert where(scene, scene.gateway)["sessions"] == ()


def test_given_a_new_gateway_that_has_asked_then_what_is_left_of_the_old_one_is_ignored(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    old, new = scene.gateway, scene.stage.puppet()
    scene.stage.say(old, scene.router, NoteSession(session=SESSION))
    scene.events(G, positions=((0, "s", 17),))
    where(scene, new)

    scene.events(G, positions=((0, "s", 18),))
    scene.stage.say(old, scene.router, NotePositions(positions=((0, "s", 19),)))

    assert len(scene.sent_to(scene.workers[0])) == 1, "the new one gets it again from Discord"
    assert [session.sequence for session in where(scene, new)["sessions"]] == [17]


def test_given_a_router_that_is_recovering_when_a_gateway_asks_then_it_is_answered_with_all_subscriptions(restarted):
    scene = restarted
    new = scene.stage.puppet()
    scene.stage.say(new, scene.router, ResumePoint(req_id=ReqId("where")))
    report(scene, scene.workers[0], G)
    report(scene, scene.workers[1], "")
    assert scene.stage.seen_by(new, Ok) == []

    deployer_wants(scene, G)

    (answer,) = scene.stage.until(lambda: scene.stage.seen_by(new, Ok))
    assert answer.value["subscriptions"] == ((G, ("messageCreate",)),)


# A deployer that was restarted


def running(scene: Any) -> dict[str, set[str]]:
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, ListRunning(req_id=ReqId("running")))
    value = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value
    return {key: set(guild_ids) for key, guild_ids in value.items()}


def test_given_deploys_and_restores_then_a_new_deployer_hears_what_runs_and_what_nobody_said_is_stored(scene):
    worker = scene.workers[0]
    scene.load(G, "restored", restore=True)
    scene.finish_load(worker)
    assert running(scene) == {"running": {G}, "unstored": set()}

    scene.load(G, "deploy")
    assert running(scene) == {"running": {G}, "unstored": {G}}
    scene.finish_load(worker)
    assert running(scene) == {"running": {G}, "unstored": {G}}
    scene.stage.say(scene.deployer, scene.router, ScriptStored(guild_id=G))
    assert running(scene) == {"running": {G}, "unstored": set()}


def test_given_an_unstored_script_when_the_load_fails_or_the_stored_one_is_put_back_then_that_is_settled(scene):
    worker = scene.workers[0]
    scene.load(G, "v1", restore=True)
    scene.finish_load(worker)

    scene.load(G, "v2")
    scene.fail_load(worker)
    assert running(scene)["unstored"] == set()
    scene.load(G, "v3")
    scene.finish_load(worker)
    scene.load(G, "put back", restore=True)
    scene.finish_load(worker)

    assert running(scene) == {"running": {G}, "unstored": set()}
