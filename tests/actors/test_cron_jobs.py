"""A worker's jobs on a clock that belongs to the test."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.actors.cron_jobs import CronJobs, JobRun
from flora.actors.metrics import WorkerCounters
from flora.messages.cron import CronJobSpec, CronRun
from flora.messages.errors import Conflict, NotFound
from flora.messages.ids import GuildId

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp()
G, H = "55", "66"


def spec(name: str = "job", expression: str = "* * * * *", **options: bool) -> CronJobSpec:
    return CronJobSpec(name=name, expression=expression, **options)


class Plan:
    """One worker's jobs."""

    def __init__(self, *specs: CronJobSpec, at_s: float = NOON) -> None:
        self.counters = WorkerCounters()
        self.jobs = CronJobs(self.counters)
        if specs:
            self.jobs.serve(G, 1, specs, at_s)

    def at(self, seconds: float) -> list[str]:
        """The names of what starts so long after noon."""
        return [run.name for run in self.jobs.due(NOON + seconds)]

    def end(self, name: str = "job", outcome: str = "ok", key: int = 1) -> JobRun | None:
        ended = self.jobs.ended(G, key, name, outcome, 1500)
        return ended.following if ended is not None else None

    def facts(self, name: str = "job", guild_id: str = G) -> dict:
        return next(facts for facts in self.jobs.describe(guild_id) if facts["name"] == name)


def test_given_a_job_when_its_minute_comes_then_it_runs_once_and_is_due_the_next_minute():
    plan = Plan(spec())

    assert plan.at(59.9) == []
    assert plan.at(60.2) == ["job"]
    assert plan.at(60.4) == []
    assert plan.jobs.next_due_s() == NOON + 120
    assert plan.counters.cron_late_us == pytest.approx(200_000, abs=2)


@pytest.mark.scenario("T56")
def test_given_a_due_job_when_it_starts_then_it_is_told_its_name_and_when_it_was_started():
    plan = Plan(spec('morning "round"'))

    (run,) = plan.jobs.due(NOON + 60.25)

    assert orjson.loads(run.payload) == {"name": 'morning "round"', "scheduledAt": "2026-06-01T12:01:00.250000+00:00"}
    assert (run.guild_id, run.key) == (G, 1)


@pytest.mark.scenario("T59")
def test_given_skip_if_running_when_a_run_takes_90_s_then_the_next_time_is_skipped_and_the_one_after_runs():
    plan = Plan(spec(skip_if_running=True))

    assert plan.at(60) == ["job"]
    assert plan.at(120) == []
    assert plan.end() is None
    assert plan.at(180) == ["job"]
    assert (plan.facts()["runs"], plan.facts()["skipped"], plan.counters.cron_skipped) == (2, 1, 1)


@pytest.mark.scenario("T60")
def test_given_no_skipping_when_a_run_takes_minutes_then_one_run_waits_for_it_and_no_more():
    plan = Plan(spec())

    assert plan.at(60) == ["job"]
    assert plan.at(120) == plan.at(180) == plan.at(240) == []
    following = plan.end()

    assert following is not None
    assert orjson.loads(following.payload)["scheduledAt"].startswith("2026-06-01T12:02:00")
    assert plan.end() is None
    assert (plan.facts()["runs"], plan.facts()["missed"], plan.counters.cron_missed) == (2, 2, 2)


@pytest.mark.scenario("T61")
def test_given_a_worker_that_stood_still_for_10_s_when_it_goes_on_then_there_is_one_run_not_ten():
    plan = Plan(spec(expression="* * * * * *"))

    assert plan.at(1) == ["job"]
    plan.end()
    assert plan.at(11.5) == ["job"]
    plan.end()
    assert plan.at(11.9) == []
    assert plan.at(12) == ["job"]
    assert plan.facts()["missed"] == 9


