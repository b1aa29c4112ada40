"""What a worker counts."""

from __future__ import annotations

from flora.actors.metrics import WorkerCounters
from flora.messages.dispatch import Outcome


def test_given_ends_of_every_kind_when_counted_then_failures_are_told_apart():
    counters = WorkerCounters()
    for outcome in (Outcome.OK, Outcome.NOT_A_PROMISE, Outcome.THREW, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY):
        counters.ended(outcome, 10)

    found = counters.snapshot()

    assert (found["dispatch_total"], found["dispatch_errors"]) == (5, 3)
    assert (found["timeout_errors"], found["oom_errors"]) == (1, 1)
    assert found["latencies_us"] == (10, 10)


def test_given_more_samples_than_the_window_when_ranked_then_only_the_last_count():
    counters = WorkerCounters()
    for value in range(1, 1101):
        counters.ended(Outcome.OK, value)

    assert min(counters.snapshot()["latencies_us"]) == 101


def test_given_runs_of_events_jobs_and_unknown_names_when_counted_then_names_come_from_a_bounded_set():
    series = WorkerCounters().series
    for name in ("messageCreate", "__cron:nightly", "__cron:hourly", *(f"made up {number}" for number in range(50))):
        series.ended(name, Outcome.OK, 70)
    series.ended("messageCreate", Outcome.THREW, 70)

    found = {labels: sum(sample[0]) for labels, sample in series.samples()["dispatch"].items()}

    assert found == {
        ("messageCreate", "ok"): 1,
        ("messageCreate", "threw"): 1,
        ("cron", "ok"): 2,
        ("other", "ok"): 50,
    }


def test_given_fetches_when_counted_then_by_outcome_beside_the_old_numbers():
    counters = WorkerCounters()
    for code in (None, None, "FETCH_BLOCKED", "FETCH_FAILED"):
        counters.fetched(code, 5)

    assert (counters.fetches_refused, counters.fetches_failed, counters.fetched_bytes) == (1, 1, 20)
    assert counters.snapshot()["series"]["fetches"] == {("ok",): 2, ("refused",): 1, ("failed",): 1}
