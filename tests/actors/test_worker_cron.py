"""Cron jobs in a worker with real isolates: which script's jobs run, and when. Its wall clock belongs to the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from flora_tests_actors_recorded_worker import GUILD, RecordedWorker

from flora.messages.base import Failed, Ok
from flora.messages.cron import (
    AdoptCronJobs,
    CronDue,
    CronRun,
    CronTick,
    ListCronJobs,
    NoteCronRuns,
    RunCronJob,
)
from flora.messages.dispatch import Outcome, UnloadIsolate
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Peers, PeersChanged, Start

pytestmark = pytest.mark.service

NOON_S = int(datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp())
OTHER = GuildId("66")
JOB_A = "cron('a', '* * * * *', () => console.log('a of v1'))"
NEVER_ENDS = "for (;;) await new Promise((r) => setTimeout(r, 5))"


class CronWorker(RecordedWorker):
    """Its wall clock is the test's."""

    PEERS: ClassVar[Peers] = Peers(
        router="router", gateway="gateway", cron="cron", deployer="deployer", log_book="log book"
    )

    def __init__(self) -> None:
        super().__init__()
        self.now_s = float(NOON_S)

    def on_start(self, msg: Start) -> object:
        started = super().on_start(msg)
        self._host.wall_clock = lambda: self.now_s
        return started

    def tick(self, after_noon_s: float) -> None:
        self.now_s = NOON_S + after_noon_s
        self.receiveMessage(CronTick(now_us=int(self.now_s * 1e6), tick_no=1), "cron")

    def listed(self, guild_id: GuildId = GUILD) -> list[dict]:
        return self.asks(ListCronJobs(req_id=self.new_id("list"), guild_id=guild_id)).value

    def until_quiet(self) -> None:
        """Until no run is under way."""
        self.until(lambda: not any(facts["running"] for facts in self.listed()))

    def due_s(self) -> int | None:
        """What Cron was told last, in seconds after noon."""
        told = self.got(CronDue)[-1].due_s
        return None if told is None else told - NOON_S


@pytest.fixture
def make_worker(begin_worker: Callable[..., CronWorker]) -> Callable[..., CronWorker]:
    return lambda **runtime: begin_worker(CronWorker(), runtime)


def outcomes(worker: CronWorker) -> dict[str, Any]:
    return {facts["name"]: facts["last"] and facts["last"]["outcome"] for facts in worker.listed()}


@pytest.mark.scenario("T19")
def test_given_a_job_of_v1_when_v2_fails_to_load_then_it_still_runs_on_v1(make_worker):
    worker = make_worker()
    worker.load(JOB_A)

    failed = worker.load("throw new Error('v2 is broken')")
    worker.tick(60)
    worker.until_quiet()

    assert isinstance(failed, Failed)
    assert outcomes(worker) == {"a": Outcome.OK}
    assert worker.listed()[0]["runs"] == 1


@pytest.mark.scenario("T20")
def test_given_a_job_of_v1_when_v2_declares_one_and_throws_then_only_v3_changes_what_runs(make_worker):
    worker = make_worker()
    worker.load(JOB_A)

    worker.load("cron('b', '* * * * *', () => {}); throw new Error('after all not')")
    worker.tick(60)
    worker.until_quiet()
    of_v1 = outcomes(worker)
    worker.load("cron('c', '* * * * *', () => {})")
    worker.tick(120)
    worker.until_quiet()

    assert of_v1 == {"a": Outcome.OK}
    assert outcomes(worker) == {"c": Outcome.OK}


def test_given_jobs_when_they_come_run_and_go_then_cron_is_told_when_to_come(make_worker):
    worker = make_worker()

    worker.load("cron('a', '*/5 * * * *', () => {})")
    worker.flush()
    first = worker.due_s()
    worker.tick(300.2)
    worker.flush()
    second = worker.due_s()
    worker.asks(UnloadIsolate(req_id=ReqId("unload"), guild_id=GUILD))
    worker.flush()

    assert (first, second, worker.due_s()) == (300, 600, None)


