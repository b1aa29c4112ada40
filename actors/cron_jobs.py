"""The jobs of a worker's guilds: what is due, what runs, what waits, what is left out. Pure; times are seconds since the epoch.

A guild's jobs belong to one isolate, named by its key: they come with its script and go with it. Of a job at most one run is under way
and at most one waits for that one to end.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from flora.actors.cron_schedule import Schedule, schedule_of, utc
from flora.actors.metrics import WorkerCounters
from flora.messages.cron import CronJobSpec, CronJobState, CronRun
from flora.messages.dispatch import Outcome
from flora.messages.errors import Conflict, NotFound
from flora.messages.ids import GuildId

NEXT_SHOWN = 3
MAX_MISSED_COUNTED = 100  # of one delay; to look further would cost more than the number is worth
LATE_S = 1.0  # times are whole seconds
SUCCESSES = frozenset({Outcome.OK})


class Delay(StrEnum):
    """Why a run begins later than it was due, or not at all."""

    BUSY = "the worker was busy"
    CLOCK = "cron came late: its process was restarted, or stood still"
    BEFORE = "the run before was still going"
    AWAY = "the guild was not running when it was due"
    MOVING = "the guild was being moved"


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run that is to begin now."""

    guild_id: str
    key: int  # of the isolate
    name: str
    payload: str  # JSON text
    due_s: float | None = None  # None: somebody wants it now
    delay: Delay = Delay.BUSY  # what it was, if it is late


