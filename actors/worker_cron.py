"""A worker's scheduled jobs: starts what is due, tells Cron when to come again, the deployer what ran, and people how it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flora.actors.base import FloraActor
from flora.actors.cron_jobs import CronJobs, JobRun, outcome_facts
from flora.actors.cron_traces import CronTraces
from flora.actors.metrics import WorkerCounters
from flora.messages.base import Address, Failed, Ok
from flora.messages.cron import (
    AdoptCronJobs,
    CronDue,
    CronJobSpec,
    CronRun,
    CronTick,
    ListCronJobs,
    NoteCronRuns,
    RunCronJob,
)
from flora.messages.errors import FloraError, NotFound, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.messages.isolate import RunJob
from flora.messages.lifecycle import Peers

log = logging.getLogger(__name__)

UNTOLD = -1
NOTE_EVERY_S = 1.0
CLOCK_STEP_S = 30.0  # less than that is waited for
ADOPT_AGAIN_S = 5.0
ADOPT_LIMIT_S = 30.0
ADOPT_TRIES = 12  # a minute; then the deployer will have been away for so long that nobody expects a catch-up


class WorkerCron:
    """`shell` is the worker: it sends, asks and has timers."""

    def __init__(
        self,
        shell: FloraActor,
        worker_id: int,
        counters: WorkerCounters,
        start: Callable[[int, RunJob], None],
        serves: Callable[[str], bool],
        clock: Callable[[], float],
        traces: CronTraces,
    ) -> None:
        """Makes a part without jobs.

        Args:
            start: Hands a run to the isolate with this key.
            serves: Whether this worker has a script of a guild.
            clock: Wall clock, in seconds.
        """
        self.jobs = CronJobs(counters)
        self._traces = traces
        self._shell = shell
        self._worker_id = worker_id
        self._start = start
        self._serves = serves
        self._clock = clock
        self._told_due_s: int | None = None  # Cron's idea of it; UNTOLD: it wants to hear
        self._may_have_moved = False  # the time of the next job
        self._seen_s = 0.0  # what the clock said last
        self._notes: dict[tuple[str, str], CronRun] = {}
        self._note_timer = 0
        self._asked: dict[
            tuple[str, str], tuple[RunCronJob, Address]
        ] = {}  # by (guild, job): who wants to know how it ends

    # The set of jobs

    def serve(self, guild_id: str, key: int, specs: tuple[CronJobSpec, ...]) -> None:
        """A guild's jobs, all of them, and the isolate they run in."""
        if not guild_id:
            return
        has_come = self.jobs.is_expected(guild_id)
        self.jobs.serve(guild_id, key, specs, self._clock())
        self._may_have_moved = True
        if specs and not has_come:  # else the deployer knows them, and they have brought their last runs along
            self._adopt(guild_id, key, ADOPT_TRIES)

    def drop(self, guild_id: str) -> None:
        """A guild's script runs here no more."""
        self.jobs.drop(guild_id)
        self._may_have_moved = True
        for asked in [asked for asked in self._asked if asked[0] == guild_id]:
            request, asker = self._asked.pop(asked)
            self._shell.reply_failed(request, asker, Unavailable("the script was ended meanwhile", guild_id=guild_id))

    def resume(self, guild_id: str) -> None:
        """A guild that was about to leave stays."""
        self._begin(self.jobs.resume(guild_id, self._clock()))

    def _adopt(self, guild_id: str, key: int, tries: int) -> None:
        """Asks what ran in earlier lives. Not of use any more when the guild's script is another one by then."""
        now_s = self._clock()
        runs = self.jobs.first_seen(guild_id, now_s)
        if not runs or self.jobs.key_of(guild_id) != key:
            return

        def answered(reply: Ok | Failed) -> None:
            if isinstance(reply, Ok):
                if self.jobs.key_of(guild_id) == key:
                    self._begin(self.jobs.remember(guild_id, reply.value, self._clock()))
            elif tries > 1:
                self._shell.after(ADOPT_AGAIN_S, lambda: self._adopt(guild_id, key, tries - 1))
            else:
                log.warning("last runs of cron jobs not known: %s", reply.message, extra={"guild_id": guild_id})

        if self._shell.peers.deployer is None:
            self._shell.after(ADOPT_AGAIN_S, lambda: self._adopt(guild_id, key, tries - 1))
        else:
            request = AdoptCronJobs(req_id=ReqId(""), guild_id=GuildId(guild_id), runs=runs)
            self._shell.ask(self._shell.peers.deployer, request, answered, ADOPT_LIMIT_S)

    # Runs

    def tick(self, msg: CronTick) -> None:
        """Cron says that something is due. Its clock may be a little ahead of ours, on another machine."""
        self._told_due_s = UNTOLD  # it wants to hear when to come again, also if that has not changed
        self._may_have_moved = True
        self._begin(self.jobs.due(max(self._clock(), msg.now_us / 1e6), msg.now_us / 1e6))
        for unrun in self.jobs.take_unrun():
            self._traces.unrun(unrun)

    def look_at_clock(self) -> None:
        """Once a second: somebody may have set it back. Set forward it makes jobs due, and Cron notices."""
        now_s = self._clock()
        if now_s < self._seen_s - CLOCK_STEP_S:
            log.warning("the clock was set back by %.0f s", self._seen_s - now_s, extra={"action": "clock_set_back"})
            self.jobs.clock_was_set_back(now_s)
            self._may_have_moved = True
        self._seen_s = now_s

    def ended(self, guild_id: str, key: int, rows: tuple[tuple[str, str, int], ...]) -> None:
        """Runs have come to their end: (name, outcome, elapsed_us)."""
        for name, outcome, elapsed_us in rows:
            ended = self.jobs.ended(guild_id, key, name, outcome, elapsed_us)
            if ended is None:
                continue
            self._note(ended.run)
            self._answer(ended.run)
            if ended.following is not None:
                self._begin([ended.following])

    def _begin(self, runs: list[JobRun]) -> None:
        for run in runs:
            trace = self._traces.begin(run, self._clock())
            self._start(run.key, RunJob(name=run.name, payload=run.payload, trace=trace))
            started = self.jobs.to_note_at_once(run)
            if started is not None:
                self._note(started)
                self._send_notes()

    def _answer(self, run: CronRun) -> None:
        asked = self._asked.pop((run.guild_id, run.job), None)
        if asked is not None:
            self._shell.reply_ok(*asked, {"name": run.job, **outcome_facts(run)})

    # Requests

    def list(self, msg: ListCronJobs, sender: Address) -> None:
        """Answers with a guild's jobs."""
        if self._serves(msg.guild_id):
            self._shell.reply_ok(msg, sender, self.jobs.describe(msg.guild_id))
        else:
            self._shell.reply_failed(msg, sender, _no_script(msg.guild_id))

    def run(self, msg: RunCronJob, sender: Address) -> None:
        """Starts a job; answered when it has ended."""
        if not self._serves(msg.guild_id):
            self._shell.reply_failed(msg, sender, _no_script(msg.guild_id))
            return
        run = self.jobs.run_now(msg.guild_id, msg.job, self._clock())
        self._asked[msg.guild_id, msg.job] = (msg, msg.reply_to or sender)
        self._begin([run])

    # To others

    def on_peers(self, peers: Peers, before: Peers) -> None:
        """A new Cron knows nothing; a new deployer may not have heard the last notes, which the next runs replace."""
        if peers.cron != before.cron:
            self._told_due_s = UNTOLD
            self._may_have_moved = True

    def poll(self, cron: Address | None) -> CronDue | None:
        """What to tell Cron now, if anything."""
        if not self._may_have_moved or cron is None:
            return None
        self._may_have_moved = False
        due_s = self.jobs.next_due_s()
        if due_s == self._told_due_s:
            return None
        self._told_due_s = due_s
        return CronDue(worker_id=self._worker_id, due_s=due_s)

    def _note(self, run: CronRun) -> None:
        self._notes[run.guild_id, run.job] = run
        if not self._note_timer:
            self._note_timer = self._shell.after(NOTE_EVERY_S, self._send_notes)

    def _send_notes(self) -> None:
        self._shell.cancel_timer(self._note_timer)
        self._note_timer = 0
        notes, self._notes = tuple(self._notes.values()), {}
        if notes:
            self._shell.tell(self._shell.peers.deployer, NoteCronRuns(runs=notes))


def _no_script(guild_id: str) -> FloraError:
    return NotFound("this guild has no script that runs", guild_id=guild_id)
