"""When the gateway waits, and when events are shed instead."""

from __future__ import annotations

from flora.actors.hold_back import CHECK_S, MAX_HOLD_S, MAX_STALLED_CHECKS, HoldBack


def test_given_nothing_overfull_when_a_frame_comes_then_nobody_waits():
    assert not HoldBack().begins(0, 0.0)


def test_given_a_burst_that_drains_when_checked_then_the_sender_waits_until_it_has():
    hold = HoldBack()

    assert hold.begins(4000, 0.0)
    assert all(hold.goes_on(left, n * CHECK_S) for n, left in enumerate(range(3800, 2000, -200)))
    assert not hold.goes_on(0, 1.0)
    assert not hold.shedding


def test_given_something_that_does_not_drain_when_checked_then_shedding_begins_and_ends_with_it():
    hold = HoldBack()
    hold.begins(2500, 0.0)

    waited = [hold.goes_on(2500, n * CHECK_S) for n in range(MAX_STALLED_CHECKS)]

    assert waited == [True] * (MAX_STALLED_CHECKS - 1) + [False]
    assert hold.shedding
    assert not hold.begins(2500, 1.0)
    assert not hold.begins(0, 2.0)
    assert not hold.shedding
    assert hold.begins(2500, 3.0)


def test_given_slow_progress_when_it_takes_too_long_then_the_sender_goes_on():
    hold = HoldBack()
    hold.begins(100_000, 0.0)

    assert hold.goes_on(50_000, 1.0)
    assert not hold.goes_on(25_000, MAX_HOLD_S)
    assert hold.shedding
