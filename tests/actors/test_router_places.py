"""Where the router lets guilds run: quarantine, homes that end, return, pins, isolates that do not end."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from flora.actors import router_moves, router_places, router_views, router_wedges
from flora.actors.placement import Home, Homes
from flora.actors.routing import default_worker
from flora.actors.supervision import REBUILDS, Rebuilds
from flora.messages.base import Failed, Ok
from flora.messages.deployment import ListWantedGuilds, UnloadGuild
from flora.messages.dispatch import WorkerReport
from flora.messages.errors import LoadFailed, WorkerGone
from flora.messages.gateway import GatewayControl
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import ReadMetrics
from flora.messages.logs import LogFrame
from flora.messages.migration import DropFrozen, MoveOut
from flora.messages.placement import (
    FIRST_DEDICATED_WORKER,
    DescribeGuild,
    DescribeGuilds,
    DescribeWorkers,
    NotePlacement,
    PlaceGuild,
    Placement,
    ReadGuildUsage,
    ReadPlacements,
    ReplaceWorker,
    StartWorker,
)
from flora.storage.backoff import Backoff

G, H = [GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0][:2]
D = FIRST_DEDICATED_WORKER
ABORT = {"signal": signal.SIGTRAP}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pauses, a hundredth as long."""
    policy = replace(REBUILDS, backoff=Backoff(first_s=0.01, cap_s=0.6))
    add = Homes.add

    def add_quick(homes: Homes, *what: Any) -> Home:
        home = add(homes, *what)
        home.rebuilds = Rebuilds(policy)
        return home

    monkeypatch.setattr(Homes, "add", add_quick)
    monkeypatch.setattr(router_views, "USAGE_LIMIT_S", 0.02)


def serve(scene: Any, *guild_ids: GuildId, worker: int = 0) -> None:
    for guild_id in guild_ids:
        scene.load(guild_id, f"load {guild_id}")
        scene.finish_load(scene.workers[worker])
        scene.stored(guild_id)


def quarantine(scene: Any, recorder: Any) -> tuple[int, Any]:
    """G's script aborts V8 in worker 0, which G shares with H; both serve again afterwards."""
    serve(scene, G, H)
    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), **ABORT)
    number, worker = scene.start_worker()
    shared = scene.worker_returns()
    reload(scene, worker, G)
    reload(scene, shared, H)
    return number, worker


def reload(scene: Any, worker: Any, guild_id: GuildId) -> None:
    """The deployer does what it was asked for."""
    scene.stage.until(lambda: any(guild_id in guilds for guilds in scene.reloads()))
    before = len(scene.loads_at(worker))
    scene.load(guild_id, f"reload {guild_id}", restore=True)
    scene.stage.until(lambda: len(scene.loads_at(worker)) > before)
    scene.finish_load(worker)


def describe(scene: Any, guild_id: GuildId = G) -> dict[str, Any]:
    return dict(scene.ask(DescribeGuild(req_id=ReqId("d"), guild_id=guild_id)).value)


def lines(scene: Any, book: Any) -> list[str]:
    return [line[4] for frame in scene.stage.seen_by(book, LogFrame) for line in frame.lines]


def notes(scene: Any) -> list[tuple[GuildId, Placement | None]]:
    return [(note.guild_id, note.placement) for note in scene.stage.seen_by(scene.deployer, NotePlacement)]


# Quarantine


def test_given_an_abort_when_one_guild_was_inside_v8_then_it_is_quarantined_and_its_neighbour_is_not(
    make_scene, recorder
):
    scene = make_scene()
    serve(scene, G, H)
    ours, theirs = scene.events(G, G, G), scene.events(H, H)
    scene.sent_to(scene.workers[0])

    scene.worker_dies(recorder=recorder(**{G: (1.0, ours[0])}), **ABORT)
    later = scene.events(G)
    number, own = scene.start_worker()
    shared = scene.worker_returns()

    assert number == D
    reload(scene, own, G)
    reload(scene, shared, H)
    assert scene.sent_to(own) == ours[1:] + later, "the started one is not run again"
    assert scene.sent_to(shared) == theirs
    assert notes(scene) == [(G, Placement.QUARANTINED)]
    found = describe(scene)
    assert (found["worker"], found["placement"], found["state"]) == (D, "quarantined", "serving")
    assert found["reason"] == "V8 aborted (SIGTRAP)"
    assert found["since"] is not None
    assert describe(scene, H)["placement"] == "shared"
    assert scene.metrics()["guilds_quarantined"] == 1


