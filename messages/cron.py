"""Scheduled jobs: worker ↔ cron, front-end → router → worker, worker → deployer.

Worker → cron      CronDue, whenever its next job is due at another time than it said.
Cron → worker      CronTick: something is due.
Front-end → router → worker   ListCronJobs → Ok; RunCronJob → Ok | Failed.
Worker → deployer  AdoptCronJobs → Ok | Failed: what is known of last runs; NoteCronRuns: what ran since.
"""

from __future__ import annotations

from dataclasses import dataclass

from flora.messages.base import Message, Request
from flora.messages.ids import GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class CronJobSpec:
    """One call of `cron()` in a script, checked."""

    name: str
    expression: str
    skip_if_running: bool = False
    catch_up: bool = False  # one run for what came due while the guild was not running


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRun:
    """The last run of a job, as it is stored. A job that has not run yet has one without outcome, from when it was first seen."""

    guild_id: GuildId
    job: str
    expression: str  # a job with another expression is another job
    at_s: float  # seconds since the epoch: when it was started, or seen
    outcome: str | None = None  # an Outcome; None: it has not ended
    elapsed_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CronJobState:
    """A job as it travels to another worker."""

    spec: CronJobSpec
    due_s: int | None  # seconds since the epoch; None: never again
    last: CronRun | None
    runs: int
    failures: int
    skipped: int
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CronDue(Message):
    """When the first job of this worker is due; the newest one counts."""

    worker_id: int
    due_s: int | None  # seconds since the epoch; None: nothing is


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTick(Message):
    """Run what is due. Answered by CronDue, or sent again."""

    now_us: int  # since the epoch
    tick_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCronJobs(Request):
    """Ok.value: [{"name", "expression", "skip_if_running", "catch_up": "once" | "none", "next": [RFC 3339, …], "running", "waiting",
    "last": {"at": RFC 3339, "outcome", "duration_ms"} | None, "runs", "failures", "skipped", "missed"}, …] in order of registration.
    The counts are since the script was loaded in its worker. Failed: NOT_FOUND (no script), UNAVAILABLE.
    """

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCronJob(Request):
    """Run a job now, beside its schedule. Ok.value: {"name", "at": RFC 3339, "outcome", "duration_ms"} when it has ended.

    Failed: NOT_FOUND, CONFLICT (it runs), UNAVAILABLE.
    """

    guild_id: GuildId
    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptCronJobs(Request):
    """A guild's jobs are these from now on. Ok.value: tuple of CronRun, of those that were known; others are forgotten."""

    guild_id: GuildId
    runs: tuple[CronRun, ...]  # as if each was first seen now


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteCronRuns(Message):
    """Remember these, each in place of what is known of its job."""

    runs: tuple[CronRun, ...]
