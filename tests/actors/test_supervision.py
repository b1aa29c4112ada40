"""Restart policy as a value."""

from __future__ import annotations

import random

from flora.actors.supervision import RestartPolicy, Restarts


def test_given_a_first_death_when_judged_then_the_restart_is_immediate_and_later_ones_wait_longer():
    restarts = Restarts(RestartPolicy())
    rng = random.Random(1)

    delays = [restarts.died(now, rng) for now in (0, 1, 2, 3, 4)]

    assert delays[0] == 0
    assert delays == sorted(set(delays))


def test_given_more_deaths_than_allowed_in_the_window_when_judged_then_it_gives_up():
    restarts = Restarts(RestartPolicy(max_restarts=2, window_s=10))
    rng = random.Random(1)

    assert [restarts.died(now, rng) is None for now in (0, 1, 2)] == [False, False, True]
    assert restarts.total == 3


def test_given_deaths_far_apart_when_judged_then_each_is_a_first_one():
    restarts = Restarts(RestartPolicy(max_restarts=1, window_s=10))

    assert [restarts.died(now, random.Random(1)) for now in (0, 11, 22, 33)] == [0, 0, 0, 0]