def test_given_an_abort_when_the_author_reads_the_log_then_it_says_what_happened_and_where_the_script_runs_now(
    make_scene, recorder
):
    scene = make_scene()
    book = scene.stage.puppet()
    scene.change_peers(log_book=book)
    serve(scene, G)
    (seq,) = scene.events(G)

    scene.worker_dies(recorder=recorder(**{G: (1.0, seq)}), **ABORT)

    told = scene.stage.until(lambda: lines(scene, book))
    assert any(line.startswith("V8 aborted (SIGTRAP); the script now runs in quarantine") for line in told)
    assert any("V8 aborted (SIGTRAP) while messageCreate was running" in line for line in lines(scene, book)) or (
        scene.stage.until(lambda: len(lines(scene, book)) > 1)
    )


def test_given_a_kill_from_outside_then_nobody_is_quarantined_until_the_same_guild_is_there_again(make_scene, recorder):
    scene = make_scene()
    serve(scene, G, H)

    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), signal=signal.SIGKILL)
    shared = scene.worker_returns()
    reload(scene, shared, G)
    reload(scene, shared, H)
    assert notes(scene) == []

    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), signal=signal.SIGKILL)
    assert scene.start_worker()[0] == D
    assert notes(scene) == [(G, Placement.QUARANTINED)]


def test_given_a_worker_that_names_who_used_its_memory_then_that_guild_is_quarantined(make_scene, recorder):
    scene = make_scene()
    serve(scene, G, H)

    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), cause="its memory was used up", guilty=(H,))

    scene.start_worker()
    assert notes(scene) == [(H, Placement.QUARANTINED)]


def test_given_a_first_deploy_that_aborts_v8_then_it_fails_and_the_next_one_is_tried_in_a_worker_of_its_own(
    make_scene, recorder
):
    scene = make_scene()
    scene.load(G, "bad")

    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), **ABORT)
    scene.worker_returns()

    assert [(r.req_id, r.code) for r in scene.replies()] == [("bad", WorkerGone.code)]
    assert scene.reloads() == []
    assert describe(scene)["state"] == "failed"
    assert scene.stage.seen_by(scene.runtime, StartWorker) == []

    scene.load(G, "good")
    _, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))
    scene.finish_load(own)
    assert [r.req_id for r in scene.replies() if isinstance(r, Ok)] == ["good"]
    assert describe(scene)["placement"] == "quarantined"


def test_given_a_deploy_that_aborts_v8_then_the_old_script_comes_back_in_a_worker_of_its_own(make_scene, recorder):
    scene = make_scene()
    serve(scene, G)
    queued = []
    scene.load(G, "bad")

    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), **ABORT)
    queued += scene.events(G)
    _, own = scene.start_worker()
    reload(scene, own, G)

    assert ("bad", WorkerGone.code) in [(r.req_id, r.code) for r in scene.replies() if isinstance(r, Failed)]
    assert scene.sent_to(own) == queued


# Homes that end


@pytest.mark.scenario("T35")
def test_given_a_script_that_ends_its_own_worker_at_each_load_then_it_has_failed_and_a_deploy_brings_it_back(
    make_scene, recorder
):
    scene = make_scene()
    number, own = quarantine(scene, recorder)

    scene.worker_dies(number, **ABORT)
    for _ in range(5):
        _, own = scene.start_worker()
        scene.load(G, "again", restore=True)
        scene.stage.until(lambda worker=own: scene.loads_at(worker))
        scene.worker_dies(number, **ABORT)

    found = describe(scene)
    assert (found["state"], found["worker"]) == ("failed", None)
    scene.stage.until(scene.stopped)
    dropped = scene.metrics()["events_without_isolate"]
    scene.events(G)
    assert scene.metrics()["events_without_isolate"] == dropped + 1

    scene.load(G, "good")
    _, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))
    scene.finish_load(own)
    assert describe(scene)["state"] == "serving"


