"""A worker's REST calls: what the gateway gets, and who hears of the results."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from flora.actors.worker_calls import BUSY_CALLS, HOLD_S_PER_CALL, MAX_HOLD_S, RestCalls
from flora.messages.gateway import RestResultsFrame

ONE, OTHER = 1, 2  # isolates


@pytest.fixture
def calls(timers) -> RestCalls:
    return RestCalls("epoch", timers)


def asked(*op_ids: int) -> tuple[tuple[Any, ...], ...]:
    return tuple((op_id, "POST", "/channels/9/messages", (), "{}", (), None, False) for op_id in op_ids)


def acknowledged(number: int) -> RestResultsFrame:
    return RestResultsFrame(number=0, ack=number, epoch="gateway", results=())


def test_given_calls_of_two_isolates_when_results_come_then_each_gets_its_own_under_its_own_numbers(calls) -> None:
    calls.take(ONE, "55", asked(7, 8))
    calls.take(OTHER, "66", asked(7))

    frame = calls.poll()

    assert [(call[0], call[1]) for call in frame.calls] == [(1, "55"), (2, "55"), (3, "66")]
    assert calls.settle([(3, True, "c"), (1, False, "a"), (99, True, "of nobody")]) == {
        OTHER: [(7, True, "c")],
        ONE: [(7, False, "a")],
    }
    assert calls.settle([(1, True, "again")]) == {}


def test_given_cancelled_operations_when_polled_then_unsent_calls_stay_and_the_gateway_hears_of_the_others(
    calls,
) -> None:
    calls.take(ONE, "55", asked(1))
    assert [call[0] for call in calls.poll().calls] == [1]
    calls.take(ONE, "55", asked(2, 3))

    calls.cancel(ONE, {1, 2})

    frame = calls.poll()
    assert [call[0] for call in frame.calls] == [3]
    assert frame.cancelled == (1,)
    assert calls.settle([(1, True, ""), (2, True, "")]) == {}


def test_given_a_gateway_that_dies_when_the_next_comes_then_only_what_had_left_has_failed(calls) -> None:
    calls.take(ONE, "55", asked(1))
    calls.poll()
    calls.take(ONE, "55", asked(2))

    ((op_id, ok, text),) = calls.gateway_gone()[ONE]

    assert (op_id, ok) == (1, False)
    assert orjson.loads(text)["code"] == "DISCORD_HTTP_ERROR"
    assert [call[0] for call in calls.poll().calls] == [2]


def test_given_many_calls_under_way_when_one_more_comes_then_it_waits_a_moment_for_company(calls, timers) -> None:
    calls.take(ONE, "55", asked(*range(BUSY_CALLS - 1)))
    calls.link.receive(acknowledged(calls.poll().number))
    calls.take(ONE, "55", asked(100))

    assert calls.poll() is None
    calls.take(ONE, "55", asked(101))
    assert calls.poll() is None

    ((delay_s, due),) = timers.set
    assert delay_s == pytest.approx(BUSY_CALLS * HOLD_S_PER_CALL, rel=0.1)
    assert delay_s < MAX_HOLD_S
    due()
    assert len(calls.poll().calls) == 2


def test_given_ever_more_calls_under_way_when_one_more_comes_then_it_waits_longer_but_never_long(calls, timers) -> None:
    calls.take(ONE, "55", asked(*range(10 * BUSY_CALLS)))

    assert calls.poll() is None
    assert [delay_s for delay_s, _ in timers.set] == [MAX_HOLD_S]
