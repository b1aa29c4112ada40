"""Counters and percentiles."""

from __future__ import annotations

import pytest

from flora.actors.metrics import WorkerCounters, merged, nearest_rank
from flora.messages.dispatch import Outcome


@pytest.mark.scenario("T70")
def test_given_samples_one_to_a_hundred_when_ranked_then_the_percentiles_are_exact():
    samples = list(range(1, 101))

    assert [nearest_rank(samples, p) for p in (50, 95, 99)] == [50, 95, 99]
    assert nearest_rank([], 50) == 0


def test_given_two_workers_when_merged_then_counters_add_and_latencies_form_one_sample():
    one, two = WorkerCounters(), WorkerCounters()
    one.ended(Outcome.OK, 10)
    two.ended(Outcome.NOT_A_PROMISE, 30)
    two.ended(Outcome.TIMED_OUT, 3_000_000)

    total = merged([one.snapshot(), two.snapshot()])

    assert total["dispatch_total"] == 3
    assert total["dispatch_errors"] == total["timeout_errors"] == 1
    assert total["oom_errors"] == 0
    assert total["runtime_restarts"] == 2
    assert total["avg_latency_us"] == 20
    assert total["p50_latency_us"] == 10


def test_given_more_samples_than_the_window_when_ranked_then_only_the_last_count():
    counters = WorkerCounters()
    for value in range(1, 1101):
        counters.ended(Outcome.OK, value)

    assert min(counters.snapshot()["latencies_us"]) == 101