def test_given_a_home_that_ends_while_it_serves_then_its_waiting_events_follow_in_order(make_scene, recorder):
    scene = make_scene()
    number, own = quarantine(scene, recorder)
    sent = scene.events(G, G)
    scene.sent_to(own)

    scene.worker_dies(number, recorder=recorder(**{G: (1.0, sent[0])}), **ABORT)
    later = scene.events(G)
    again, own = scene.start_worker()
    reload(scene, own, G)

    assert again == number
    assert scene.sent_to(own) == sent[1:] + later
    assert scene.metrics()["events_died"] == 1


def test_given_a_script_that_does_not_load_in_its_home_then_it_is_tried_again_without_a_new_worker(
    make_scene, recorder
):
    scene = make_scene()
    serve(scene, G)
    scene.worker_dies(recorder=recorder(**{G: (1.0, 0)}), **ABORT)
    _, own = scene.start_worker()
    scene.load(G, "first", restore=True)
    scene.stage.until(lambda: scene.loads_at(own))

    scene.fail_load(own, LoadFailed.code)

    scene.stage.until(lambda: len(scene.reloads()) == 2)
    reload(scene, own, G)
    assert describe(scene)["state"] == "serving"
    assert len(scene.stage.seen_by(scene.runtime, StartWorker)) == 1


# Return


def test_given_a_deploy_that_stays_healthy_then_the_guild_goes_back_to_the_pool_and_its_worker_ends(
    make_scene, recorder
):
    scene = make_scene(quarantine_probation_s=0.05)
    number, own = quarantine(scene, recorder)
    under_way = scene.events(G)
    scene.sent_to(own)
    scene.load(G, "better")
    scene.stage.until(lambda: len(scene.loads_at(own)) == 2)
    scene.finish_load(own)
    scene.stored(G)

    scene.stage.until(lambda: describe(scene)["state"] == "loading")
    waiting = scene.events(G)
    assert scene.stage.seen_by(own, MoveOut) == [], "not before what is under way has ended"
    scene.worker_says(own, ack=9, done=((under_way[0], G, "ok"),))
    request = scene.leaves(own)
    scene.arrives(scene.workers[0], 2)

    (dropped,) = scene.stage.until(lambda: scene.stage.seen_by(own, DropFrozen))
    assert dropped.epoch == request.epoch
    assert scene.stage.until(scene.stopped) == [number]
    assert scene.sent_to(scene.workers[0])[-1:] == waiting
    found = describe(scene)
    assert (found["worker"], found["placement"], found["reason"]) == (0, "shared", None)
    assert notes(scene)[-1] == (G, None)


@pytest.mark.parametrize("trouble", ["death", "out of memory"])
def test_given_trouble_during_the_probation_then_the_guild_stays_in_quarantine(make_scene, recorder, trouble):
    scene = make_scene(quarantine_probation_s=0.1)
    number, own = quarantine(scene, recorder)
    scene.load(G, "better")
    scene.stage.until(lambda: len(scene.loads_at(own)) == 2)
    scene.finish_load(own)

    if trouble == "death":
        scene.worker_dies(number, **ABORT)
        _, own = scene.start_worker()
        reload(scene, own, G)
    else:
        seqs = scene.events(G)
        scene.sent_to(own)
        scene.worker_says(own, ack=9, done=((seqs[0], G, "out_of_memory"),))
    passed = []
    scene.stage.tell(scene.router, ReadMetrics(req_id=ReqId("later")))
    scene.stage.until(lambda: passed.append(0) or len(passed) > 40)  # well past the probation

    assert describe(scene)["placement"] == "quarantined"
    assert (G, None) not in notes(scene)


