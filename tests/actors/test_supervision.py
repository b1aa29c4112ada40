"""Restart and rebuild policies as values."""

from __future__ import annotations

import random

import pytest

from flora.actors.supervision import REBUILDS, RebuildPolicy, Rebuilds, RestartPolicy, Restarts
from flora.storage.backoff import Backoff


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


WITHOUT_JITTER = RebuildPolicy(backoff=Backoff(first_s=1.0, cap_s=60.0, jitter=0.0))
ANY = random.Random(1)


@pytest.mark.scenario("T35")
def test_given_faults_one_after_another_when_judged_then_the_first_rebuild_is_at_once_and_pauses_double_to_a_minute():
    rebuilds = Rebuilds(WITHOUT_JITTER)

    pauses = []
    for now_s in range(9):
        pauses.append(rebuilds.ended(now_s, ANY))
        rebuilds.loaded(now_s)

    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert rebuilds.total == 9


@pytest.mark.scenario("T35")
def test_given_loads_that_fail_when_judged_then_the_fifth_in_a_row_is_the_last():
    rebuilds = Rebuilds()
    rebuilds.ended(0, ANY)

    assert [rebuilds.ended(n, ANY, loading=True) is None for n in range(5)] == [False, False, False, False, True]


def test_given_a_load_that_succeeds_between_failed_ones_when_judged_then_they_are_counted_anew_and_the_pause_is_not():
    rebuilds = Rebuilds(WITHOUT_JITTER)
    for now_s in range(4):
        rebuilds.ended(now_s, ANY, loading=True)

    rebuilds.loaded(4)
    pause_s = rebuilds.ended(5, ANY)

    assert (rebuilds.failed_loads, pause_s) == (0, 8)


def test_given_five_healthy_minutes_when_it_ends_again_then_that_counts_as_the_first_time():
    rebuilds = Rebuilds()
    for now_s in range(4):
        rebuilds.ended(now_s, ANY)
    rebuilds.loaded(10)

    assert rebuilds.ended(10 + REBUILDS.healthy_s, ANY) == 0


def test_given_a_failed_guild_when_it_is_deployed_then_it_has_every_chance_again():
    rebuilds = Rebuilds()
    for now_s in range(5):
        rebuilds.ended(now_s, ANY, loading=True)

    rebuilds.deployed()

    assert rebuilds.ended(6, ANY) == 0
