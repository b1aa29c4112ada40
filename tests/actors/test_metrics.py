"""What a worker counts."""

from __future__ import annotations

from flora.actors.log_book import LogBook
from flora.actors.metrics import WorkerCounters
from flora.messages.dispatch import Outcome
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Peers, ReadMetrics, Start
from flora.messages.logs import LogFrame


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


def test_given_lines_of_any_level_when_the_log_book_takes_them_then_it_counts_each_frame_once_by_a_few_levels(
    stage, settings
):
    book, asker = stage.create(LogBook), stage.puppet()
    stage.ask(book, Start(req_id=ReqId("start"), settings=settings, peers=Peers(), name="log book"))
    lines = tuple((1, level, "flora:js", "7", "text") for level in ("info", "info", "error", "made up", "made up too"))
    frame = LogFrame(number=1, ack=0, epoch="worker", lines=lines, dropped=(("7", 4),))
    for _ in range(2):
        stage.say(asker, book, frame)

    series = stage.ask(book, ReadMetrics(req_id=ReqId("m"))).value["series"]

    assert {labels[0]: count for labels, count in series["log_lines"].items() if count} == {
        "info": 2,
        "error": 1,
        "other": 2,
    }
    assert series["log_lines_lost"] == {(): 4}
    assert series["log_followers"] == {(): 0}