def test_given_a_return_when_the_pool_does_not_load_it_then_it_goes_on_where_it_was(make_scene, recorder):
    scene = make_scene(quarantine_probation_s=0)
    number, own = quarantine(scene, recorder)
    scene.load(G, "better")
    scene.stage.until(lambda: len(scene.loads_at(own)) == 2)
    scene.finish_load(own)
    scene.stored(G)
    scene.leaves(own)
    waiting = scene.events(G)
    scene.stage.until(lambda: len(scene.loads_at(scene.workers[0])) >= 2)

    scene.fail_load(scene.workers[0])
    scene.thaws(own)

    assert scene.sent_to(own) == waiting
    assert (describe(scene)["worker"], scene.stopped()) == (number, [])


def test_given_events_that_do_not_end_when_returning_then_it_stays_and_nothing_is_lost(
    make_scene, recorder, monkeypatch
):
    monkeypatch.setattr(router_moves, "REST_MARGIN_S", 0.05)
    scene = make_scene(quarantine_probation_s=0.02, dispatch_timeout_s=0.01)
    number, own = quarantine(scene, recorder)
    stuck = scene.events(G)
    scene.load(G, "better")
    scene.stage.until(lambda: len(scene.loads_at(own)) == 2)
    scene.finish_load(own)
    scene.stored(G)

    scene.stage.until(lambda: describe(scene)["state"] == "loading")
    later = scene.events(G)
    scene.stage.until(lambda: scene.sent_to(own) == stuck + later)

    assert describe(scene)["worker"] == number


# Isolates that do not end


def test_given_a_wedge_then_the_guild_moves_at_once_and_what_had_not_started_follows_it(make_scene):
    scene = make_scene()
    serve(scene, G, H)
    started, *waiting = scene.events(G, G, G)
    theirs = scene.events(H)
    shared = scene.workers[0]
    scene.sent_to(shared)

    scene.worker_says(shared, ack=9, done=((started, G, "timed_out"),), wedged=((G, "dispatch timed out"),))
    _, own = scene.start_worker()
    reload(scene, own, G)

    assert scene.sent_to(own) == waiting
    assert describe(scene)["placement"] == "quarantined"
    scene.worker_says(shared, ack=9, done=((waiting[0], G, "died"),))
    assert describe(scene)["unfinished"] == 2, "a late word of the old worker counts for nothing"
    assert scene.sent_to(shared)[-1:] == theirs, "its neighbour goes on"
    assert scene.stage.seen_by(scene.runtime, ReplaceWorker) == []


def test_given_a_wedge_that_outlasts_the_patience_then_the_worker_is_replaced_when_its_neighbours_are_done(
    make_scene, monkeypatch
):
    monkeypatch.setattr(router_wedges, "WEDGE_PATIENCE_S", 0.05)
    scene = make_scene()
    serve(scene, G, H)
    shared = scene.workers[0]
    under_way = scene.events(H)
    scene.sent_to(shared)

    scene.worker_says(shared, ack=9, wedged=((G, "it sorts"),))
    scene.stage.until(lambda: describe(scene, H)["state"] == "loading")
    held = scene.events(H)
    assert scene.stage.seen_by(scene.runtime, ReplaceWorker) == []
    scene.worker_says(shared, ack=9, done=((under_way[0], H, "ok"),))

    (request,) = scene.stage.until(lambda: scene.stage.seen_by(scene.runtime, ReplaceWorker))
    assert request.worker_id == 0
    scene.worker_dies(cause=request.why)
    new = scene.worker_returns()
    reload(scene, new, H)
    assert scene.sent_to(new) == held
    assert [note for note in notes(scene) if note[0] == H] == [], "being there is no crime"


def test_given_a_wedge_that_ends_in_time_then_the_worker_is_left_alone(make_scene, monkeypatch):
    monkeypatch.setattr(router_wedges, "WEDGE_PATIENCE_S", 0.05)
    scene = make_scene()
    serve(scene, G, H)
    shared = scene.workers[0]
    scene.worker_says(shared, ack=9, wedged=((G, "it sorts"),))

    scene.worker_says(shared, ack=9, wedged=((G, ""),))
    passed = []
    scene.stage.until(lambda: passed.append(0) or len(passed) > 20)

    assert scene.stage.seen_by(scene.runtime, ReplaceWorker) == []
    assert describe(scene, H)["state"] == "serving"


