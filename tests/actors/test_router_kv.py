"""Key-value calls through the router: to the guild's worker, after the guild's rest, and never to two owners at once."""

from __future__ import annotations

from typing import Any

import pytest

from flora.actors import router_kv
from flora.actors.routing import default_worker
from flora.messages.base import Failed, Ok
from flora.messages.errors import MailboxFull, Unavailable, WorkerGone
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvCall, KvGetKey, ReleaseKv
from flora.messages.migration import MoveOut
from flora.messages.placement import PlaceGuild, Placement

GUILDS = [GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0]
G, H = GUILDS[:2]


@pytest.fixture
def scene(make_scene):
    return make_scene()


def call(scene: Any, key: str = "k", guild_id: GuildId = G) -> None:
    """The caller reads a key; the request is named like it."""
    request = KvCall(req_id=ReqId(key), guild_id=guild_id, operation=KvGetKey(store="s", key=key))
    scene.stage.say(scene.caller, scene.router, request)


def calls_at(scene: Any, worker: Any) -> list[str]:
    return [request.operation.key for request in scene.stage.seen_by(worker, KvCall)]


def answer(scene: Any, worker: Any) -> None:
    """A worker answers the last call with its key."""
    request = scene.stage.seen_by(worker, KvCall)[-1]
    scene.stage.say(worker, scene.router, Ok(req_id=request.req_id, value=request.operation.key))


def test_given_a_guild_without_script_when_called_then_its_default_worker_answers(scene):
    call(scene)
    answer(scene, scene.workers[0])

    assert scene.replies() == [Ok(req_id=ReqId("k"), value="k")]
    assert calls_at(scene, scene.workers[1]) == []


def test_given_a_guild_that_is_being_loaded_when_called_then_the_calls_wait_and_keep_their_order(scene):
    scene.load(G)
    for key in "abc":
        call(scene, key)
    call(scene, "other", H)
    assert calls_at(scene, scene.workers[0]) == ["other"]

    scene.finish_load(scene.workers[0])

    scene.stage.until(lambda: len(calls_at(scene, scene.workers[0])) == 4)
    assert calls_at(scene, scene.workers[0]) == ["other", "a", "b", "c"]


def test_given_a_worker_that_dies_when_calls_are_under_way_or_come_then_those_fail_and_these_wait_for_the_next(scene):
    call(scene, "before")
    assert calls_at(scene, scene.workers[0]) == ["before"]

    scene.worker_dies()
    call(scene, "after")
    assert [(reply.req_id, reply.code) for reply in scene.replies()] == [("before", WorkerGone.code)]
    worker = scene.worker_returns()

    scene.stage.until(lambda: calls_at(scene, worker) == ["after"])
    answer(scene, worker)
    assert Ok(req_id=ReqId("after"), value="after") in scene.replies()


def test_given_a_guild_that_does_not_come_to_rest_when_called_then_the_caller_is_told(scene, monkeypatch):
    monkeypatch.setattr(router_kv, "WAIT_LIMIT_S", 0.0)
    monkeypatch.setattr(router_kv, "MAX_WAITING", 1)
    scene.load(G)

    call(scene, "a")
    call(scene, "b")

    replies = scene.stage.until(lambda: len(found := scene.replies()) == 2 and found)
    assert all(isinstance(reply, Failed) for reply in replies)
    assert {(reply.req_id, reply.code) for reply in replies} == {("a", Unavailable.code), ("b", MailboxFull.code)}


def test_given_a_guild_that_moves_then_the_worker_it_leaves_closes_its_stores_before_the_next_one_loads_it(scene):
    scene.load(G)
    scene.finish_load(scene.workers[0])
    call(scene, "before")
    answer(scene, scene.workers[0])

    scene.stored(G)
    word = PlaceGuild(req_id=ReqId("place"), guild_id=G, placement=Placement.DEDICATED)
    scene.stage.say(scene.caller, scene.router, word)
    number, dedicated = scene.start_worker()
    scene.stage.until(lambda: scene.stage.seen_by(scene.workers[0], MoveOut))
    call(scene, "meanwhile")
    assert scene.loads_at(dedicated) == [], "not before it has closed them"
    scene.leaves(scene.workers[0])
    scene.arrives(dedicated)

    scene.stage.until(lambda: calls_at(scene, dedicated) == ["meanwhile"])
    assert calls_at(scene, scene.workers[0]) == ["before"]
    assert number >= 1000


def test_given_stores_that_a_call_opened_when_the_guild_is_loaded_elsewhere_then_they_are_released(scene):
    call(scene)
    answer(scene, scene.workers[0])

    scene.load(G, placement=Placement.DEDICATED)
    _, dedicated = scene.start_worker()
    scene.stage.until(lambda: scene.loads_at(dedicated))

    assert [request.guild_id for request in scene.stage.seen_by(scene.workers[0], ReleaseKv)] == [G]
