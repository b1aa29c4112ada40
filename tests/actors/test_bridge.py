"""The bridge between an actor's thread and the rest; this test's thread plays the actor."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from flora.actors.bridge import AsyncBridge, Outgoing
from flora.messages.base import Message, Ok, Reply, Request, TraceContext
from flora.messages.errors import NotFound, TimedOut
from flora.messages.ids import ReqId
from flora.messages.trace import working_on

LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Request):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(Reply):
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class News(Message):
    number: int


@pytest.fixture
def bridge() -> Iterator[AsyncBridge]:
    made = AsyncBridge("test")
    yield made
    made.close()


def take(bridge: AsyncBridge, count: int, within_s: float = LIMIT_S) -> list[Any]:
    """What an actor would get: looks only when the descriptor says so."""
    found: list[Any] = []
    deadline = time.monotonic() + within_s
    while len(found) < count:
        ready, _, _ = select.select([bridge.fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"only {len(found)} of {count} came: a wake-up was lost"
        found += bridge.drain()
    return found


def test_given_many_threads_that_post_when_drained_on_wake_ups_only_then_nothing_is_lost_and_each_keeps_its_order(
    bridge,
):
    threads, each = 8, 5000

    def post(sender: int) -> None:
        for number in range(each):
            bridge.post((sender, number))
            if number % 97 == 0:
                os.sched_yield()

    posting = [threading.Thread(target=post, args=(sender,)) for sender in range(threads)]
    for thread in posting:
        thread.start()
    found = take(bridge, threads * each, within_s=15)
    for thread in posting:
        thread.join()

    for sender in range(threads):
        assert [number for who, number in found if who == sender] == list(range(each))
    assert select.select([bridge.fd], [], [], 0)[0] == [] or list(bridge.drain()) == []


def test_given_single_posts_that_race_with_the_drain_then_none_waits_for_the_next(bridge):
    back = threading.Semaphore(0)

    def post_one_by_one() -> None:
        for number in range(3000):
            bridge.post(number)
            assert back.acquire(timeout=LIMIT_S)

    posting = threading.Thread(target=post_one_by_one)
    posting.start()
    for number in range(3000):
        assert take(bridge, 1) == [number]
        back.release()
    posting.join()


def test_given_nothing_posted_then_the_descriptor_is_quiet_and_draining_gives_nothing(bridge):
    assert select.select([bridge.fd], [], [], 0)[0] == []
    assert list(bridge.drain()) == []


def test_given_an_ask_when_the_actor_answers_then_the_coroutine_gets_the_value(bridge):
    asked = bridge.submit(bridge.ask("somebody", Question(req_id=ReqId("")), LIMIT_S))

    (outgoing,) = take(bridge, 1)
    assert isinstance(outgoing, Outgoing)
    assert outgoing.to == "somebody"
    assert bridge.answered(Ok(req_id=outgoing.message.req_id, value=42))

    assert asked.result(LIMIT_S) == 42


def test_given_an_ask_when_a_named_result_comes_then_it_is_the_result(bridge):
    asked = bridge.submit(bridge.ask("somebody", Question(req_id=ReqId("")), LIMIT_S))
    req_id = take(bridge, 1)[0].message.req_id

    bridge.answered(Named(req_id=req_id, answer=7))

    assert asked.result(LIMIT_S) == Named(req_id=req_id, answer=7)


def test_given_an_ask_when_it_fails_then_the_coroutine_gets_the_error_it_stands_for(bridge):
    asked = bridge.submit(bridge.ask("somebody", Question(req_id=ReqId("")), LIMIT_S))
    req_id = take(bridge, 1)[0].message.req_id

    bridge.answered(NotFound("no such guild", guild_id="1").as_failed(req_id))

    with pytest.raises(NotFound, match="no such guild") as caught:
        asked.result(LIMIT_S)
    assert dict(caught.value.details) == {"guild_id": "1"}


def test_given_an_ask_that_nobody_answers_then_it_ends_at_its_limit_and_a_late_answer_is_not_ours(bridge):
    asked = bridge.submit(bridge.ask("somebody", Question(req_id=ReqId("")), 0.05))
    req_id = take(bridge, 1)[0].message.req_id

    with pytest.raises(TimedOut, match=r"no answer to Question within 0\.05 s"):
        asked.result(LIMIT_S)

    assert not bridge.answered(Ok(req_id=req_id))


def test_given_two_asks_when_answered_the_other_way_round_then_each_gets_its_own(bridge):
    first = bridge.submit(bridge.ask("a", Question(req_id=ReqId("same")), LIMIT_S))
    second = bridge.submit(bridge.ask("b", Question(req_id=ReqId("same")), LIMIT_S))
    ids = {outgoing.to: outgoing.message.req_id for outgoing in take(bridge, 2)}

    bridge.answered(Ok(req_id=ids["b"], value="for b"))
    bridge.answered(Ok(req_id=ids["a"], value="for a"))

    assert (first.result(LIMIT_S), second.result(LIMIT_S)) == ("for a", "for b")


def test_given_a_tell_from_the_loop_then_the_actor_is_to_send_it(bridge):
    async def tell() -> None:
        bridge.tell("somebody", News(number=1))

    bridge.submit(tell()).result(LIMIT_S)

    assert take(bridge, 1) == [Outgoing("somebody", News(number=1))]


def test_given_items_for_later_then_they_are_posted_in_the_order_of_their_time(bridge):
    bridge.call_later(0.06, "second")
    bridge.call_later(0.01, "first")

    assert take(bridge, 2) == ["first", "second"]


def test_given_a_bridge_that_closes_then_what_runs_on_the_loop_is_cancelled_and_posting_is_harmless():
    bridge = AsyncBridge("test")
    ended: list[str] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    running = bridge.submit(wait_for_ever())
    bridge.submit(asyncio.sleep(0)).result(LIMIT_S)

    bridge.close()

    assert ended == ["cancelled"]
    assert running.done()
    bridge.post("too late")
    _assert_closed(lambda: select.select([bridge.fd], [], [], 0))


def test_given_a_bridge_whose_loop_was_never_used_then_it_closes_without_one():
    before = threading.active_count()
    bridge = AsyncBridge("test")

    bridge.close()

    assert threading.active_count() == before
    _assert_closed(lambda: os.read(bridge.fd, 1))


def _assert_closed(use: Callable[[], object]) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        use()


def test_given_work_for_a_trace_when_it_asks_and_tells_from_the_loop_then_its_messages_belong_to_the_trace(bridge):
    trace = TraceContext(trace_id="ab" * 16, span_id="cd" * 8)

    async def work() -> None:
        bridge.tell("somebody", News(number=1))
        await asyncio.gather(bridge.ask("somebody", Question(req_id=ReqId("")), 0.02), return_exceptions=True)

    with working_on(trace):
        bridge.submit(work())
    told, asked, unanswered = take(bridge, 3)

    for sent in (told, asked):
        assert (sent.message.trace.trace_id, sent.message.trace.span_id) == (trace.trace_id, trace.span_id)
        assert sent.message.trace.sent_us > 0
    assert (unanswered.name, unanswered.trace, unanswered.failed.code) == ("Question", trace, TimedOut.code)


def test_given_work_for_no_trace_then_its_messages_belong_to_none(bridge):
    bridge.tell("somebody", News(number=1))

    (told,) = take(bridge, 1)

    assert told.message.trace is None