def test_given_a_wedge_in_a_worker_of_ones_own_then_that_worker_is_replaced_at_once(make_scene, recorder):
    scene = make_scene()
    number, own = quarantine(scene, recorder)
    waiting = scene.events(G)
    scene.sent_to(own)

    scene.worker_says(own, ack=9, wedged=((G, "it sorts"),))
    (request,) = scene.stage.until(lambda: scene.stage.seen_by(scene.runtime, ReplaceWorker))
    scene.worker_dies(number, cause=request.why)
    _, own = scene.start_worker()
    reload(scene, own, G)

    assert request.worker_id == number
    assert scene.sent_to(own) == waiting


# Pins and views


def test_given_an_operators_word_then_the_guild_moves_and_comes_back_without_losing_an_event(make_scene):
    scene = make_scene()
    serve(scene, G)
    asker = scene.stage.puppet()
    word = PlaceGuild(req_id=ReqId("p"), guild_id=G, placement=Placement.DEDICATED)
    scene.stage.say(asker, scene.router, word)
    number, own = scene.start_worker()
    scene.leaves(scene.workers[0])
    waiting = scene.events(G)
    scene.arrives(own)

    answer = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value
    assert (answer["worker"], answer["placement"], answer["reason"]) == (number, "dedicated", "pinned by an operator")
    assert scene.sent_to(own) == waiting
    assert notes(scene) == [(G, Placement.DEDICATED)]
    scene.worker_says(own, ack=9, done=((waiting[0], G, "ok"),))

    scene.stage.say(asker, scene.router, replace(word, placement=Placement.SHARED))
    scene.leaves(own)
    scene.arrives(scene.workers[0], 2)
    back = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok)[1:])[0].value
    assert (back["worker"], back["placement"], scene.stopped()) == (0, "shared", [number])
    assert notes(scene)[-1] == (G, None)


def test_given_a_worker_that_cannot_be_started_when_pinned_then_the_guild_stays_and_the_operator_hears_why(make_scene):
    scene = make_scene()
    serve(scene, G)
    asker = scene.stage.puppet()
    word = PlaceGuild(req_id=ReqId("p"), guild_id=G, placement=Placement.DEDICATED)
    scene.stage.say(asker, scene.router, word)

    request = scene.stage.until(lambda: scene.stage.seen_by(scene.runtime, StartWorker))[0]
    scene.stage.say(scene.runtime, scene.router, Failed(req_id=request.req_id, code="UNAVAILABLE", message="no room"))

    failed = scene.stage.until(lambda: scene.stage.seen_by(asker, Failed))[0]
    assert "no room" in failed.message
    assert describe(scene)["placement"] == "shared"
    seqs = scene.events(G)
    assert scene.sent_to(scene.workers[0]) == seqs


def test_given_guilds_that_nobody_knows_then_they_are_not_found(make_scene):
    scene = make_scene()

    asked = DescribeGuild(req_id=ReqId("d"), guild_id=G)
    placed = PlaceGuild(req_id=ReqId("p"), guild_id=G, placement=Placement.SHARED)

    assert [scene.ask(asked).code, scene.ask(placed).code] == ["NOT_FOUND", "NOT_FOUND"]


def test_given_a_guild_that_is_noted_when_restored_then_it_starts_in_a_worker_of_its_own(make_scene):
    scene = make_scene()
    (request,) = scene.stage.until(lambda: scene.stage.seen_by(scene.deployer, ReadPlacements))
    noted = ((G, Placement.QUARANTINED, "V8 aborted (SIGABRT)", 1000.0),)
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=request.req_id, value=noted))

    scene.load(G, "restore", restore=True, placement=Placement.QUARANTINED)
    _, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))
    scene.finish_load(own)

    found = describe(scene)
    assert (found["placement"], found["reason"]) == ("quarantined", "V8 aborted (SIGABRT)")
    assert found["since"] == "1970-01-01T00:16:40.000000+00:00"
    assert scene.loads_at(scene.workers[0]) == []