@pytest.mark.scenario("T62")
def test_given_a_job_of_this_year_that_is_due_once_when_it_has_run_then_it_is_gone():
    plan = Plan(spec("party", "0 0 0 2 6 * 2026"), spec())

    assert "party" in plan.at(12 * 3600)
    assert [facts["name"] for facts in plan.jobs.describe(G)] == ["party", "job"]
    plan.end("party")

    assert [facts["name"] for facts in plan.jobs.describe(G)] == ["job"]
    assert "party" not in plan.at(36 * 3600)


@pytest.mark.scenario("T64")
def test_given_a_job_registered_within_a_second_when_asked_then_it_is_due_at_the_full_minute():
    plan = Plan(spec(), at_s=NOON + 10.5)

    assert plan.jobs.next_due_s() == NOON + 60


@pytest.mark.scenario("T66")
def test_given_a_redeploy_without_jobs_when_time_passes_then_nothing_runs():
    plan = Plan(spec())

    plan.jobs.serve(G, 2, (), NOON + 30)

    assert plan.at(60) == []
    assert plan.jobs.next_due_s() is None
    assert plan.jobs.describe(G) == []


@pytest.mark.scenario("T66")
def test_given_the_same_name_in_two_guilds_when_one_leaves_then_the_other_goes_on():
    plan = Plan(spec())
    plan.jobs.serve(H, 2, (spec(),), NOON)

    assert [run.guild_id for run in plan.jobs.due(NOON + 60)] == [G, H]
    plan.jobs.drop(G)
    plan.jobs.ended(H, 2, "job", "ok", 1)

    assert [run.guild_id for run in plan.jobs.due(NOON + 120)] == [H]


def test_given_a_running_job_when_another_script_comes_then_the_job_may_run_again_and_the_old_end_counts_for_nothing():
    plan = Plan(spec(skip_if_running=True))
    plan.at(60)

    plan.jobs.serve(G, 2, (spec(skip_if_running=True),), NOON + 70)

    assert plan.end(key=1) is None
    assert plan.at(120) == ["job"]
    assert plan.facts()["running"]


def test_given_a_redeploy_while_a_job_is_due_when_the_tick_comes_then_its_time_is_not_lost():
    plan = Plan(spec())

    plan.jobs.serve(G, 2, (spec(),), NOON + 60.1)

    assert plan.at(60.2) == ["job"]


def test_given_a_rebuilt_isolate_when_it_says_its_jobs_again_then_times_history_and_runs_under_way_stay():
    plan = Plan(spec(), spec("hourly", "@hourly"))
    plan.at(60)
    plan.end(outcome="threw")
    plan.at(120)
    before = plan.jobs.describe(G)

    plan.jobs.serve(G, 1, (spec(), spec("hourly", "@hourly")), NOON + 130)

    assert plan.jobs.describe(G) == before
    assert before[0]["running"]
    assert (before[0]["runs"], before[0]["failures"]) == (2, 1)


def test_given_another_expression_under_the_same_name_when_it_comes_then_it_is_a_new_job():
    plan = Plan(spec())
    plan.at(60)

    plan.jobs.serve(G, 1, (spec(expression="@hourly"),), NOON + 70)

    assert plan.facts()["last"] is None
    assert plan.jobs.next_due_s() == NOON + 3600


def test_given_a_job_when_somebody_runs_it_now_then_its_schedule_stays_and_it_cannot_be_run_twice_at_once():
    plan = Plan(spec())

    run = plan.jobs.run_now(G, "job", NOON + 5)
    with pytest.raises(Conflict):
        plan.jobs.run_now(G, "job", NOON + 6)
    with pytest.raises(NotFound):
        plan.jobs.run_now(G, "Job", NOON + 6)

    assert run.name == "job"
    assert plan.jobs.next_due_s() == NOON + 60
    plan.end()
    assert plan.facts()["last"] == {"at": "2026-06-01T12:00:05.000000+00:00", "outcome": "ok", "duration_ms": 1.5}


