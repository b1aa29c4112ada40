from __future__ import annotations

from typing import Any

import pytest

from flora.actors.routing import default_worker
from flora.messages.base import Ok
from flora.messages.ids import GuildId, ReqId
from flora.messages.migration import MigrateGuild, MoveOut
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
def test_given_a_guild_on_the_move_when_its_secrets_change_then_its_next_event_waits_for_them(make_scene) -> None:
    scene = make_scene()
    source, target = scene.workers
    scene.load(G)
    scene.stage.until(lambda: scene.loads_at(source))
    scene.finish_load(source)
    scene.stored(G)
    scene.stage.say(scene.stage.puppet(), scene.router, MigrateGuild(req_id=ReqId("m"), guild_id=G, target=1))
    scene.stage.until(lambda: scene.stage.seen_by(source, MoveOut))

    before = scene.events(G)
    give(scene, 2, "give")
    after = scene.events(G)
    scene.leaves(source)
    scene.arrives(target)
    (request,) = scene.stage.until(lambda: scene.stage.seen_by(target, GiveSecrets))
    early = scene.sent_to(target)
    answer_worker(scene, target, request)

    assert answer(scene, "give").value is True
    assert (early, scene.sent_to(target)) == (before, before + after)
    assert scene.stage.seen_by(source, GiveSecrets) == []