@dataclass(frozen=True, slots=True)
class Unrun:
    """A time that passed without a run."""

    guild_id: str
    name: str
    due_s: float
    is_wanted: bool  # by the author: `skipIfRunning`
    delay: Delay
    times: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of a run brings."""

    run: CronRun
    following: JobRun | None  # the one that waited for it


@dataclass(slots=True, eq=False)
class Job:
    """One job and what has become of it."""

    spec: CronJobSpec
    schedule: Schedule
    due_s: int | None
    running_since_s: float | None = None
    waiting_since_s: float | None = None  # a run that came due while another was under way
    last: CronRun | None = None
    runs: int = 0
    failures: int = 0
    skipped: int = 0  # because one was under way and the author wanted none beside it
    missed: int = 0  # for any other reason
    gone: bool = False  # its guild has no such job any more
    was_moved: bool = False  # it came from another worker, after its time

    @property
    def is_over(self) -> bool:
        """Its years are over and nothing of it runs."""
        return self.due_s is None and self.running_since_s is None and self.waiting_since_s is None


@dataclass(slots=True)
class _Guild:
    key: int
    jobs: dict[str, Job] = field(default_factory=dict)  # in order of registration


class CronJobs:
    """Every job of one worker."""

    def __init__(self, counters: WorkerCounters) -> None:
        """Makes an empty set; `counters` are the worker's."""
        self._counters = counters
        self._guilds: dict[str, _Guild] = {}
        self._arriving: dict[str, dict[str, CronJobState]] = {}  # of guilds that come from another worker
        self._paused: set[str] = set()  # guilds about to leave: what comes due waits
        self._heap: list[tuple[int, int, str, Job]] = []  # (due, order, guild, job); also what does not count any more
        self._order = itertools.count()
        self._unrun: list[Unrun] = []

    # The set

    def serve(self, guild_id: str, key: int, specs: Iterable[CronJobSpec], now_s: float) -> None:
        """These are the guild's jobs from now on, all of them; they run in the isolate with this key.

        A job that was there before, by name and expression, keeps its next time and its history; its runs only if the isolate is the same.
        """
        self._paused.discard(guild_id)
        before = self._guilds.pop(guild_id, None)
        arriving = self._arriving.pop(guild_id, {})
        old = before.jobs if before is not None else {}
        same_isolate = before is not None and before.key == key
        guild = _Guild(key)
        for spec in specs:
            known = old.get(spec.name)
            if known is not None and known.spec.expression == spec.expression:
                job = replace(known, spec=spec)
                if not same_isolate:
                    job.running_since_s = job.waiting_since_s = None
            else:
                job = _arrived(spec, arriving.get(spec.name), now_s)
            guild.jobs[spec.name] = job
            self._queue(guild_id, job)
        _retire(old.values())
        if guild.jobs:
            self._guilds[guild_id] = guild

    def drop(self, guild_id: str) -> None:
        """The guild's script runs here no more."""
        self._paused.discard(guild_id)
        guild = self._guilds.pop(guild_id, None)
        _retire(guild.jobs.values() if guild is not None else ())

    def export(self, guild_id: str) -> tuple[CronJobState, ...]:
        """The guild's jobs for another worker. Runs under way are not among them: they end with their isolate."""
        guild = self._guilds.get(guild_id)
        return tuple(_state(job) for job in guild.jobs.values()) if guild is not None else ()

    def expect(self, guild_id: str, jobs: Iterable[CronJobState]) -> None:
        """What another worker exported: `serve` goes on from there."""
        self._arriving[guild_id] = {state.spec.name: state for state in jobs}

    def is_expected(self, guild_id: str) -> bool:
        """Whether the next `serve` goes on from what another worker exported."""
        return guild_id in self._arriving

    def expect_no_more(self, guild_id: str) -> None:
        """The guild does not come."""
        self._arriving.pop(guild_id, None)

    def pause(self, guild_id: str) -> None:
        """The guild is about to leave: nothing begins any more, what comes due waits."""
        self._paused.add(guild_id)

    def resume(self, guild_id: str, now_s: float) -> list[JobRun]:
        """It stays. Returns what is to be run now."""
        self._paused.discard(guild_id)
        guild = self._guilds.get(guild_id)
        starting = []
        for job in guild.jobs.values() if guild is not None else ():
            if job.waiting_since_s is not None and job.running_since_s is None:
                due_s, job.waiting_since_s = job.waiting_since_s, None
                starting.append(self._begin(guild_id, job, now_s, due_s, Delay.MOVING))
        return starting

    # Time

    def next_due_s(self) -> int | None:
        """When the first job is due."""
        while self._heap and _is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float, told_s: float | None = None) -> list[JobRun]:
        """What is to be run now. However late this is: one run, then the next time that lies ahead.

        told_s: When Cron said that something is due.
        """
        starting: list[JobRun] = []
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            _, _, guild_id, job = heapq.heappop(self._heap)
            missed = self._advance(guild_id, job, due_s, now_s)
            job.missed += missed
            self._counters.cron_missed += missed
            delay = Delay.CLOCK if told_s is not None and told_s - due_s >= LATE_S else Delay.BUSY
            delay, job.was_moved = Delay.MOVING if job.was_moved else delay, False
            if missed:
                self._note_unrun(guild_id, job, due_s, delay, times=missed)
            if job.running_since_s is None and guild_id not in self._paused:
                self._counters.late(int((now_s - due_s) * 1e6))
                starting.append(self._begin(guild_id, job, now_s, due_s, delay))
            elif job.running_since_s is not None and job.spec.skip_if_running:
                job.skipped += 1
                self._counters.cron_skipped += 1
                self._note_unrun(guild_id, job, due_s, Delay.BEFORE, is_wanted=True)
            elif job.waiting_since_s is None:
                job.waiting_since_s = now_s
            else:
                job.missed += 1
                self._counters.cron_missed += 1
                self._note_unrun(guild_id, job, due_s, Delay.BEFORE)
        return starting

    def take_unrun(self) -> list[Unrun]:
        """Times that passed without a run since the last call."""
        unrun, self._unrun = self._unrun, []
        return unrun

    def _note_unrun(
        self, guild_id: str, job: Job, due_s: float, delay: Delay, *, is_wanted: bool = False, times: int = 1
    ) -> None:
        self._unrun.append(Unrun(guild_id, job.spec.name, due_s, is_wanted, delay, times))

    def clock_was_set_back(self, now_s: float) -> None:
        """Times that lie further ahead than need be are computed anew, or an hourly job would wait for a day."""
        for guild_id, guild in self._guilds.items():
            for job in guild.jobs.values():
                job.due_s = job.schedule.next_after(now_s)
                self._queue(guild_id, job)

    def _advance(self, guild_id: str, job: Job, due_s: int, now_s: float) -> int:
        """Sets the next time, which lies after now. Returns how many between were passed over."""
        passed, at_s = 0, job.schedule.next_after(due_s)
        while at_s is not None and at_s <= now_s:
            passed += 1
            at_s = job.schedule.next_after(at_s if passed < MAX_MISSED_COUNTED else now_s)
        job.due_s = at_s
        self._queue(guild_id, job)
        return passed

    def _queue(self, guild_id: str, job: Job) -> None:
        if job.due_s is not None:
            heapq.heappush(self._heap, (job.due_s, next(self._order), guild_id, job))

    # Runs

    def _begin(
        self, guild_id: str, job: Job, scheduled_at_s: float, due_s: float | None = None, delay: Delay = Delay.BUSY
    ) -> JobRun:
        job.running_since_s = scheduled_at_s
        job.runs += 1
        self._counters.cron_runs += 1
        job.last = _run_of(guild_id, job.spec, scheduled_at_s)
        payload = {"name": job.spec.name, "scheduledAt": _rfc3339(scheduled_at_s)}
        key, text = self._guilds[guild_id].key, orjson.dumps(payload).decode()
        return JobRun(guild_id, key, job.spec.name, text, due_s, delay)

    def run_now(self, guild_id: str, name: str, now_s: float) -> JobRun:
        """Somebody wants a run beside the schedule.

        Raises:
            NotFound: there is no such job. Conflict: it is running.
        """
        job = self._job(guild_id, name)
        if job is None:
            raise NotFound(f"this guild has no cron job named {name!r}", guild_id=guild_id, job=name)
        if job.running_since_s is not None:
            raise Conflict(f"cron job {name!r} is running; try again when it has ended", guild_id=guild_id, job=name)
        return self._begin(guild_id, job, now_s)

    def ended(self, guild_id: str, key: int, name: str, outcome: str, elapsed_us: int) -> Ended | None:
        """A run has come to its end. None: it was of an isolate that is not the guild's any more."""
        guild = self._guilds.get(guild_id)
        job = self._job(guild_id, name)
        if guild is None or guild.key != key or job is None or job.running_since_s is None or job.last is None:
            return None
        self._count(outcome)
        job.failures += outcome not in SUCCESSES
        run = job.last = replace(job.last, outcome=outcome, elapsed_us=elapsed_us)
        job.running_since_s, waiting_since_s, job.waiting_since_s = None, job.waiting_since_s, None
        if waiting_since_s is not None and guild_id in self._paused:
            job.waiting_since_s = waiting_since_s
            return Ended(run, None)
        if waiting_since_s is not None:
            return Ended(run, self._begin(guild_id, job, waiting_since_s, waiting_since_s, Delay.BEFORE))
        if job.is_over:
            job.gone = True
            del guild.jobs[name]
        return Ended(run, None)

    def _count(self, outcome: str) -> None:
        self._counters.cron_failures += outcome not in SUCCESSES
        self._counters.cron_timeouts += outcome == Outcome.TIMED_OUT

    def to_note_at_once(self, run: JobRun) -> CronRun | None:
        """What is to be remembered of a run that has just begun: jobs that catch up must not make up for it."""
        job = self._job(run.guild_id, run.name)
        return job.last if job is not None and job.spec.catch_up else None

    # What earlier lives know

    def key_of(self, guild_id: str) -> int | None:
        """The isolate that a guild's jobs run in."""
        guild = self._guilds.get(guild_id)
        return guild.key if guild is not None else None

    def first_seen(self, guild_id: str, now_s: float) -> tuple[CronRun, ...]:
        """For AdoptCronJobs."""
        guild = self._guilds.get(guild_id)
        return tuple(_run_of(guild_id, job.spec, now_s) for job in guild.jobs.values()) if guild is not None else ()

    def remember(self, guild_id: str, known: Iterable[CronRun], now_s: float) -> list[JobRun]:
        """Takes last runs in; returns the runs that are to make up for what came due since, one per job that wants that."""
        starting: list[JobRun] = []
        for run in known:
            job = self._job(guild_id, run.job)
            if job is None or job.last is not None or job.spec.expression != run.expression:
                continue
            if job.spec.catch_up and (due_s := job.schedule.next_after(run.at_s)) is not None and due_s <= now_s:
                self._counters.late(int((now_s - due_s) * 1e6))
                starting.append(self._begin(guild_id, job, now_s, due_s, Delay.AWAY))
            elif run.outcome is not None:
                job.last = run
        return starting

    # For people

    def describe(self, guild_id: str) -> list[dict[str, Any]]:
        """As ListCronJobs says."""
        guild = self._guilds.get(guild_id)
        return [_described(job) for job in guild.jobs.values()] if guild is not None else []

    def _job(self, guild_id: str, name: str) -> Job | None:
        guild = self._guilds.get(guild_id)
        return guild.jobs.get(name) if guild is not None else None


