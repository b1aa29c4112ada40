"""The isolates a worker owns: which one serves a guild, which load, which were replaced, which do not end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from thespian.actors import ActorExitRequest, ActorSystem

from flora.actors.base import FloraActor
from flora.actors.fetch.service import Fetches
from flora.actors.guild_secrets.book import SecretBook
from flora.actors.isolate.actor import GuildIsolate
from flora.actors.isolate.host import IsolateHost
from flora.actors.log_sender import LogSender
from flora.actors.metrics import WorkerCounters
from flora.actors.worker_cron import WorkerCron
from flora.actors.worker_reports import RouterReports
from flora.actors.worker_tracing import EventHops
from flora.messages.base import Address, Failed, Message
from flora.messages.cron import CronJobSpec
from flora.messages.dispatch import LoadIsolate, Outcome
from flora.messages.errors import LoadFailed, Unavailable, error_from
from flora.messages.isolate import (
    BootIsolate,
    CloseIsolate,
    GivePlaceholders,
    IsolateClosed,
    IsolateLoaded,
    LoadScript,
    RunEvents,
    RunJob,
)
from flora.messages.secrets import GuildSecrets

log = logging.getLogger(__name__)

DEFAULT_RUNTIME = ""  # stands where a guild's id stands, for the isolate that belongs to no guild

REPLACED_LIMIT_S = 30.0  # for what runs in an isolate that was replaced, where a dispatch has no limit of its own
WEDGE_PATIENCE_S = 20.0  # so long an isolate that serves nobody may take to end before anybody is told


@dataclass(slots=True)
class Resident:
    """One isolate of this worker, as the worker sees it."""

    key: int
    guild_id: str
    address: Address
    request: LoadIsolate | None  # the load that is to be answered; None once it has been
    asker: Address | None
    serving: bool = False
    given_up: bool = False  # who wanted it loaded is gone
    handlers: tuple[str, ...] = ()
    jobs: tuple[CronJobSpec, ...] = ()
    quiet_until_s: float = 0.0  # monotonic; as its last report said
    follows: set[int] = field(default_factory=set)  # isolates it replaced that may still begin events
    held: list[tuple[int, str, str]] = field(default_factory=list)  # events that wait for those


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the isolates of a worker share with its other parts."""

    local: ActorSystem  # the isolates' own, within this process
    host: IsolateHost
    reports: RouterReports
    fetches: Fetches
    secrets: SecretBook
    logs: LogSender
    cron: WorkerCron
    counters: WorkerCounters
    settle: Callable[[], None]  # takes in at once what isolates have said
    left: Callable[[str], None]  # a guild has nothing that serves it here any more
    ready: Callable[[], None]  # the isolate of no guild has loaded, or never will


