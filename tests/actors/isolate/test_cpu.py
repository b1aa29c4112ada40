"""What a guild uses of the processor, and its budget."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.cpu import LOOK_AFTER_S, CpuBudget, CpuMeter
from flora.actors.isolate.threads import UNKNOWN, cpu_us, name_thread, started_thread


def test_given_a_budget_when_it_is_used_up_then_nothing_starts_until_it_has_refilled() -> None:
    budget = CpuBudget(50, 1_000_000)

    assert not budget.spend(900_000, 0.0)
    assert budget.held_since_s is None
    assert budget.spend(600_000, 0.0), "an episode begins"

    assert budget.release(0.9) == 0.0, "0.5 s are missing, half a second of the clock gives a quarter of one"
    assert budget.release(2.0) == 2.0
    assert budget.held_since_s is None


def test_given_a_guild_at_its_limit_when_it_goes_on_like_that_then_it_is_one_episode() -> None:
    budget = CpuBudget(50, 1_000_000)
    begun = [budget.spend(1_100_000, 0.0)]

    for second in range(1, 60):
        budget.release(float(second))
        begun.append(budget.spend(520_000, float(second)))

    assert begun.count(True) == 1
    assert budget.episodes == 1


def test_given_a_rest_after_an_episode_when_the_budget_is_used_up_again_then_that_is_another() -> None:
    budget = CpuBudget(50, 1_000_000)
    budget.spend(1_100_000, 0.0)
    budget.release(100.0)
    budget.spend(1, 100.0)

    assert budget.spend(1_100_000, 100.0)
    assert budget.episodes == 2


def test_given_no_share_when_spent_then_there_is_no_limit() -> None:
    budget = CpuBudget(0, 1_000_000)

    assert not budget.spend(10**12, 0.0)
    assert budget.held_since_s is None


@given(st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(0, 400_000)), max_size=80))
def test_given_any_use_when_held_to_the_budget_then_it_gets_no_more_than_its_share_and_what_was_under_way(
    steps,
) -> None:
    budget, now_s, used_us, largest_us = CpuBudget(20, 100_000), 0.0, 0, 0

    for pause_s, wish_us in steps:
        now_s += pause_s
        budget.release(now_s)
        if budget.held_since_s is None:
            budget.spend(wish_us, now_s)
            used_us, largest_us = used_us + wish_us, max(largest_us, wish_us)

    assert used_us <= 100_000 + 200_000 * now_s + largest_us + 1


def test_given_short_round_trips_when_measured_then_the_clock_is_asked_seldom() -> None:
    asked: list[int] = []
    meter = CpuMeter()
    meter.attach(lambda: asked.append(1) or len(asked) * 1000)

    for _ in range(100):
        if meter.round_trip(LOOK_AFTER_S / 50):
            meter.look(0.0)

    assert len(asked) <= 4
    assert meter.total_us == (len(asked) - 1) * 1000


def test_given_no_clock_for_threads_when_measured_then_what_the_round_trips_lasted_counts() -> None:
    meter = CpuMeter()
    meter.attach(lambda: None)

    assert meter.round_trip(0.25)
    meter.look(1.0)

    assert meter.total_us == 250_000


def test_given_an_hour_when_asked_for_the_last_minute_then_only_that_counts() -> None:
    meter = CpuMeter()
    meter.attach(lambda: None)

    for second in range(3600):
        meter.round_trip(0.01)
        meter.look(float(second))

    assert meter.total_us == 36_000_000
    assert 550_000 <= meter.last_minute_us(3599.0) <= 650_000


def test_given_a_thread_that_has_ended_when_read_then_nothing_is_known() -> None:
    assert cpu_us(UNKNOWN) is None
    assert cpu_us(2**22 - 1) is None


@pytest.mark.skipif(sys.platform != "linux", reason="threads are found through /proc")
def test_given_an_isolate_that_computes_when_its_thread_is_read_then_its_time_is_known_and_it_bears_the_guilds_name(
    engine_host,
) -> None:
    idle, busy = engine_host.open("11"), engine_host.open("123456789012345678")
    busy.load("on('messageCreate', () => { let n = 0; for (let i = 0; i < 2e7; i++) n += i % 7; if (!n) throw n })")
    before_us, idle_before_us = busy.isolate.cpu_us(), idle.isolate.cpu_us()

    busy.send("go")
    busy.answer()

    assert busy.isolate.cpu_us() - before_us > 10_000
    assert idle.isolate.cpu_us() - idle_before_us < 5_000
    names = {entry.read_text().strip() for entry in _threads()}
    assert {"11", "456789012345678"} <= names


@pytest.mark.skipif(sys.platform != "linux", reason="threads are found through /proc")
def test_given_a_function_that_starts_no_thread_when_watched_then_none_is_found() -> None:
    assert started_thread(lambda: 5) == (5, UNKNOWN)
    name_thread(UNKNOWN, "nobody")


def test_given_the_clock_of_a_thread_when_read_then_it_costs_microseconds() -> None:
    meter = CpuMeter()
    meter.attach(lambda: 0)

    began = time.perf_counter()
    for _ in range(10_000):
        if meter.round_trip(0.000_05):
            meter.look(began)
    per_round_trip_us = (time.perf_counter() - began) * 100

    assert per_round_trip_us < 10, "on an idle machine 0.2"


def _threads() -> Iterable[Path]:
    return Path("/proc/self/task").glob("*/comm")