def _retire(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.gone = True


def _is_stale(entry: tuple[int, int, str, Job]) -> bool:
    due_s, _, _, job = entry
    return job.gone or job.due_s != due_s


def _arrived(spec: CronJobSpec, state: CronJobState | None, now_s: float) -> Job:
    schedule = schedule_of(spec.expression)
    if state is None or state.spec.expression != spec.expression:
        return Job(spec, schedule, schedule.next_after(now_s))
    return Job(
        spec,
        schedule,
        state.due_s,
        last=state.last,
        runs=state.runs,
        failures=state.failures,
        skipped=state.skipped,
        missed=state.missed,
        was_moved=state.due_s is not None and state.due_s <= now_s,
    )


def _state(job: Job) -> CronJobState:
    # What was to run when the one under way has ended is due at once over there.
    due_s = job.due_s if job.waiting_since_s is None else int(job.waiting_since_s)
    return CronJobState(
        spec=job.spec,
        due_s=due_s,
        last=job.last,
        runs=job.runs,
        failures=job.failures,
        skipped=job.skipped,
        missed=job.missed,
    )


def _run_of(guild_id: str, spec: CronJobSpec, at_s: float) -> CronRun:
    return CronRun(guild_id=GuildId(guild_id), job=spec.name, expression=spec.expression, at_s=at_s)


def _described(job: Job) -> dict[str, Any]:
    last = job.last
    return {
        "name": job.spec.name,
        "expression": job.spec.expression,
        "skip_if_running": job.spec.skip_if_running,
        "catch_up": "once" if job.spec.catch_up else "none",
        "next": [_rfc3339(at_s) for at_s in _upcoming(job)],
        "running": job.running_since_s is not None,
        "waiting": job.waiting_since_s is not None,
        "last": None if last is None else outcome_facts(last),
        "runs": job.runs,
        "failures": job.failures,
        "skipped": job.skipped,
        "missed": job.missed,
    }


def outcome_facts(run: CronRun) -> dict[str, Any]:
    """A run for people; outcome and duration are None while it goes on."""
    duration_ms = None if run.elapsed_us is None else run.elapsed_us / 1000
    return {"at": _rfc3339(run.at_s), "outcome": run.outcome, "duration_ms": duration_ms}


def _upcoming(job: Job) -> list[int]:
    times: list[int] = []
    at_s = job.due_s
    while at_s is not None and len(times) < NEXT_SHOWN:
        times.append(at_s)
        at_s = job.schedule.next_after(at_s)
    return times


def _rfc3339(at_s: float) -> str:
    return utc(at_s).isoformat(timespec="microseconds")