class Isolates:
    """Builds isolates, swaps them, ends them. `shell` is the worker: it answers requests and has timers."""

    def __init__(self, shell: FloraActor, around: Surroundings, hops: EventHops | None = None) -> None:
        """Makes a worker's part without isolates. hops: where tracing is on."""
        self.residents: dict[int, Resident] = {}
        self.serving: dict[str, Resident] = {}
        self.wedged: dict[int, tuple[str, str]] = {}  # isolates that do not end: (guild, why), as reported
        self.abandoned: set[str] = set()  # guilds of those; their events are no longer ours
        self.active: set[int] = set()  # isolates in which something runs or loads
        self.on_change: Callable[[str], None] = lambda guild_id: None  # before another isolate serves a guild, or none
        self._next_key = 1
        self._shell = shell
        self._hops = hops
        self._around = around
        self._local = around.local
        self._reports = around.reports
        self._counters = around.counters

    def tell(self, resident: Resident, message: Message) -> None:
        """Sends a message of messages/isolate.py."""
        self._local.tell(resident.address, message)

    def run(self, resident: Resident, events: list[tuple[int, str, str]]) -> None:
        """Hands events over: (seq, name, payload) in order."""
        self.active.add(resident.key)
        if resident.follows:
            resident.held += events
        else:
            self._local.tell(resident.address, RunEvents(events=tuple(events)))

    def has(self, guild_id: str) -> bool:
        """Whether an isolate of the guild is here, in whatever state."""
        return guild_id in self.serving or any(each.guild_id == guild_id for each in self.residents.values())

    def run_job(self, key: int, run: RunJob) -> None:
        """Hands a run of a cron job over."""
        resident = self.residents.get(key)
        if resident is not None:
            self.active.add(key)
            if self._hops is not None:
                self._hops.job_handed(key, resident.guild_id, run)
            self.tell(resident, run)

    # Loading

    def build(self, guild_id: str, request: LoadIsolate | None, asker: Address | None) -> None:
        """Makes an isolate beside the one that serves; a request is answered when it has loaded."""
        if request is not None and request.jobs is not None:
            self._around.cron.jobs.expect(guild_id, request.jobs)
        self.abandoned.discard(guild_id)
        key = self._next_key
        self._next_key += 1
        resident = Resident(key, guild_id, self._local.createActor(GuildIsolate), request, asker)
        self.residents[key] = resident
        self.active.add(key)
        self._counters.isolate_count += 1
        self.tell(resident, BootIsolate(key=key, guild_id=guild_id, host=self._around.host))
        script = request.script if request is not None else None
        source_map = request.source_map if request is not None else None
        restore = request is not None and request.restore
        placeholders = self._around.secrets.placeholders(guild_id)
        load = LoadScript(script=script, source_map=source_map, placeholders=placeholders, restore=restore)
        self.tell(resident, load)

    def give_secrets(self, guild_id: str, secrets: GuildSecrets) -> bool:
        """Takes newer secrets over and tells the guild's isolates, also those that load. False: it has none here."""
        here = [resident for resident in self.residents.values() if resident.guild_id == guild_id]
        if here and self._around.secrets.give(guild_id, secrets):
            placeholders = self._around.secrets.placeholders(guild_id)
            for resident in here:
                self.tell(resident, GivePlaceholders(placeholders=placeholders))
        return bool(here)

    def supersede(self, guild_id: str, why: str = "a newer script was to be loaded instead") -> None:
        """A newer load has come: who asked for the older one no longer waits for it, and it must not be the last to finish."""
        for resident in self.residents.values():
            if resident.guild_id == guild_id and resident.request is not None:
                self._shell.reply_failed(resident.request, resident.asker, Unavailable(why))
                self._give_up(resident)

    def give_up_loads(self) -> None:
        """Who asked for them is told that their end is not known, and has the stored script loaded; it must be the last to load."""
        for resident in self.residents.values():
            if resident.request is not None:
                self._give_up(resident)

    def _give_up(self, resident: Resident) -> None:
        self._comes_not(resident)
        resident.request, resident.given_up = None, True
        self.close(resident)

    def _comes_not(self, resident: Resident) -> None:
        if resident.request is not None and resident.request.jobs is not None:
            self._around.cron.jobs.expect_no_more(resident.guild_id)

    def loaded(self, message: IsolateLoaded) -> None:
        """From now on it serves its guild, and the one before ends with its last event."""
        resident = self.residents[message.key]
        if resident.given_up:
            return
        if message.error is not None:
            self._load_failed(resident, message.code or LoadFailed.code, message.error)
            return
        self.on_change(resident.guild_id)
        old = self.serving.get(resident.guild_id)
        self.serving[resident.guild_id] = resident
        resident.serving = True
        if resident.guild_id == DEFAULT_RUNTIME:
            self._around.ready()
            return
        self._reports.subscribed(resident.guild_id, resident.handlers)
        self._around.cron.serve(resident.guild_id, resident.key, resident.jobs)
        if old is not None:
            self._counters.isolate_restarts += 1
            old.serving = False
            resident.follows, old.follows = old.follows | {old.key}, set()
            resident.held, old.held = old.held, []
            self.close(old, self._shell.settings.runtime.dispatch_timeout_s or REPLACED_LIMIT_S)
        if resident.request is not None:
            heard = self._reports.book.highest(DEFAULT_RUNTIME)
            value = {"replaced": old is not None, "handlers": resident.handlers, "heard": heard}
            self._shell.reply_ok(resident.request, resident.asker, value)
            resident.request = None

    def _load_failed(self, resident: Resident, code: str, error: str) -> None:
        self._comes_not(resident)
        self.close(resident)
        if resident.guild_id == DEFAULT_RUNTIME:
            # The worker itself is well; every deploy will be refused with the same text, which says more than no system at all.
            log.error("the SDK does not load: %s", error, extra={"action": "sdk_failed", "code": code})
            self._around.ready()
        elif resident.request is not None:
            self._around.logs.line("error", resident.guild_id, f"deploy failed: {error}")
            failed = Failed(req_id=resident.request.req_id, code=code, message=error)
            self._shell.reply_failed(resident.request, resident.asker, error_from(failed))

    # Serving

    def guilds(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(guild id, event names) of those that are served here."""
        return tuple((r.guild_id, r.handlers) for r in self.serving.values() if r.guild_id)

    def handles(self, resident: Resident, names: tuple[str, ...]) -> None:
        """An isolate's handlers have changed."""
        resident.handlers = names
        if resident.serving and resident.guild_id:
            self._reports.subscribed(resident.guild_id, names)

    def has_jobs(self, resident: Resident, jobs: tuple[CronJobSpec, ...]) -> None:
        """An isolate's cron jobs have changed; those of one that loads count when it serves."""
        resident.jobs = jobs
        if resident.serving:
            self._around.cron.serve(resident.guild_id, resident.key, jobs)

    def pass_on(self, resident: Resident, events: tuple[tuple[int, str, str], ...]) -> None:
        """Events that an isolate had not begun go to the one that took its place. Runs of cron jobs do not: it has jobs of its own."""
        events = tuple(event for event in events if event[0] > 0)
        heir = self.serving.get(resident.guild_id)
        if heir is not None and heir is not resident:
            self.run(heir, list(events))
        elif resident.guild_id:
            for seq, _, _ in events:
                self._reports.done(seq, resident.guild_id, Outcome.DIED)

    def starts_no_more(self, resident: Resident) -> None:
        """A replaced isolate has handed back what it had not begun: now the next one may begin, with the oldest events first."""
        heir = self.serving.get(resident.guild_id)
        if heir is None or resident.key not in heir.follows:
            return
        heir.follows.discard(resident.key)
        if not heir.follows and heir.held:
            held, heir.held = sorted(heir.held), []
            self.run(heir, held)

    def _give_up_held(self, resident: Resident) -> None:
        """It will not serve: what it never got is nobody's."""
        held, resident.held = resident.held, []
        resident.follows = set()
        self.pass_on(resident, tuple(held))

    # Ending

    def take_out(self, resident: Resident) -> None:
        """An isolate serves no more, and stays: its guild may come back to it."""
        del self.serving[resident.guild_id]
        resident.serving = False

    def put_back(self, resident: Resident) -> None:
        """It serves again."""
        self.serving[resident.guild_id] = resident
        resident.serving = True

    def unload(self, guild_id: str) -> None:
        """Stops a guild's isolate at once, and those of it that load."""
        self.on_change(guild_id)
        self.supersede(guild_id, "the script was to be unloaded meanwhile")
        resident = self.serving.pop(guild_id, None)
        if resident is not None:
            self._around.cron.drop(guild_id)
            resident.serving = False
            self._give_up_held(resident)
            self.close(resident)
        self._around.left(guild_id)

    def lose(self, resident: Resident, why: str) -> None:
        """An isolate could not be rebuilt."""
        if self.serving.get(resident.guild_id) is resident:
            self.on_change(resident.guild_id)
            del self.serving[resident.guild_id]
            self._around.cron.drop(resident.guild_id)
            log.error("a guild's script was given up: %s", why, extra={"guild_id": resident.guild_id})
            self._give_up_held(resident)
            self._reports.lost(resident.guild_id, why)
            self._around.left(resident.guild_id)
        resident.serving = False
        self.close(resident)

    def report_wedged(self, resident: Resident, why: str) -> None:
        """Nothing of the guild runs here any more but the isolate that does not end; what had started has been reported."""
        guild_id = resident.guild_id
        if self.serving.get(guild_id) is resident:
            self.on_change(guild_id)
            del self.serving[guild_id]
            self._around.cron.drop(guild_id)
        resident.serving = False
        resident.held = []  # they are the router's to send again
        self.abandoned.add(guild_id)
        self.wedged[resident.key] = (guild_id, why)
        self._reports.wedged(guild_id, why)
        self._around.left(guild_id)
        self._counters.isolates_wedged += 1
        log.error("an isolate does not end: %s", why, extra={"guild_id": guild_id})

    def closed(self, message: IsolateClosed) -> None:
        """An isolate has ended, or is out of use and does not."""
        key = message.key
        resident = self.residents.get(key)
        if resident is None:
            return
        self.active.discard(key)
        self._around.fetches.cancel(key)
        self.starts_no_more(resident)
        if message.wedged:
            log.error("an isolate that is not in use any more does not end", extra={"guild_id": resident.guild_id})
            self._shell.after(WEDGE_PATIENCE_S, lambda: self._wedge_is_overdue(key))
            return
        del self.residents[key]
        if self._hops is not None:
            self._hops.isolate_gone(key)
        if all(other.guild_id != resident.guild_id for other in self.residents.values()):
            self._around.secrets.forget(resident.guild_id)
        self._counters.isolate_count -= 1
        self._local.tell(resident.address, ActorExitRequest())
        if not self.has(resident.guild_id):
            self._around.left(resident.guild_id)
        if self.wedged.pop(key, None) is not None:
            self._reports.wedge_is_over(resident.guild_id)

    def _wedge_is_overdue(self, key: int) -> None:
        """An isolate that was replaced or refused still burns its core. Where its guild runs, it must not be again."""
        resident = self.residents.get(key)
        if resident is None or key in self.wedged:
            return
        self.on_change(resident.guild_id)
        successor = self.serving.pop(resident.guild_id, None)
        if successor is not None:
            self._around.cron.drop(resident.guild_id)
            successor.serving = False
            self.close(successor)
            self._around.settle()
        self.report_wedged(resident, "an isolate of this guild, no longer in use, does not end")

    def close(self, resident: Resident, limit_s: float = 0) -> None:
        """Has an isolate end, at once or within a limit for what runs in it."""
        self.tell(resident, CloseIsolate(limit_s=limit_s))
