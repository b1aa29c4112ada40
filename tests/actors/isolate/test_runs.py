"""The books of one isolate's events."""

from __future__ import annotations

import time

import pytest

from flora.actors.isolate.runs import Runs
from flora.messages.series import Histogram


def made(*seqs: int) -> Runs:
    runs = Runs()
    runs.add((seq, "__cron:tick" if seq % 2 == 0 else "messageCreate", "{}") for seq in seqs)
    return runs


def test_given_batches_that_start_one_after_the_other_when_noted_then_each_event_waited_since_its_batch_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, clock = Histogram("worker_wait"), iter([10.0, 10.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    runs = Runs(waits)
    runs.add([(1, "messageCreate", "{}"), (2, "messageCreate", "{}")])
    runs.add([(5, "messageCreate", "{}")])
    runs.add_job("tick", "{}")
    runs.hand_over()

    runs.note_started(1, 10.001)
    runs.note_started(1, 11.0)
    runs.note_started(5, 11.0)

    assert waits.sample()[1] == pytest.approx(1_000 + 1_000_000 + 500_000, abs=2)
    assert sum(waits.sample()[0]) == 3


def limit_s_of(name: str) -> float:
    return 5.0 if name.startswith("__cron:") else 3.0


def test_given_events_that_started_when_time_passes_then_each_has_the_limit_of_its_kind() -> None:
    runs = made(1, 2)
    runs.hand_over()
    runs.note_started(2, 10.0)

    assert runs.overdue(13.5, limit_s_of) == [1]
    assert runs.overdue(15.5, limit_s_of) == [1, 2]
    assert runs.overdue(1000.0, lambda _: 0.0) == []


def test_given_a_pause_when_it_is_over_then_it_does_not_count_against_what_had_started() -> None:
    runs = made(1)
    runs.hand_over()
    runs.note_started(1, 10.0)

    runs.postpone(4.0)

    assert runs.overdue(16.0, limit_s_of) == []
    assert runs.overdue(17.5, limit_s_of) == [1]


def test_given_handed_events_when_taken_back_then_those_not_started_wait_again_in_order() -> None:
    runs = made(1, 2, 3, 4)
    runs.hand_over()
    runs.add([(5, "messageCreate", "{}")])

    assert runs.take_back(2) == [3, 4]
    assert (runs.unfinished, runs.waiting) == (2, 3)
    assert [event[0] for event in runs.hand_over()] == [3, 4, 5]


def test_given_waiting_events_when_taken_then_none_is_left() -> None:
    runs = made(1, 2)

    assert [event[0] for event in runs.take_waiting()] == [1, 2]
    assert runs.waiting == 0


def test_given_runs_of_jobs_between_events_when_the_isolate_dies_then_what_had_started_is_known_of_both_kinds():
    runs = Runs()
    runs.add([(10, "messageCreate", "{}")])
    runs.add_job("a", "{}")
    runs.add([(11, "messageCreate", "{}")])
    runs.add_job("b", "{}")
    handed = [(seq, name) for seq, name, _ in runs.hand_over()]

    runs.job_runs_started = 1
    runs.note_started(10, 1.0)
    lost = runs.isolate_died(10)

    assert handed == [(10, "messageCreate"), (-1, "__cron:a"), (11, "messageCreate"), (-2, "__cron:b")]
    assert [seq for seq, _, _ in lost] == [10, -1]
    assert [seq for seq, _, _ in runs.hand_over()] == [11, -2]


def test_given_a_run_of_a_job_that_started_when_time_passes_then_its_own_limit_counts():
    runs = Runs()
    runs.add_job("a", "{}")
    runs.hand_over()
    runs.job_runs_started = 1
    runs.note_started(0, 100.0)

    assert runs.overdue(104.0, limit_s_of) == []
    assert runs.overdue(105.5, limit_s_of) == [-1]