def test_given_a_new_cron_when_it_is_met_then_it_hears_when_to_come(make_worker):
    worker = make_worker()
    worker.load(JOB_A)
    worker.flush()
    before = len(worker.got(CronDue))

    worker.receiveMessage(PeersChanged(peers=Peers(router="router", cron=None)), "runtime")
    worker.receiveMessage(PeersChanged(peers=Peers(router="router", cron="cron again")), "runtime")

    assert len(worker.got(CronDue)) == before + 1
    assert worker.sent[-1][0] == "cron again"
    assert worker.due_s() == 60


def test_given_a_tick_that_comes_too_early_when_nothing_is_due_then_cron_hears_again_when_to_come(make_worker):
    worker = make_worker()
    worker.load(JOB_A)
    worker.flush()
    before = len(worker.got(CronDue))

    worker.tick(30)

    assert len(worker.got(CronDue)) == before + 1
    assert worker.listed()[0]["runs"] == 0


def test_given_a_clock_that_is_set_back_when_that_is_seen_then_jobs_do_not_wait_for_the_time_they_knew(make_worker):
    worker = make_worker()
    worker.now_s = NOON_S + 6 * 3600
    worker.load("cron('a', '*/5 * * * *', () => {})")
    worker._cron.look_at_clock()
    before = worker.due_s()

    worker.now_s = NOON_S + 1.0
    worker._cron.look_at_clock()
    worker.flush()

    assert (before, worker.due_s()) == (6 * 3600 + 300, 300)


@pytest.mark.scenario("T57")
def test_given_a_job_that_waits_for_seconds_when_another_guild_gets_an_event_then_that_is_answered_at_once(make_worker):
    worker = make_worker(cron_timeout_s=30)
    worker.load(f"cron('slow', '* * * * *', async () => {{ {NEVER_ENDS} }})")
    worker.load("on('messageCreate', () => {})", OTHER)
    worker.tick(60)

    started_s = time.monotonic()
    worker.dispatch(1, "", guild_id=OTHER)
    worker.until(worker.done)

    assert time.monotonic() - started_s < 1
    assert worker.listed()[0]["running"]


@pytest.mark.scenario("T58")
def test_given_a_job_over_its_limit_when_its_next_minute_comes_then_it_runs_again(make_worker):
    worker = make_worker(cron_timeout_s=0.2)
    worker.load(f"cron('slow', '* * * * *', async () => {{ {NEVER_ENDS} }})")

    worker.tick(60)
    worker.until_quiet()
    first = worker.listed()[0]
    worker.tick(120)
    worker.until_quiet()

    assert first["last"]["outcome"] == Outcome.TIMED_OUT
    assert first["next"][0].startswith("2026-06-01T12:02:00")
    assert (worker.listed()[0]["runs"], worker.listed()[0]["failures"]) == (2, 2)
    assert (worker.counters.cron_timeouts, worker.counters.timeout_errors) == (2, 2)


@pytest.mark.scenario("T59")
def test_given_skip_if_running_when_a_run_goes_on_for_two_minutes_then_one_time_is_left_out(make_worker):
    worker = make_worker(cron_timeout_s=100)
    worker.load("""
        let end; on('messageCreate', () => end())
        cron('slow', '* * * * *', () => new Promise((r) => { end = r; setTimeout(r, 1e6) }), { skipIfRunning: true })
    """)

    worker.tick(60)
    worker.until(lambda: worker.listed()[0]["running"])
    worker.tick(120)
    worker.dispatch(1, "")
    worker.until_quiet()
    worker.tick(180)

    facts = worker.listed()[0]
    assert (facts["runs"], facts["skipped"], facts["missed"]) == (2, 1, 0)


@pytest.mark.scenario("T62")
def test_given_a_job_of_one_day_when_it_has_run_then_it_is_gone_and_cron_is_not_needed_any_more(make_worker):
    worker = make_worker()
    worker.load("cron('party', '0 0 0 2 6 * 2026', () => {})")

    worker.tick(12 * 3600)
    worker.until(lambda: not worker.listed())
    worker.flush()

    assert worker.counters.cron_runs == 1
    assert worker.due_s() is None


