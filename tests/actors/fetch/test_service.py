"""Many fetches of a worker: turns, cancelling, and nothing that anybody takes for another's."""

from __future__ import annotations

import asyncio
import threading

import orjson
import pytest

from flora.actors.bridge import AsyncBridge
from flora.actors.fetch import service
from flora.actors.fetch.request import FetchRequest
from flora.actors.fetch.service import FetchDone, Fetches
from flora.messages.settings import FetchSettings

pytestmark = pytest.mark.service


class Desk:
    """Plays the worker: starts fetches, takes what the inbox brings."""

    def __init__(self, **settings: object) -> None:
        self.bridge = AsyncBridge("fetch test")
        self.fetches = Fetches(self.bridge, FetchSettings(**{"allow": ("127.0.0.1",)} | settings))
        self.posted: list[FetchDone] = []
        self.done: dict[tuple[int, int], dict] = {}

    def look(self) -> bool:
        for item in self.bridge.drain():
            assert isinstance(item, FetchDone)
            self.posted.append(item)
            owner = self.fetches.settle(item)
            if owner is not None:
                assert owner not in self.done
                self.done[owner] = orjson.loads(item.text) | {"ok": item.ok}
        return True

    def has(self, count: int) -> bool:
        return self.look() and len(self.done) >= count

    async def close(self) -> None:
        if self.bridge._loop is not None:
            await asyncio.wrap_future(self.bridge.submit(self.fetches.close()))
        self.bridge.close()


@pytest.fixture
async def desk():
    made = []

    def make(**settings: object) -> Desk:
        made.append(Desk(**settings))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def test_given_many_fetches_of_a_guild_when_started_then_only_so_many_run_at_once_and_all_end(
    desk, site, eventually
):
    d = desk(concurrency=3)
    for op_id in range(1, 21):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/wait")))

    await eventually.soon(lambda: site.now == 3)
    site.release.set()
    await eventually.soon(lambda: d.has(20))

    assert site.most == 3
    assert {answer["text"] for answer in d.done.values()} == {"released"}


async def test_given_a_guild_that_uses_up_its_turns_when_another_fetches_then_it_does_not_wait(desk, site, eventually):
    d = desk(concurrency=1)
    for op_id in (1, 2):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/wait")))

    d.fetches.start(2, "43", 1, FetchRequest(site.url("/echo")))

    await eventually.soon(lambda: d.has(1))
    assert set(d.done) == {(2, 1)}


async def test_given_more_fetches_than_may_wait_when_started_then_the_rest_is_refused_at_once(
    desk, site, eventually, monkeypatch
):
    monkeypatch.setattr(service, "MAX_WAITING", 2)
    d = desk(concurrency=1)

    for op_id in range(1, 6):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/wait")))

    await eventually.soon(lambda: d.has(2))
    assert [d.done[1, op_id]["code"] for op_id in (4, 5)] == ["FETCH_FAILED"] * 2
    assert "under way or waiting" in d.done[1, 4]["message"]


async def test_given_fetches_under_way_when_cancelled_then_the_connection_closes_and_nothing_is_posted(
    desk, site, eventually
):
    d = desk()
    for op_id in (1, 2, 3):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/wait")))
    d.fetches.start(2, "43", 1, FetchRequest(site.url("/wait")))
    await eventually.soon(lambda: site.now == 4)

    d.fetches.cancel(1, [2, 99])
    await eventually.soon(lambda: site.now == 3)
    d.fetches.cancel(1)
    await eventually.soon(lambda: site.now == 1)
    site.release.set()
    await eventually.soon(lambda: d.has(1))

    assert set(d.done) == {(2, 1)}
    assert len(d.posted) == 1


async def test_given_a_fetch_when_cancelled_at_once_then_it_ends_too(desk, site, eventually):
    d = desk()

    d.fetches.start(1, "42", 1, FetchRequest(site.url("/wait")))
    d.fetches.cancel(1, [1])
    d.fetches.start(1, "42", 1, FetchRequest(site.url("/echo")))

    await eventually.soon(lambda: d.has(1))
    assert "GET" in d.done[1, 1]["text"], "the answer is that of the second, though both have the same number"


async def test_given_an_answer_that_is_in_the_inbox_already_when_cancelled_then_nobody_gets_it(desk, site, eventually):
    d = desk()
    d.fetches.start(1, "42", 1, FetchRequest(site.url("/echo")))
    await eventually.soon(lambda: not d.bridge._inbox.empty())

    d.fetches.cancel(1)
    d.look()

    assert (len(d.posted), d.done) == (1, {})


async def test_given_fetch_switched_off_when_started_then_it_is_refused(desk, eventually):
    d = desk(enabled=False)

    d.fetches.start(1, "42", 1, FetchRequest("https://example.com/"))

    await eventually.soon(lambda: d.has(1))
    assert (d.done[1, 1]["name"], d.done[1, 1]["code"]) == ("TypeError", "FETCH_BLOCKED")
    assert "fetch.enabled" in d.done[1, 1]["message"]


async def test_given_no_fetch_when_a_service_exists_then_it_has_no_thread(desk):
    before = threading.active_count()

    desk().fetches.cancel(1)

    assert threading.active_count() == before


async def test_given_a_guild_that_has_been_quiet_when_time_passes_then_its_connections_are_closed(
    desk, site, eventually, monkeypatch
):
    monkeypatch.setattr(service, "KEEP_ALIVE_S", 0.01)
    d = desk()

    d.fetches.start(1, "42", 1, FetchRequest(site.url("/echo")))

    await eventually.soon(lambda: d.has(1) and not d.fetches._lanes)
