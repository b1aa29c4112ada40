from __future__ import annotations

from typing import Any

import pytest

from flora.actors.routing import default_worker
from flora.messages.base import Ok
from flora.messages.ids import GuildId, ReqId
from flora.messages.placement import PlaceGuild, Placement
from flora.messages.secrets import GiveSecrets, GuildSecrets, LiveSecret

G = next(GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0)


def key_set(version: int) -> GuildSecrets:
    entry = LiveSecret(name="KEY", placeholders=("holder",), value="hunter2", allowed_hosts=())
    return GuildSecrets(version=version, entries=(entry,))


def give(scene: Any, version: int, req_id: str) -> None:
    request = GiveSecrets(req_id=ReqId(req_id), guild_id=G, secrets=key_set(version))
    scene.stage.say(scene.caller, scene.router, request)


def answer(scene: Any, req_id: str) -> Any:
    replies = lambda: [m for m in scene.stage.seen_by(scene.caller) if m.req_id == req_id]  # noqa: E731
    return scene.stage.until(replies)[0]


def answer_worker(scene: Any, worker: Any, request: GiveSecrets) -> None:
    scene.stage.say(worker, scene.router, Ok(req_id=request.req_id, value=True))


def test_given_a_guild_that_runs_nowhere_when_its_secrets_change_then_that_is_fine(make_scene) -> None:
    scene = make_scene()

    give(scene, 1, "give")

    assert answer(scene, "give").value is False
    assert [scene.stage.seen_by(worker, GiveSecrets) for worker in scene.workers] == [[], []]


@pytest.mark.scenario("T51")
def test_given_a_guild_that_loads_when_its_secrets_change_then_its_worker_alone_gets_them_and_then_the_caller_hears(
    make_scene,
) -> None:
    scene = make_scene()
    owner, other = scene.workers
    scene.load(G, secrets=key_set(1))
    scene.stage.until(lambda: scene.loads_at(owner))

    give(scene, 2, "give")
    (request,) = scene.stage.until(lambda: scene.stage.seen_by(owner, GiveSecrets))
    early = scene.stage.seen_by(scene.caller)
    answer_worker(scene, owner, request)

    assert answer(scene, "give").value is True
    assert scene.loads_at(owner)[0].secrets == key_set(1)
    assert (request.guild_id, request.secrets) == (G, key_set(2))
    assert early == []
    assert scene.stage.seen_by(other, GiveSecrets) == []


def test_given_a_worker_that_is_away_when_secrets_change_then_the_caller_is_told_to_try_again(make_scene) -> None:
    scene = make_scene()
    scene.load(G)
    scene.stage.until(lambda: scene.loads_at(scene.workers[0]))
    scene.finish_load(scene.workers[0])
    scene.worker_dies()

    give(scene, 2, "give")

    assert answer(scene, "give").code == "WORKER_GONE"


@pytest.mark.scenario("T51")
def test_given_a_guild_on_the_move_when_its_secrets_change_then_both_workers_get_them(make_scene) -> None:
    scene = make_scene()
    scene.load(G)
    scene.stage.until(lambda: scene.loads_at(scene.workers[0]))
    scene.finish_load(scene.workers[0])
    asker = scene.stage.puppet()
    scene.stage.say(asker, scene.router, PlaceGuild(req_id=ReqId("p"), guild_id=G, placement=Placement.DEDICATED))
    _, own = scene.start_worker()
    scene.stage.until(scene.reloads)

    give(scene, 2, "give")
    for worker in (scene.workers[0], own):
        scene.stage.until(lambda worker=worker: scene.stage.seen_by(worker, GiveSecrets))
        answer_worker(scene, worker, scene.stage.seen_by(worker, GiveSecrets)[0])

    assert answer(scene, "give").value is True