@pytest.mark.scenario("T66")
def test_given_a_redeploy_without_jobs_when_the_minute_comes_then_nothing_runs(make_worker):
    worker = make_worker()
    worker.load(JOB_A)

    worker.load("on('messageCreate', () => {})")
    worker.tick(60)

    assert worker.listed() == []
    assert worker.counters.cron_runs == 0


def test_given_a_job_when_somebody_runs_it_then_the_answer_comes_with_its_end(make_worker):
    worker = make_worker()
    worker.load("cron('a', '@daily', () => { throw new Error('no') })")

    done = worker.asks(RunCronJob(req_id=ReqId("now"), guild_id=GUILD, job="a"))
    unknown = worker.asks(RunCronJob(req_id=ReqId("unknown"), guild_id=GUILD, job="b"))
    nobody = worker.asks(RunCronJob(req_id=ReqId("nobody"), guild_id=OTHER, job="a"))

    assert done.value["name"] == "a"
    assert done.value["outcome"] == Outcome.THREW
    assert done.value["at"].startswith("2026-06-01T12:00:00")
    assert (unknown.code, nobody.code) == ("NOT_FOUND", "NOT_FOUND")


def test_given_a_run_that_somebody_waits_for_when_the_script_is_unloaded_then_that_is_said(make_worker):
    worker = make_worker(cron_timeout_s=30)
    worker.load(f"cron('slow', '@daily', async () => {{ {NEVER_ENDS} }})")
    worker.receiveMessage(RunCronJob(req_id=ReqId("now"), guild_id=GUILD, job="slow"), "router")

    worker.asks(UnloadIsolate(req_id=ReqId("unload"), guild_id=GUILD))

    assert worker.answer("now").code == "UNAVAILABLE"


# What earlier lives know


def adopt(worker: CronWorker, *runs: CronRun) -> None:
    """The deployer's answer."""
    (asked,) = worker.got(AdoptCronJobs)
    worker.receiveMessage(Ok(req_id=asked.req_id, value=runs), "deployer")


def test_given_a_job_that_catches_up_when_its_time_passed_while_nothing_ran_then_it_runs_at_once_and_only_once(
    make_worker,
):
    worker = make_worker()
    worker.load("cron('a', '@hourly', () => {}, { catchUp: 'once' }); cron('b', '@hourly', () => {})")
    past = {"expression": "@hourly", "at_s": NOON_S - 9000.0, "outcome": "ok", "elapsed_us": 5}

    adopt(worker, *(CronRun(guild_id=GUILD, job=name, **past) for name in "ab"))
    noted = worker.got(NoteCronRuns)
    worker.until_quiet()

    assert [(run.job, run.outcome) for note in noted for run in note.runs] == [
        ("a", None)
    ]  # before anything can go wrong
    assert [(facts["name"], facts["runs"]) for facts in worker.listed()] == [("a", 1), ("b", 0)]
    assert worker.listed()[1]["last"]["at"].startswith("2026-06-01T09:30")


def test_given_a_run_when_it_has_ended_then_the_deployer_hears_of_it_within_a_second_or_so(make_worker):
    worker = make_worker()
    worker.load(JOB_A)
    worker.tick(60)

    (note,) = worker.until(lambda: worker.got(NoteCronRuns))

    assert [(run.guild_id, run.job, run.at_s, run.outcome) for run in note.runs] == [(GUILD, "a", NOON_S + 60, "ok")]


def test_given_no_deployer_for_a_while_when_it_is_back_then_it_is_asked_again(make_worker, monkeypatch):
    monkeypatch.setattr("flora.actors.worker_cron.ADOPT_AGAIN_S", 0.05)
    worker = make_worker()
    worker.load(JOB_A)
    (asked,) = worker.got(AdoptCronJobs)

    worker.receiveMessage(Failed(req_id=asked.req_id, code="UNAVAILABLE", message="not now"), "deployer")

    worker.until(lambda: len(worker.got(AdoptCronJobs)) == 2)
