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
        self.takes = True  # as an isolate does that comes to it
        self.done: dict[tuple[int, int], dict] = {}

    def look(self) -> bool:
        for item in self.bridge.drain():
            assert isinstance(item, FetchDone)
            self.posted.append(item)
            owner = self.fetches.settle(item)
            if owner is not None:
                assert owner not in self.done
                self.done[owner] = orjson.loads(item.text) | {"ok": item.ok}
                if self.takes:
                    self.fetches.taken(owner[0], 1)
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


async def test_given_an_isolate_that_takes_no_answers_when_it_fetches_on_then_its_turns_are_used_up(
    desk, site, eventually
):
    d = desk(concurrency=2)
    d.takes = False
    for op_id in range(1, 6):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/echo")))

    await eventually.soon(lambda: d.has(2))
    d.fetches.start(2, "43", 1, FetchRequest(site.url("/echo")))
    await eventually.soon(lambda: d.has(3))
    assert len(site.seen) == 3, "two of the first guild, one of the other"

    d.fetches.taken(1, 1)
    await eventually.soon(lambda: d.has(4))
    d.fetches.cancel(1)
    await eventually.soon(lambda: not d.fetches._tasks and d.fetches._budget.held <= len(d.done[2, 1]["text"]))
    assert len(d.done) == 4


@pytest.mark.parametrize("path", ["/bytes/4000", "/bomb", "/status/204", "/slow"])
async def test_given_fetches_of_every_outcome_when_they_are_over_then_nothing_is_held_any_more(
    desk, site, eventually, path
):
    d = desk(max_response_bytes=5000, timeout_ms=200)
    for op_id in range(1, 11):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url(path)))

    await eventually.soon(lambda: d.has(10))

    await eventually.soon(lambda: not d.fetches._open)
    assert d.fetches._budget.held == 0
    assert d.fetches._lanes["42"].unfinished == 0


async def test_given_more_than_a_worker_may_hold_when_fetched_then_only_the_greedy_guild_is_refused(
    desk, site, eventually, monkeypatch
):
    monkeypatch.setattr(service, "HELD_BYTES", 10_000)
    d = desk()
    d.takes = False
    for op_id in (1, 2, 3):
        d.fetches.start(1, "42", op_id, FetchRequest(site.url("/bytes/4000")))
    await eventually.soon(lambda: d.has(3))

    d.fetches.start(2, "43", 1, FetchRequest(site.url("/bytes/4000")))
    await eventually.soon(lambda: d.has(4))

    assert sorted(answer["ok"] for answer in d.done.values()) == [False, True, True, True]
    assert d.done[2, 1]["ok"]
    (refused,) = [answer for answer in d.done.values() if not answer["ok"]]
    assert refused["message"].startswith("fetch failed: too much is being fetched at once")