def known(at_s: float, expression: str = "@hourly", outcome: str | None = "ok") -> CronRun:
    return CronRun(guild_id=GuildId(G), job="job", expression=expression, at_s=at_s, outcome=outcome, elapsed_us=7000)


@pytest.mark.parametrize(
    ("catch_up", "last", "runs"),
    [
        (True, known(NOON - 7200), 1),
        (True, known(NOON - 10), 1),  # noon itself
        (True, known(NOON + 10), 0),
        (True, known(NOON - 7200, outcome=None), 1),  # first seen then, and never run
        (True, known(NOON - 7200, "@daily"), 0),
        (False, known(NOON - 7200), 0),
    ],
)
def test_given_a_last_run_before_a_restart_when_a_time_has_passed_then_one_run_makes_up_for_it_if_wanted(
    catch_up, last, runs
):
    plan = Plan(spec(expression="@hourly", catch_up=catch_up), at_s=NOON + 60)

    started = plan.jobs.remember(G, [last], NOON + 61)

    assert len(started) == runs
    assert plan.jobs.next_due_s() == NOON + 3600


def test_given_a_job_that_ran_already_when_its_past_arrives_late_then_there_is_nothing_to_make_up_for():
    plan = Plan(spec(expression="* * * * *", catch_up=True))
    plan.at(60)

    assert plan.jobs.remember(G, [known(NOON - 7200, "* * * * *")], NOON + 61) == []


def test_given_a_stored_run_when_jobs_are_described_then_it_is_shown_as_the_last_one():
    plan = Plan(spec(expression="@hourly"))

    plan.jobs.remember(G, [known(NOON - 7200)], NOON + 1)

    assert plan.facts()["last"] == {"at": "2026-06-01T10:00:00.000000+00:00", "outcome": "ok", "duration_ms": 7.0}
    assert plan.facts()["next"][0] == "2026-06-01T13:00:00.000000+00:00"


@pytest.mark.scenario("T53")
def test_given_jobs_when_they_go_to_another_worker_and_back_then_nothing_is_lost_and_a_run_under_way_does_not_block():
    plan = Plan(spec(), spec("hourly", "@hourly"))
    plan.at(60)
    plan.end()
    plan.at(120)
    exported = plan.jobs.export(G)
    plan.jobs.drop(G)

    other = Plan()
    other.jobs.expect(G, exported)
    other.jobs.serve(G, 9, (spec(), spec("hourly", "@hourly")), NOON + 500)

    assert other.jobs.export(G) == exported
    assert not other.facts()["running"]
    assert [run.key for run in other.jobs.due(NOON + 500)] == [9]


STEPS = st.lists(st.tuples(st.sampled_from(["tick", "end", "rebuild", "deploy"]), st.integers(1, 200)), max_size=60)


@settings(deadline=None)
@given(steps=STEPS, skip=st.booleans(), expression=st.sampled_from(["* * * * *", "*/7 * * * * *", "@hourly"]))
def test_given_any_course_of_events_when_jobs_run_then_no_time_is_served_twice_and_none_overlap(
    steps, skip, expression
):
    wanted = (spec(expression=expression, skip_if_running=skip),)
    plan = Plan(*wanted)
    now_s, key, under_way, started_at = NOON, 1, 0, []

    for step, seconds in steps:
        now_s += seconds
        if step == "tick":
            runs = plan.jobs.due(now_s)
            started_at += [now_s] * len(runs)
            under_way += len(runs)
            due_s = plan.jobs.next_due_s()
            assert due_s is not None
            assert due_s > now_s
        elif step == "end":
            ended = plan.jobs.ended(G, key, "job", "ok", 1)
            if ended is not None:
                under_way += (ended.following is not None) - 1
        elif step == "rebuild":
            plan.jobs.serve(G, key, wanted, now_s)
        else:
            key, under_way = key + 1, 0
            plan.jobs.serve(G, key, wanted, now_s)
        assert 0 <= under_way <= 1
        assert plan.facts()["running"] is bool(under_way)

    assert len(set(started_at)) == len(started_at)
