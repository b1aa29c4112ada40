"""The worker: one process, one V8, many guild isolates."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import Any

from thespian.actors import ActorSystem

from flora.actors.base import DEFERRED, FloraActor
from flora.actors.cron_traces import CronTraces
from flora.actors.fetch.service import FetchDone, Fetches
from flora.actors.guild_secrets.book import SecretBook
from flora.actors.guild_secrets.filling import filling_of
from flora.actors.isolate.cores import pin_worker
from flora.actors.isolate.host import IsolateHost
from flora.actors.isolate.memory_watch import MemoryGuard, resident_bytes
from flora.actors.kv.backends import backend_of
from flora.actors.kv.exports import EXPORTS_FOLDER
from flora.actors.kv.service import KvDone, KvService
from flora.actors.kv.tally import KvTally
from flora.actors.kv.worker_side import WorkerSide
from flora.actors.log_sender import LogSender
from flora.actors.metrics import WorkerCounters
from flora.actors.os_limits import limit_process
from flora.actors.worker_calls import CallResult, RestCalls
from flora.actors.worker_cron import WorkerCron
from flora.actors.worker_isolates import DEFAULT_RUNTIME, Isolates, Resident, Surroundings
from flora.actors.worker_moves import WorkerMoves
from flora.actors.worker_reports import RouterReports
from flora.actors.worker_tracing import EventHops
from flora.actors.worker_usage import GuildUsage
from flora.actors.worker_watch import DEADLINE_SWEEP_S, Watch
from flora.messages.base import Address
from flora.messages.cron import CronTick, ListCronJobs, RunCronJob
from flora.messages.dispatch import DispatchFrame, LoadIsolate, Outcome, UnloadIsolate
from flora.messages.errors import Unavailable
from flora.messages.gateway import RestResultsFrame
from flora.messages.ids import GuildId
from flora.messages.isolate import (
    EngineSaid,
    IsolateClosed,
    IsolateFrozen,
    IsolateLoaded,
    IsolateReport,
    IsolateUsage,
    OpsAnswered,
)
from flora.messages.kv import KvCall, ReleaseKv
from flora.messages.lifecycle import Drain, Peers, ReadMetrics, Start
from flora.messages.logs import LogAck
from flora.messages.migration import DropFrozen, MoveOut, ThawGuild
from flora.messages.placement import ReadGuildUsage, ReadLoad
from flora.messages.secrets import GiveSecrets

log = logging.getLogger(__name__)

TICK_S = 1.0  # of the worker's own clock: memory, key-value stores


class Worker(FloraActor):
    """Owns the isolates of its guilds; forwards, arms timers, ends runs. Never runs guest code on its own thread.

    Receives   DispatchFrame, LoadIsolate, UnloadIsolate, MoveOut, ThawGuild, DropFrozen, GiveSecrets, KvCall, ReleaseKv, ReadMetrics,
               ReadGuildUsage, ReadLoad, ListCronJobs, RunCronJob (router), RestResultsFrame (gateway), CronTick (cron)
    Sends      WorkerFrame (router), RestFrame (gateway), LogFrame (log book), CronDue (cron), AdoptCronJobs, NoteCronRuns (deployer);
               to its isolates, in its local actor system, what messages/isolate.py lists
    State      isolates, REST calls under way: memory only; lost with the process, except the flight recorder. Its guilds'
               key-value stores are on disk, and this worker's alone while they are open.
    Supervises its isolates: each ends its own runs, asked by the deadline sweep; one that cannot be rebuilt is reported lost,
               one that does not end wedged.
    Fails      dies: the router reads the flight recorder and has the guilds loaded again.
    """

    uses_bridge = True  # for fetches; its loop starts with the first

    def __init__(self) -> None:
        super().__init__()
        self.counters = WorkerCounters()

    # Start and peers

    def on_start(self, msg: Start) -> object:
        assert msg.worker_id is not None
        pool_size = len(msg.peers.pool.members) or msg.settings.runtime.max_workers
        pin_worker(msg.worker_id, replace(msg.settings.runtime, max_workers=pool_size))
        self._reports = RouterReports(self.incarnation, self.after)
        workers = msg.settings.runtime.max_workers
        self._event_hops = EventHops(self.tracer, self._reports.traced, workers) if self.tracer.enabled else None
        self._reports.hops = self._event_hops
        self._calls = RestCalls(self.incarnation, self.after)
        self._logs = LogSender(self.incarnation)
        recorder = msg.settings.data_dir / "run" / f"worker-{msg.worker_id}-{self.incarnation}.recorder"
        self._host = IsolateHost(msg.settings, recorder, self.counters.series)
        limit_process(msg)
        self.watch(self._host.fileno())
        self._secrets = SecretBook()
        filling = filling_of(self._secrets, msg.settings.secrets, self.counters.series.fills_refused)
        self._fetches = Fetches(self.bridge, msg.settings.fetch, filling)
        self._start_request = msg
        self._cron = WorkerCron(
            *(self, msg.worker_id, self.counters),
            start=lambda key, run: self._isolates.run_job(key, run),  # noqa: PLW0108 - they are made later
            serves=lambda guild_id: guild_id in self._isolates.serving,
            clock=lambda: self._host.wall_clock(),  # noqa: PLW0108 - tests set it later
            traces=CronTraces(self._keep_record, self.name, msg.settings.trace.slow_ms * 1000, time.monotonic),
        )
        # A process already is an actor here; its isolates are actors of a system inside it. logDefs=False: they do not log.
        self._local = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        around = Surroundings(
            local=self._local,
            host=self._host,
            reports=self._reports,
            fetches=self._fetches,
            secrets=self._secrets,
            logs=self._logs,
            cron=self._cron,
            counters=self.counters,
            settle=self._drain_local,
            left=lambda guild_id: self._kv.release(GuildId(guild_id)),
            ready=self._ready,
        )
        self._isolates = Isolates(self, around, self._event_hops)
        self._usage = GuildUsage(self._isolates, self._host, self._drain_local)
        kv_side, kv_tally = WorkerSide(self, self._isolates, self._event_hops), KvTally(self.counters)
        exports_root = msg.settings.data_dir / EXPORTS_FOLDER
        self._kv = KvService(backend_of(msg.settings), kv_side, kv_tally, exports_root)
        self._moves = WorkerMoves(
            *(self, self._isolates, self._cron, self._kv, self._secrets),
            settle=self._drain_local,
            heard=lambda: self._reports.book.highest(DEFAULT_RUNTIME),
        )
        runtime = msg.settings.runtime
        memory = MemoryGuard(runtime.max_worker_memory_mb, pool_size)
        self._watch = Watch(self.after, self._isolates, self._host, memory, self.counters)
        self.after(TICK_S, self._tick)
        self._isolates.build(DEFAULT_RUNTIME, None, None)
        return DEFERRED

    def _ready(self) -> None:
        self.reply_ok(self._start_request, None, {"pid": os.getpid(), "recorder": str(self._host.recorder_path)})

    def on_peers(self, peers: Peers) -> None:
        self._cron.on_peers(peers, self.peers)
        if peers.pool.members and len(peers.pool.members) != len(self.peers.pool.members):
            self._watch.share_memory_with(len(peers.pool.members))
        if peers.router != self.peers.router and peers.router is not None:
            self._reports.forget_router()
            self._isolates.give_up_loads()
            self._moves.router_gone()
            self.send(peers.router, self._reports.state(self._isolates.guilds(), self._moves.frozen_guilds()))
            self._reports.remind(self._isolates.wedged.values())
        if peers.gateway != self.peers.gateway and peers.gateway is not None:
            self._answer(self._calls.gateway_gone())
        if peers.log_book != self.peers.log_book and (again := self._logs.moved(peers.log_book)) is not None:
            self.tell(peers.log_book, again)

    # From the router

    def receiveMsg_LoadIsolate(self, msg: LoadIsolate, sender: Address) -> None:
        """Builds an isolate beside the one that serves; answered when it has loaded."""
        if sender != self.peers.router:
            self.ignore(
                msg, "it is of a router that is gone, and with it who wanted to know"
            )  # `Isolates.give_up_loads`
            return
        if msg.secrets is not None:
            self._secrets.give(msg.guild_id, msg.secrets)
            self.counters.series.secrets_given += 1
        elif msg.guild_id not in self._secrets:
            self.reply_failed(msg, sender, Unavailable("the guild's secrets could not be read; try again"))
            return
        self._isolates.supersede(msg.guild_id)
        self._isolates.build(msg.guild_id, msg, msg.reply_to or sender)

    def receiveMsg_GiveSecrets(self, msg: GiveSecrets, sender: Address) -> None:
        """A guild's secrets have changed."""
        self.counters.series.secrets_given += 1
        self.reply_ok(msg, sender, self._isolates.give_secrets(msg.guild_id, msg.secrets))

    def receiveMsg_UnloadIsolate(self, msg: UnloadIsolate, sender: Address) -> None:
        """Stops a guild's isolate at once."""
        self._isolates.unload(msg.guild_id)
        self.reply_ok(msg, sender)

    def receiveMsg_MoveOut(self, msg: MoveOut, sender: Address) -> None:
        """A guild is to leave."""
        if sender == self.peers.router:
            self._moves.out(msg, sender)

    def receiveMsg_ThawGuild(self, msg: ThawGuild, sender: Address) -> None:
        """It stays after all."""
        if sender == self.peers.router:
            self._moves.thaw(msg, sender)

    def receiveMsg_DropFrozen(self, msg: DropFrozen, sender: Address) -> None:
        """It has arrived where it was to go."""
        if sender == self.peers.router:
            self._moves.drop(msg.guild_id, msg.epoch)

    def receiveMsg_DispatchFrame(self, msg: DispatchFrame, sender: Address) -> None:
        """Hands events to their isolates, each isolate's in one message."""
        if sender != self.peers.router:
            self.ignore(
                msg, "it is of a router that is gone"
            )  # its successor knows what has come before, and nothing of this
            return
        for frame in self._reports.link.receive(msg):
            self._take_events(frame)

    def _take_events(self, msg: DispatchFrame) -> None:
        by_guild: dict[str, list[tuple[int, str, str]]] = {}
        for seq, guild_id, name, payload in zip(msg.seqs, msg.guild_ids, msg.names, msg.payloads, strict=True):
            by_guild.setdefault(guild_id, []).append((seq, name, payload))
        reports, isolates = self._reports, self._isolates
        book, arrival = reports.book, self._event_hops.arrived(msg) if self._event_hops is not None else None
        broadcast = by_guild.pop(DEFAULT_RUNTIME, None)
        if broadcast is not None:
            book.took(DEFAULT_RUNTIME, [event[0] for event in broadcast])
            for resident in isolates.serving.values():
                isolates.run(resident, broadcast)
        for guild_id, events in by_guild.items():
            book.took(guild_id, [event[0] for event in events], arrival)
            owner = isolates.serving.get(guild_id)
            if owner is None and guild_id in isolates.abandoned:
                book.gave_up(guild_id)  # the router has been told, and sends them elsewhere
            elif owner is None:
                for seq, _, _ in events:
                    reports.done(seq, guild_id, Outcome.NO_ISOLATE)
            else:
                isolates.run(owner, events)

    def receiveMsg_KvCall(self, msg: KvCall, sender: Address) -> None:
        """A client's operation on key-value stores; this worker has the guild."""
        self._kv.call(msg, msg.reply_to or sender)

    def receiveMsg_ReleaseKv(self, msg: ReleaseKv, sender: Address) -> None:
        """Another worker is to have a guild's key-value stores."""
        self._kv.release(msg.guild_id, lambda: self.reply_ok(msg, sender))

    # From the gateway, the log book, and the loop that fetches

    def receiveMsg_RestResultsFrame(self, msg: RestResultsFrame, sender: Address) -> None:
        """Hands results of REST calls to the isolates that asked."""
        if sender != self.peers.gateway:
            self.ignore(
                msg, "it is of a gateway that is gone"
            )  # how its calls ended is not known; the scripts are told so
            return
        for frame in self._calls.link.receive(msg):
            if frame.timings and self._event_hops is not None:
                self._event_hops.ops.timed(frame.timings, self._calls.owner)
            self._answer(self._calls.settle(frame.results))

    def _answer(self, by_isolate: dict[int, list[CallResult]]) -> None:
        for key, results in by_isolate.items():
            resident = self._isolates.residents.get(key)
            if resident is not None:
                if self._event_hops is not None:
                    self._event_hops.ops.answered(key, results)
                self._isolates.tell(resident, OpsAnswered(results=tuple(results)))

    def receiveMsg_LogAck(self, msg: LogAck, sender: Address) -> None:
        """The log book has our lines."""
        self._logs.acknowledged(msg)

    def on_inbox(self, item: object) -> None:
        """A fetch has ended, or work with key-value stores on a helper's thread."""
        if isinstance(item, KvDone):
            self._kv.settle(item)
            return
        assert isinstance(item, FetchDone)
        self.counters.fetched(item.code, item.received_bytes)
        key, op_id = self._fetches.settle(item) or (0, 0)
        resident = self._isolates.residents.get(key)
        if resident is None:
            self._fetches.taken(key)
        else:
            if self._event_hops is not None:
                self._event_hops.ops.fetched(key, op_id, item)
            self._isolates.tell(resident, OpsAnswered(results=((op_id, item.ok, item.text),), fetched=True))

    # From the isolates

    def on_readable(self, fd: int) -> None:
        """V8 threads have answered."""
        tell, residents = self._local.tell, self._isolates.residents
        for key, generation, output in self._host.collect():
            resident = residents.get(key)
            if resident is not None:
                tell(resident.address, EngineSaid(key=key, generation=generation, output=output))

    def _drain_local(self) -> None:
        while (message := self._local.listen(0)) is not None:
            match message:
                case IsolateReport():
                    self._reported(message)
                case IsolateLoaded():
                    self._isolates.loaded(message)
                case IsolateFrozen():
                    self._moves.frozen(message)
                case IsolateClosed():
                    self._isolates.closed(message)
                case IsolateUsage():
                    self._usage.said(message)
                case _:
                    log.error("unexpected message of an isolate: %r", message)

    def _reported(self, report: IsolateReport) -> None:
        resident = self._isolates.residents.get(report.key)
        if resident is None:
            return
        guild_id, counters = resident.guild_id, self.counters
        count, done, key, hops = counters.ended, self._reports.done, resident.key, self._event_hops
        if hops is not None:
            hops.reported(key, report)
        for seq, outcome, elapsed_us in report.done:
            count(outcome, elapsed_us)
            if guild_id and seq:
                done(seq, guild_id, outcome, elapsed_us, key)
        if report.jobs_done:
            for name, outcome, elapsed_us in report.jobs_done:
                count(outcome, elapsed_us)
                if hops is not None:
                    hops.job_done(key, guild_id, name, outcome, elapsed_us)
            self._cron.ended(guild_id, resident.key, report.jobs_done)
        if report.calls:
            followed = hops.ops.followed(key, report.calls) if hops is not None else frozenset()
            self._calls.take(key, guild_id, report.calls, followed)
            counters.rest_calls += len(report.calls)
        for op_id, request in report.fetches:
            self._fetches.start(resident.key, guild_id, op_id, request)
            counters.fetches += 1
        if report.kv_ops:
            gone = report.cancelled_ops
            ops = [op for op in report.kv_ops if op[0] not in gone] if gone else report.kv_ops
            self._kv.ask(resident.key, GuildId(guild_id), ops)
        if report.fetches_taken:
            self._fetches.taken(resident.key, report.fetches_taken)
        for level, target, text in report.logs:
            self._logs.line(level, guild_id, text, target)
        for counter, by in report.counted:
            setattr(counters, counter, getattr(counters, counter) + by)
        if report.unstarted:
            self._isolates.pass_on(resident, report.unstarted)
        if report.starts_no_more:
            self._isolates.starts_no_more(resident)
        self._note_state(resident, report)

    def _note_state(self, resident: Resident, report: IsolateReport) -> None:
        isolates = self._isolates
        if report.cancelled_ops:
            self._calls.cancel(resident.key, set(report.cancelled_ops))
            self._fetches.cancel(resident.key, report.cancelled_ops)
            self._kv.cancel(resident.key, GuildId(resident.guild_id), report.cancelled_ops)
        if report.handlers is not None:
            isolates.handles(resident, report.handlers)
        if report.jobs is not None:
            isolates.has_jobs(resident, report.jobs)
        self.counters.isolate_rebuilds += report.rebuilt
        if report.rebuilt and self._event_hops is not None:
            self._event_hops.rebuilt(resident.key)
        if report.lost is not None:
            isolates.lose(resident, report.lost)
        if report.wedged is not None:
            isolates.report_wedged(resident, report.wedged)
        resident.quiet_until_s = report.quiet_until_s
        if report.busy:
            isolates.active.add(resident.key)
        else:
            isolates.active.discard(resident.key)
        if report.wake_in_s is not None:
            self._watch.wake_later(resident.key, report.wake_in_s)

    # Time and figures

    def _tick(self) -> None:
        self.after(TICK_S, self._tick)
        self._watch.tick()
        self._kv.tick()
        self._cron.look_at_clock()

    def receiveMsg_CronTick(self, msg: CronTick, sender: Address) -> None:
        """Something is due."""
        self._cron.tick(msg)

    def receiveMsg_ListCronJobs(self, msg: ListCronJobs, sender: Address) -> None:
        """A guild's scheduled jobs."""
        self._cron.list(msg, sender)

    def receiveMsg_RunCronJob(self, msg: RunCronJob, sender: Address) -> None:
        """Somebody wants a job to run now."""
        self._cron.run(msg, sender)

    def metrics(self) -> dict[str, Any]:
        self.counters.rss_bytes = resident_bytes() or 0
        self._kv.note_figures()
        return {**self.counters.snapshot(), "cpu_us": time.process_time_ns() // 1000}

    def receiveMsg_ReadMetrics(self, msg: ReadMetrics, sender: Address) -> None:
        about_guilds = {"guilds": self._usage.notable(msg.notable)} if msg.notable else {}
        self.reply_ok(msg, sender, self.figures() | about_guilds)

    def receiveMsg_ReadGuildUsage(self, msg: ReadGuildUsage, sender: Address) -> None:
        """What guilds use."""
        self.reply_ok(msg, sender, self._usage.of(msg.guild_id, with_heap=msg.guild_id is not None))

    def receiveMsg_ReadLoad(self, msg: ReadLoad, sender: Address) -> None:
        """How much this worker does, and if wanted each of its guilds."""
        used = self._usage.of(None, with_heap=False) if msg.with_guilds else {}
        memory = self._watch.memory_of_guilds() if used else {}
        guilds = {
            guild_id: (usage["cpu_us"], usage["events_done"], memory.get(guild_id, 0))
            for guild_id, usage in used.items()
        }
        now = {"cpu_us": time.process_time_ns() // 1000, "at_us": time.monotonic_ns() // 1000}
        self.reply_ok(msg, sender, now | {"rss_bytes": resident_bytes() or 0, "guilds": guilds})

    def flush(self) -> None:
        """Takes in what the isolates said, then sends what each link has to say."""
        if not hasattr(self, "_watch"):
            return  # not started, or the start was refused
        self._drain_local()
        self._watch.keep_sweeping()
        peers = self.peers
        if (due := self._cron.poll(peers.cron)) is not None:
            self.send(peers.cron, due)
        if peers.router is not None and (report := self._reports.poll()) is not None:
            self.send(peers.router, report)
        if peers.gateway is not None and (calls := self._calls.poll()) is not None:
            self.send(peers.gateway, calls)
        if peers.log_book is not None and (lines := self._logs.poll()) is not None:
            self.send(peers.log_book, lines)

    # End

    def on_drain(self, msg: Drain) -> object:
        """Waits until no event runs, or the limit is over."""
        self._drain_until(time.monotonic() + msg.limit_s, msg)
        return DEFERRED

    def _drain_until(self, deadline_s: float, msg: Drain) -> None:
        if self._isolates.active and time.monotonic() < deadline_s:
            self.after(DEADLINE_SWEEP_S, lambda: self._drain_until(deadline_s, msg))
        else:
            self.reply_ok(msg, None)

    def on_stop(self) -> None:
        """V8 threads would hang the interpreter's exit; nothing here needs it."""
        if hasattr(self, "_host"):  # else the start was refused
            self._host.close_all(0.3)
            self._kv.end()
            if self._start_request.dedicated_to is not None:  # its guild has left: nobody will ask what it did
                self._host.recorder_path.unlink(missing_ok=True)
        os._exit(0)