def test_given_dedicated_as_the_default_then_each_guild_gets_a_worker_of_its_own(make_scene):
    scene = make_scene(placement=Placement.DEDICATED)

    scene.load(G)
    _, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))
    scene.finish_load(own)

    assert (describe(scene)["worker"], describe(scene)["placement"]) == (D, "dedicated")


def test_given_a_first_deploy_that_does_not_load_in_its_own_worker_then_the_worker_ends_and_nothing_remains(make_scene):
    scene = make_scene(placement=Placement.DEDICATED)
    scene.load(G)
    number, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))

    scene.fail_load(own)

    assert scene.stage.until(scene.stopped) == [number]
    assert scene.metrics()["guild_routes"] == 0


def test_given_a_worker_that_knows_what_a_guild_uses_when_described_then_it_is_in_the_answer(make_scene):
    scene = make_scene()
    serve(scene, G)
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, DescribeGuild(req_id=ReqId("d"), guild_id=G))
    request = scene.stage.until(lambda: scene.stage.seen_by(scene.workers[0], ReadGuildUsage))[0]

    usage = {"state": "throttled", "cpu_us": 7}
    scene.stage.say(scene.workers[0], scene.router, Ok(req_id=request.req_id, value={G: usage}))

    found = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value
    assert (found["usage"], found["state"]) == (usage, "throttled")


def test_given_guilds_when_all_are_described_then_those_that_failed_are_among_them(make_scene):
    scene = make_scene()
    serve(scene, G, H)
    scene.worker_says(scene.workers[0], ack=9, lost=((G, "its script could not be loaded again"),))
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, DescribeGuilds(req_id=ReqId("g")))
    for worker in scene.workers:
        request = scene.stage.until(lambda worker=worker: scene.stage.seen_by(worker, ReadGuildUsage))[-1]
        scene.stage.say(worker, scene.router, Ok(req_id=request.req_id, value={H: {"state": "serving", "cpu_us": 1}}))

    found = {facts["guild_id"]: facts for facts in scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value}

    assert {guild_id: facts["state"] for guild_id, facts in found.items()} == {G: "failed", H: "serving"}
    assert found[G]["reason"] == "its script could not be loaded again"
    assert found[H]["usage"] == {"state": "serving", "cpu_us": 1}


def test_given_guilds_when_metrics_are_read_then_those_in_trouble_alone_or_busiest_are_notable_and_all_are_counted(
    make_scene, recorder
):
    scene = make_scene(quarantine_probation_s=0)
    here = [number for number in range(100, 300) if default_worker(GuildId(str(number)), len(scene.workers)) == 0][:5]
    serve(scene, G, H, *(GuildId(str(number)) for number in here))
    scene.worker_says(scene.workers[0], ack=9, lost=((H, "its script could not be loaded again"),))
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, ReadMetrics(req_id=ReqId("m"), notable=3))
    used = {str(number): {"cpu_us_last_minute": number, "state": "serving"} for number in here}
    for worker in scene.workers:
        request = scene.stage.until(lambda worker=worker: scene.stage.seen_by(worker, ReadMetrics))[-1]
        assert request.notable == 3
        answer = {"guilds": {"usage": used, "states": {G: "throttled"}}}
        scene.stage.say(worker, scene.router, Ok(req_id=request.req_id, value=answer))

    found = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value["guilds"]

    assert [(facts["guild_id"], facts["state"]) for facts in found["notable"]] == [
        *sorted([(G, "throttled"), (H, "failed")]),
        (str(here[-1]), "serving"),
    ]
    assert found["notable"][2]["usage"]["cpu_us_last_minute"] == here[-1]
    assert (found["states"]["serving"], found["states"]["throttled"], found["states"]["failed"]) == (5, 1, 1)
    assert found["placements"] == {"shared": 7, "dedicated": 0, "quarantined": 0}


