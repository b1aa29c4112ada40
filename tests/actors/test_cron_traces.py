"""When runs of cron jobs were due, how late they began, and why: on a clock that belongs to the test."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flora.actors.cron_jobs import CronJobs, Delay, JobRun
from flora.actors.cron_traces import CronTraces
from flora.actors.metrics import WorkerCounters
from flora.messages.base import TraceContext
from flora.messages.cron import CronJobSpec, CronRun
from flora.messages.ids import GuildId
from flora.messages.trace import new_span_id, new_trace_id, working_on
from flora.storage.trace_record import TraceRecord

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp()
GUILD = "55"


def jobs_of(*, expression: str = "* * * * *", **options: bool) -> CronJobs:
    jobs = CronJobs(WorkerCounters())
    jobs.serve(GUILD, 1, [CronJobSpec(name="job", expression=expression, **options)], NOON)
    return jobs


class Desk:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.kept: list[TraceRecord] = []
        self.traces = CronTraces(self.kept.append, "worker 0", 500_000, lambda: self.now_s)

    def begin(self, run: JobRun, after_noon_s: float) -> TraceContext:
        return self.traces.begin(run, NOON + after_noon_s)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_given_a_run_in_time_then_it_is_followed_and_its_isolate_goes_on_from_there(desk):
    (run,) = jobs_of().due(NOON + 60.1)

    trace = desk.begin(run, 60.1)

    (record,) = desk.kept
    assert (record.kind, record.name, record.event, record.guild_id) == ("cron", "cron.due", "job", GUILD)
    assert (record.at_us, record.took_us, record.outcome) == (
        int((NOON + 60) * 1e6),
        pytest.approx(100_000, abs=2),
        "ok",
    )
    assert (trace.trace_id, trace.span_id, trace.sampled) == (record.trace, record.span, True)


@pytest.mark.parametrize(
    ("told_after_noon_s", "why"), [(60.0, Delay.BUSY), (62.5, Delay.CLOCK)], ids=["worker", "cron"]
)
def test_given_a_late_run_then_its_record_says_how_late_and_why(desk, told_after_noon_s: float, why: Delay):
    (run,) = jobs_of().due(NOON + 63, NOON + told_after_noon_s)

    desk.begin(run, 63)

    (record,) = desk.kept
    assert (record.outcome, record.why, record.took_us) == ("late", why, 3_000_000)


def test_given_a_run_that_waited_for_the_one_before_then_its_record_says_so(desk):
    jobs = jobs_of()
    jobs.due(NOON + 60)
    jobs.due(NOON + 120)
    ended = jobs.ended(GUILD, 1, "job", "ok", 1)
    assert ended is not None
    assert ended.following is not None

    desk.begin(ended.following, 130)

    (record,) = desk.kept
    assert (record.outcome, record.why, record.took_us) == ("late", Delay.BEFORE, 10_000_000)


def test_given_a_guild_that_was_moved_when_its_job_runs_late_then_the_move_is_the_reason(desk):
    jobs, target = jobs_of(), CronJobs(WorkerCounters())
    target.expect(GUILD, jobs.export(GUILD))
    target.serve(GUILD, 9, [CronJobSpec(name="job", expression="* * * * *")], NOON + 61)

    (run,) = target.due(NOON + 62)
    desk.begin(run, 62)
    target.ended(GUILD, 9, "job", "ok", 1)
    (following,) = target.due(NOON + 122)

    assert desk.kept[0].why == Delay.MOVING
    assert following.delay == Delay.BUSY


def test_given_a_run_that_makes_up_for_a_time_away_then_its_record_says_so(desk):
    jobs = jobs_of(expression="@hourly", catch_up=True)
    last = CronRun(
        guild_id=GuildId(GUILD), job="job", expression="@hourly", at_s=NOON - 7200, outcome="ok", elapsed_us=1
    )

    (run,) = jobs.remember(GUILD, [last], NOON + 1)
    desk.begin(run, 1)

    assert desk.kept[0].why == Delay.AWAY


@pytest.mark.parametrize(("skip_if_running", "outcome", "times"), [(True, "skipped", 1), (False, "missed", 2)])
def test_given_a_time_that_passes_without_a_run_then_that_leaves_a_record(
    desk, outcome: str, times: int, *, skip_if_running: bool
):
    jobs = jobs_of(skip_if_running=skip_if_running)
    for minute in range(1, 3 + times - 1):
        jobs.due(NOON + 60 * minute)
    if not skip_if_running:
        jobs.due(NOON + 60 * 4)

    for unrun in jobs.take_unrun():
        desk.traces.unrun(unrun)

    assert [record.outcome for record in desk.kept] == [outcome] * times
    assert {record.why for record in desk.kept} == {Delay.BEFORE}
    assert jobs.take_unrun() == []


def test_given_a_run_that_somebody_asked_for_then_it_belongs_to_what_asked(desk):
    trace = TraceContext(trace_id=new_trace_id(), span_id=new_span_id(), sampled=True)

    with working_on(trace):
        run = desk.begin(jobs_of().run_now(GUILD, "job", NOON + 5), 5)

    (record,) = desk.kept
    assert (record.trace, record.parent, record.took_us) == (trace.trace_id, trace.span_id, 0)
    assert run.trace_id == trace.trace_id


def test_given_many_runs_in_time_then_few_are_followed_and_a_late_one_still_is(desk):
    runs = [desk.begin(JobRun(GUILD, 1, "job", "{}", NOON), 0.1) for _ in range(100)]
    late = desk.begin(JobRun(GUILD, 1, "job", "{}", NOON), 2.0)

    assert 0 < sum(run.sampled for run in runs) <= 5
    assert late.sampled
