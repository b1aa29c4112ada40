"""Which events are traced: within the budget, no guild at the cost of another, memory bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flora.actors import trace_sampling
from flora.actors.trace_sampling import Admission, HeadSampler


def test_given_a_flooding_guild_when_events_are_chosen_then_it_takes_one_a_second_and_others_are_seen():
    sampler = HeadSampler(50, now_s=0.0)
    flood = other = 0

    for tick in range(100):  # ten seconds
        chosen = sampler.choose(["flood"] * 500 + ["other"], now_s=tick / 10)
        flood += sum(position < 500 for position in chosen)
        other += 500 in chosen

    assert 14 <= flood <= 16
    assert 14 <= other <= 16


def test_given_many_busy_guilds_when_events_are_chosen_then_the_budget_holds():
    sampler = HeadSampler(50, now_s=0.0)
    busy = [str(number) for number in range(2000)]

    chosen = sum(len(sampler.choose(busy, now_s=tick / 10)) for tick in range(101))

    burst = 0.8 * trace_sampling.BURST_S + 0.2 * trace_sampling.QUIET_S
    assert 50 * 10 <= chosen <= 50 * (10 + burst)


def test_given_guilds_that_use_the_budget_up_when_a_quiet_one_has_an_event_then_it_is_chosen():
    sampler = HeadSampler(50, now_s=0.0)
    busy = [str(number) for number in range(200)]
    for tick in range(200):  # until each of the busy ones has been seen
        sampler.choose(busy, now_s=tick / 2)

    assert 200 in sampler.choose([*busy, "quiet"], now_s=99.5)


def test_given_a_budget_of_nothing_when_events_come_then_none_is_chosen():
    sampler = HeadSampler(0, now_s=0.0)

    assert not [found for tick in range(50) if (found := sampler.choose(["1", "2"], now_s=tick))]


def test_given_events_of_no_guild_when_chosen_then_they_are_left_out():
    assert HeadSampler(50, now_s=0.0).choose(["", "1", ""], now_s=0.0) == [1]


def test_given_a_guild_that_fails_at_every_event_when_admitted_then_the_rest_is_counted_and_told_once():
    admission = Admission()

    at_once = [admission.admit("bad", now_s=0.0) for _ in range(5000)]
    good = admission.admit("good", now_s=0.0)
    later = [admission.admit("bad", now_s=1.0) for _ in range(20)]

    assert at_once == [0] * 50 + [None] * 4950
    assert good == 0
    assert later == [4950] + [0] * 9 + [None] * 10


def test_given_all_guilds_slow_at_once_when_admitted_then_all_are_bounded_and_each_guild_is_seen():
    admission = Admission(total_rate=25.0)
    admitted = {str(guild): 0 for guild in range(300)}

    for tick in range(100):  # ten seconds
        for guild_id in admitted:
            admitted[guild_id] += admission.admit(guild_id, now_s=tick / 10) is not None

    assert min(admitted.values()) == 1
    assert sum(admitted.values()) <= 300 + 25 * (10 + trace_sampling.TOTAL_BURST_S)
    assert admission.admit("rare", now_s=10.0) == 0


def test_given_the_budget_of_all_used_up_when_there_is_some_again_then_each_refusal_is_told():
    admission = Admission(total_rate=1.0)
    burst = int(trace_sampling.TOTAL_BURST_S)

    at_once = [admission.admit("a", now_s=0.0) for _ in range(burst + 10)]
    too_early = admission.admit("a", now_s=0.9)
    later = [admission.admit("a", now_s=1.0), admission.admit("a", now_s=1.0)]

    assert at_once == [0] * burst + [None] * 10
    assert too_early is None
    assert later == [11, None]


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.floats(0, 5)), min_size=2))
def test_given_any_guilds_when_admitted_then_the_memory_stays_bounded(steps: list[tuple[int, float]]):
    admission, now_s = Admission(), 0.0

    for first, pause_s in steps[:2]:
        now_s += pause_s
        for number in range(first, first + 3 * trace_sampling.MAX_GUILDS // 2):
            admission.admit(str(number), now_s)

    assert len(admission._guilds) <= trace_sampling.MAX_GUILDS