def test_given_workers_when_described_then_each_has_its_guilds_deaths_and_what_it_uses(make_scene, recorder):
    scene = make_scene()
    number, own = quarantine(scene, recorder)
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, DescribeWorkers(req_id=ReqId("w")))
    request = scene.stage.until(lambda: scene.stage.seen_by(own, ReadMetrics))[-1]
    scene.stage.say(own, scene.router, Ok(req_id=request.req_id, value={"rss_bytes": 5, "cpu_us": 6}))

    found = scene.stage.until(lambda: scene.stage.seen_by(asker, Ok))[0].value

    assert [(w["worker"], w["dedicated"], w["up"], w["guilds"], w["restarts"], w["rss_bytes"]) for w in found] == [
        (0, False, True, 1, 1, None),
        (1, False, True, 0, 0, None),
        (number, True, True, 1, 0, 5),
    ]


def test_given_an_unload_of_a_quarantined_guild_then_its_worker_ends_and_its_next_script_is_quarantined_too(
    make_scene, recorder
):
    scene = make_scene()
    number, _ = quarantine(scene, recorder)

    scene.stage.say(scene.caller, scene.router, UnloadGuild(req_id=ReqId("bye"), guild_id=G))
    assert scene.stage.until(scene.stopped) == [number]
    assert scene.stage.seen_by(scene.gateway, GatewayControl)[-1].subscriptions == ((G, ()),)

    scene.load(G, "again")
    assert scene.start_worker()[0] == number + 1


# After a restart of the router


def report(scene: Any, worker: Any, *guild_ids: GuildId) -> None:
    found = tuple((guild_id, ("messageCreate",)) for guild_id in guild_ids)
    scene.stage.say(worker, scene.router, WorkerReport(guilds=found, received=(), unfinished=()))


def restart(make_scene: Any, own: dict[int, tuple[GuildId, ...]], *wanted: GuildId) -> Any:
    """A router that was restarted; `own` are dedicated workers and what they report."""
    scene = make_scene(restarted=True, dedicated=tuple(own))
    requests = scene.stage.until(lambda: scene.stage.seen_by(scene.deployer, ReadPlacements))
    noted = ((G, Placement.QUARANTINED, "V8 aborted (SIGABRT)", 1000.0),)
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=requests[0].req_id, value=noted))
    for worker in scene.workers:
        report(scene, worker)
    for number, guild_ids in own.items():
        report(scene, scene.dedicated[number], *guild_ids)
    asked = scene.stage.until(lambda: scene.stage.seen_by(scene.deployer, ListWantedGuilds))[0]
    scene.stage.say(scene.deployer, scene.router, Ok(req_id=asked.req_id, value=wanted))
    return scene


def test_given_a_restarted_router_when_a_guild_serves_in_a_worker_of_its_own_then_it_is_known_and_left_there(
    make_scene,
):
    scene = restart(make_scene, {D + 3: (G,)}, G)

    found = scene.stage.until(lambda: describe(scene))
    assert (found["worker"], found["placement"], found["reason"]) == (D + 3, "quarantined", "V8 aborted (SIGABRT)")
    seqs = scene.events(G)
    assert scene.sent_to(scene.dedicated[D + 3]) == seqs
    scene.worker_dies(D + 3, **ABORT)
    assert scene.start_worker()[0] == D + 3


def test_given_a_restarted_router_when_a_quarantined_guild_runs_nowhere_then_it_gets_a_worker_of_its_own(make_scene):
    scene = restart(make_scene, {D + 3: ()}, G)

    scene.stage.until(scene.reloads)
    scene.load(G, "restore", restore=True, placement=Placement.QUARANTINED)
    number, own = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(own))
    scene.finish_load(own)

    assert number == D + 4
    assert describe(scene)["worker"] == number
    assert scene.loads_at(scene.workers[0]) == []


def test_given_a_restarted_router_when_nobody_claims_a_dedicated_worker_then_it_ends(make_scene, monkeypatch):
    monkeypatch.setattr(router_places, "ORPHAN_LIMIT_S", 0.05)

    scene = restart(make_scene, {D + 3: (), D + 4: (G,)}, G)

    assert scene.stage.until(scene.stopped) == [D + 3]
