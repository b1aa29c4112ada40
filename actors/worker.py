"""The worker: one process, one V8, many guild isolates."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from thespian.actors import ActorExitRequest, ActorSystem

from flora.actors.base import DEFERRED, FloraActor
from flora.actors.event_book import EventBook
from flora.actors.fetch.service import FetchDone, Fetches
from flora.actors.isolate.actor import GuildIsolate
from flora.actors.isolate.cores import pin_process, usable_cores
from flora.actors.isolate.host import IsolateHost
from flora.actors.isolate.memory_watch import EndIsolate, GiveUp, MemoryGuard, resident_bytes
from flora.actors.link import WINDOW, Batch, Link
from flora.actors.log_sender import LogSender
from flora.actors.metrics import WorkerCounters
from flora.actors.os_limits import apply_to_dedicated_worker, apply_to_worker
from flora.actors.worker_exits import GAVE_UP, write_cause
from flora.messages.base import Address, Failed
from flora.messages.dispatch import (
    CronTick,
    DispatchFrame,
    LoadIsolate,
    Outcome,
    UnloadIsolate,
    WorkerFrame,
    WorkerReport,
)
from flora.messages.errors import LoadFailed, Unavailable, error_from
from flora.messages.gateway import RestFrame, RestResultsFrame
from flora.messages.isolate import (
    BootIsolate,
    CheckDeadlines,
    CloseIsolate,
    EndForMemory,
    EngineSaid,
    IsolateClosed,
    IsolateLoaded,
    IsolateReport,
    IsolateUsage,
    LoadScript,
    OpsAnswered,
    ReadUsage,
    RunEvents,
)
from flora.messages.lifecycle import Drain, Peers, ReadMetrics, Start
from flora.messages.logs import LogAck
from flora.messages.placement import ReadGuildUsage
from flora.messages.settings import Settings

log = logging.getLogger(__name__)

DEADLINE_SWEEP_S = 0.1  # how often limits are looked at while anything runs
REPORT_EVERY_S = 0.02
REPORT_ROWS = 64
BUSY_CALLS = 32  # so many REST calls under way are a queue already
BUSY_HOLD_S = 0.005
MAX_FRAME_ROWS = 1024
DEFAULT_RUNTIME = ""  # stands where a guild's id stands, for the isolate that belongs to no guild

REPLACED_LIMIT_S = 30.0  # for what runs in an isolate that was replaced, where a dispatch has no limit of its own
WEDGE_PATIENCE_S = 20.0  # so long an isolate that serves nobody may take to end before anybody is told

DONE, SUBSCRIBED, LOST, WEDGED = range(4)
ReportRow = tuple[Any, ...]
"""(DONE, seq, guild id, outcome) | (SUBSCRIBED, guild id, names) | (LOST, guild id, why) | (WEDGED, guild id, why; "": over)"""


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


class Worker(FloraActor):
    """Owns the isolates of its guilds; forwards, arms timers, ends runs. Never runs guest code on its own thread.

    Receives   DispatchFrame, LoadIsolate, UnloadIsolate (router), RestResultsFrame (gateway), CronTick (cron), ReadMetrics,
               ReadGuildUsage (router)
    Sends      WorkerFrame (router), RestFrame (gateway), LogFrame (log book); to its isolates, in its local actor system,
               what messages/isolate.py lists
    State      isolates, REST calls under way: memory only; lost with the process, except the flight recorder
    Supervises its isolates: each ends its own runs, asked by the deadline sweep; one that cannot be rebuilt is reported lost,
               one that does not end wedged.
    Fails      dies: the router reads the flight recorder and has the guilds loaded again.
    """

    uses_bridge = True  # for fetches; its loop starts with the first

    def __init__(self) -> None:
        super().__init__()
        self._residents: dict[int, Resident] = {}
        self._serving: dict[str, Resident] = {}
        self._wedged: dict[int, tuple[str, str]] = {}  # isolates that do not end: (guild, why), as reported
        self._abandoned: set[str] = set()  # guilds of those; their events are no longer ours
        self._usage: dict[str, dict[str, Any]] = {}  # answers to the question that is being asked
        self._active: set[int] = set()  # isolates in which something runs or loads
        self._next_key = 1
        self._next_call = 1
        self._calls: dict[int, tuple[int, int]] = {}  # call id → (isolate, op id)
        self._sweeping = False
        self._call_timer = 0
        self._must_call = False
        self._report_timer = 0
        self._must_report = False  # something for the router that must not wait
        self.counters = WorkerCounters()

    # Start

    def on_start(self, msg: Start) -> object:
        assert msg.worker_id is not None
        pin_to_core(msg.worker_id, msg.settings)
        self._router: Link[ReportRow] = Link(self.incarnation, MAX_FRAME_ROWS, window=WINDOW)
        self._gateway: Link[tuple[Any, ...]] = Link(self.incarnation, MAX_FRAME_ROWS, window=WINDOW)
        self._book = EventBook()
        self._cancelled: list[int] = []
        self._logs = LogSender(self.incarnation)
        recorder = msg.settings.data_dir / "run" / f"worker-{msg.worker_id}-{self.incarnation}.recorder"
        self._host = IsolateHost(msg.settings, recorder)
        limit_process(msg)
        runtime = msg.settings.runtime
        self._memory = MemoryGuard(runtime.max_worker_memory_mb, runtime.max_workers)
        self.watch(self._host.fileno())
        self._fetches = Fetches(self.bridge, msg.settings.fetch)
        # A process already is an actor here; its isolates are actors of a system inside it. logDefs=False: they do not log.
        self._local = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        self._start_request = msg
        self._build(DEFAULT_RUNTIME, None, None)
        return DEFERRED

    def _build(self, guild_id: str, request: LoadIsolate | None, asker: Address | None) -> None:
        self._abandoned.discard(guild_id)
        key = self._next_key
        self._next_key += 1
        resident = Resident(key, guild_id, self._local.createActor(GuildIsolate), request, asker)
        self._residents[key] = resident
        self._active.add(key)
        self.counters.isolate_count += 1
        self._local.tell(resident.address, BootIsolate(key=key, guild_id=guild_id, host=self._host))
        script = request.script if request is not None else None
        source_map = request.source_map if request is not None else None
        self._local.tell(resident.address, LoadScript(script=script, source_map=source_map))

    # Peers

    def on_peers(self, peers: Peers) -> None:
        if peers.router != self.peers.router and peers.router is not None:
            self._router.take_back()
            self._give_up_loads()
            self.send(peers.router, self._report_to_new_router())
            self._router.offer_all((WEDGED, guild_id, why) for guild_id, why in self._wedged.values())
            self._must_report = True
        if peers.gateway != self.peers.gateway and peers.gateway is not None:
            self._fail_calls()
        if peers.log_book != self.peers.log_book and (again := self._logs.moved(peers.log_book)) is not None:
            self.tell(peers.log_book, again)

    def _report_to_new_router(self) -> WorkerReport:
        guilds = tuple((r.guild_id, r.handlers) for r in self._serving.values() if r.guild_id)
        return WorkerReport(guilds=guilds, received=self._book.received(), unfinished=self._book.unfinished())

    def _give_up_loads(self) -> None:
        """Who asked for them is told that their end is not known, and has the stored script loaded; it must be the last to load."""
        for resident in self._residents.values():
            if resident.request is not None:
                resident.request, resident.given_up = None, True
                self._local.tell(resident.address, CloseIsolate(limit_s=0))

    def _supersede(self, guild_id: str) -> None:
        """A newer load has come: who asked for the older one no longer waits for it, and it must not be the last to finish."""
        for resident in self._residents.values():
            if resident.guild_id == guild_id and resident.request is not None:
                self.reply_failed(
                    resident.request, resident.asker, Unavailable("a newer script was to be loaded instead")
                )
                resident.request, resident.given_up = None, True
                self._local.tell(resident.address, CloseIsolate(limit_s=0))

    def _fail_calls(self) -> None:
        """What the dead gateway had; what was not sent to it goes to the next."""
        why = "the gateway was restarted; whether the call took effect is not known"
        answer = orjson.dumps({"code": "DISCORD_HTTP_ERROR", "message": why, "discord_code": 0}).decode()
        self._gateway.forget_sent()
        unsent = {call[0] for call in self._gateway.unsent()}
        self._answer_calls([(call_id, False, answer) for call_id in self._calls if call_id not in unsent])

    # From the router

    def receiveMsg_LoadIsolate(self, msg: LoadIsolate, sender: Address) -> None:
        """Builds an isolate beside the one that serves; answered when it has loaded."""
        if sender != self.peers.router:
            return  # its router is gone, and with it who wanted to know; see `_give_up_loads`
        self._supersede(msg.guild_id)
        self._build(msg.guild_id, msg, msg.reply_to or sender)

    def receiveMsg_UnloadIsolate(self, msg: UnloadIsolate, sender: Address) -> None:
        """Stops a guild's isolate at once."""
        resident = self._serving.pop(msg.guild_id, None)
        if resident is not None:
            resident.serving = False
            self._local.tell(resident.address, CloseIsolate(limit_s=0))
        self.reply_ok(msg, sender)

    def receiveMsg_DispatchFrame(self, msg: DispatchFrame, sender: Address) -> None:
        """Hands events to their isolates, each isolate's in one message."""
        if sender != self.peers.router or not self._router.receive(msg):
            return  # of a router that is gone: its successor knows what has come before, and nothing of this
        by_guild: dict[str, list[tuple[int, str, str]]] = {}
        for seq, guild_id, name, payload in zip(msg.seqs, msg.guild_ids, msg.names, msg.payloads, strict=True):
            by_guild.setdefault(guild_id, []).append((seq, name, payload))
        broadcast = by_guild.pop(DEFAULT_RUNTIME, None)
        if broadcast is not None:
            self._book.took(DEFAULT_RUNTIME, [event[0] for event in broadcast])
            for resident in self._serving.values():
                self._run(resident, broadcast)
        for guild_id, events in by_guild.items():
            self._book.took(guild_id, [event[0] for event in events])
            owner = self._serving.get(guild_id)
            if owner is None and guild_id in self._abandoned:
                self._book.gave_up(guild_id)  # the router has been told, and sends them elsewhere
            elif owner is None:
                for seq, _, _ in events:
                    self._report_done(seq, guild_id, Outcome.NO_ISOLATE)
            else:
                self._run(owner, events)

    def _run(self, resident: Resident, events: list[tuple[int, str, str]]) -> None:
        self._active.add(resident.key)
        self._local.tell(resident.address, RunEvents(events=tuple(events)))

    # From the gateway

    def receiveMsg_RestResultsFrame(self, msg: RestResultsFrame, sender: Address) -> None:
        """Hands results of REST calls to the isolates that asked."""
        if self._gateway.receive(msg):
            self._answer_calls(msg.results)

    def _answer_calls(self, results: Iterable[tuple[int, bool, str]]) -> None:
        by_isolate: dict[int, list[tuple[int, bool, str]]] = {}
        for call_id, ok, text in results:
            key, op_id = self._calls.pop(call_id, (0, 0))
            if key in self._residents:
                by_isolate.setdefault(key, []).append((op_id, ok, text))
        for key, answers in by_isolate.items():
            self._local.tell(self._residents[key].address, OpsAnswered(results=tuple(answers)))

    # From the loop that fetches

    def on_inbox(self, item: object) -> None:
        """A fetch has ended."""
        assert isinstance(item, FetchDone)
        self.counters.fetched(item.code, item.received_bytes)
        key, op_id = self._fetches.settle(item) or (0, 0)
        resident = self._residents.get(key)
        if resident is None:
            self._fetches.taken(key)
        else:
            self._local.tell(resident.address, OpsAnswered(results=((op_id, item.ok, item.text),), fetched=True))

    # From the isolates

    def on_readable(self, fd: int) -> None:
        """V8 threads have answered."""
        for key, generation, output in self._host.collect():
            resident = self._residents.get(key)
            if resident is not None:
                self._local.tell(resident.address, EngineSaid(key=key, generation=generation, output=output))

    def _drain_local(self) -> None:
        while (message := self._local.listen(0)) is not None:
            match message:
                case IsolateReport():
                    self._reported(message)
                case IsolateLoaded():
                    self._loaded(message)
                case IsolateClosed():
                    self._closed(message)
                case IsolateUsage():
                    self._usage[self._residents[message.key].guild_id] = message.usage
                case _:
                    log.error("unexpected message of an isolate: %r", message)

    def _reported(self, report: IsolateReport) -> None:
        resident = self._residents.get(report.key)
        if resident is None:
            return
        guild_id = resident.guild_id
        for seq, outcome, elapsed_us in report.done:
            self._count(outcome, elapsed_us)
            if guild_id and seq:
                self._report_done(seq, guild_id, outcome)
        for op_id, *call in report.calls:
            self._calls[self._next_call] = (resident.key, op_id)
            method, route, scope, body, query, reason, retry = call
            self._gateway.offer((self._next_call, guild_id, method, route, scope, body, query, reason, retry))
            self._next_call += 1
            self.counters.rest_calls += 1
        for op_id, request in report.fetches:
            self._fetches.start(resident.key, guild_id, op_id, request)
            self.counters.fetches += 1
        if report.fetches_taken:
            self._fetches.taken(resident.key, report.fetches_taken)
        for level, target, text in report.logs:
            self._logs.line(level, guild_id, text, target)
        for counter, by in report.counted:
            setattr(self.counters, counter, getattr(self.counters, counter) + by)
        if report.unstarted:
            self._pass_on(resident, report.unstarted)
        self._note_state(resident, report)

    def _pass_on(self, resident: Resident, events: tuple[tuple[int, str, str], ...]) -> None:
        """Events that an isolate had not begun go to the one that took its place."""
        heir = self._serving.get(resident.guild_id)
        if heir is not None and heir is not resident:
            self._run(heir, list(events))
        elif resident.guild_id:
            for seq, _, _ in events:
                self._report_done(seq, resident.guild_id, Outcome.DIED)

    def _report_done(self, seq: int, guild_id: str, outcome: str) -> None:
        """Completions only tell the router how much is under way: they wait a little for company."""
        self._book.done(guild_id, seq)
        self._router.offer((DONE, seq, guild_id, outcome))
        if not self._report_timer:
            self._report_timer = self.after(REPORT_EVERY_S, self._report_is_due)

    def _report_is_due(self) -> None:
        self._report_timer = 0
        self._must_report = True

    def _note_state(self, resident: Resident, report: IsolateReport) -> None:
        if report.cancelled_ops:
            self._cancel_calls(resident.key, set(report.cancelled_ops))
            self._fetches.cancel(resident.key, report.cancelled_ops)
        if report.handlers is not None:
            resident.handlers = report.handlers
            if resident.serving and resident.guild_id:
                self._router.offer((SUBSCRIBED, resident.guild_id, report.handlers))
                self._must_report = True
        self.counters.isolate_rebuilds += report.rebuilt
        if report.lost is not None:
            self._lose(resident, report.lost)
        if report.wedged is not None:
            self._report_wedged(resident, report.wedged)
        if report.busy:
            self._active.add(resident.key)
        else:
            self._active.discard(resident.key)
        if report.wake_in_s is not None:
            self._wake_later(resident.key, report.wake_in_s)

    def _count(self, outcome: str, elapsed_us: int) -> None:
        if outcome in (Outcome.OK, Outcome.NOT_A_PROMISE):
            self.counters.succeeded(elapsed_us)
            return
        self.counters.failed()
        self.counters.timeout_errors += outcome == Outcome.TIMED_OUT
        self.counters.oom_errors += outcome == Outcome.OUT_OF_MEMORY

    def _cancel_calls(self, key: int, op_ids: set[int]) -> None:
        calls = {call_id for call_id, (owner, op_id) in self._calls.items() if owner == key and op_id in op_ids}
        for call_id in calls:
            del self._calls[call_id]
        withdrawn = {row[0] for row in self._gateway.withdraw(lambda row: row[0] in calls)}
        self._cancelled.extend(calls - withdrawn)

    def _lose(self, resident: Resident, why: str) -> None:
        if self._serving.get(resident.guild_id) is resident:
            del self._serving[resident.guild_id]
            log.error("a guild's script was given up: %s", why, extra={"guild_id": resident.guild_id})
            self._router.offer((LOST, resident.guild_id, why))
            self._must_report = True
        resident.serving = False
        self._local.tell(resident.address, CloseIsolate(limit_s=0))

    def _report_wedged(self, resident: Resident, why: str) -> None:
        """Nothing of the guild runs here any more but the isolate that does not end; what had started has been reported."""
        guild_id = resident.guild_id
        if self._serving.get(guild_id) is resident:
            del self._serving[guild_id]
        resident.serving = False
        self._abandoned.add(guild_id)
        self._book.gave_up(guild_id)
        self._wedged[resident.key] = (guild_id, why)
        self._router.offer((WEDGED, guild_id, why))
        self._must_report = True
        self.counters.isolates_wedged += 1
        log.error("an isolate does not end: %s", why, extra={"guild_id": guild_id})

    def _wedge_is_overdue(self, key: int) -> None:
        """An isolate that was replaced or refused still burns its core. Where its guild runs, it must not be again."""
        resident = self._residents.get(key)
        if resident is None or key in self._wedged:
            return
        successor = self._serving.pop(resident.guild_id, None)
        if successor is not None:
            successor.serving = False
            self._local.tell(successor.address, CloseIsolate(limit_s=0))
            self._drain_local()
        self._report_wedged(resident, "an isolate of this guild, no longer in use, does not end")

    def _wake_later(self, key: int, delay_s: float) -> None:
        self.after(delay_s, lambda: self._wake(key))

    def _wake(self, key: int) -> None:
        resident = self._residents.get(key)
        if resident is not None:
            self._local.tell(resident.address, CheckDeadlines(now_s=time.monotonic()))

    def _loaded(self, message: IsolateLoaded) -> None:
        resident = self._residents[message.key]
        if resident.given_up:
            return
        if message.error is not None:
            self._load_failed(resident, message)
            return
        old = self._serving.get(resident.guild_id)
        self._serving[resident.guild_id] = resident
        resident.serving = True
        if resident.guild_id == DEFAULT_RUNTIME:
            self.reply_ok(self._start_request, None, self._facts())
            return
        self._router.offer((SUBSCRIBED, resident.guild_id, resident.handlers))
        self._must_report = True
        if old is not None:
            self.counters.isolate_restarts += 1
            old.serving = False
            limit_s = self.settings.runtime.dispatch_timeout_s or REPLACED_LIMIT_S
            self._local.tell(old.address, CloseIsolate(limit_s=limit_s))
        if resident.request is not None:
            value = {"replaced": old is not None, "handlers": resident.handlers}
            self.reply_ok(resident.request, resident.asker, value)
            resident.request = None

    def _facts(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "recorder": str(self._host.recorder_path)}

    def _load_failed(self, resident: Resident, message: IsolateLoaded) -> None:
        self._local.tell(resident.address, CloseIsolate(limit_s=0))
        failed = Failed(
            req_id=self._start_request.req_id, code=message.code or LoadFailed.code, message=message.error or ""
        )
        if resident.guild_id == DEFAULT_RUNTIME:
            # The worker itself is well; every deploy will be refused with the same text, which says more than no system at all.
            log.error("the SDK does not load: %s", message.error, extra={"action": "sdk_failed", "code": failed.code})
            self.reply_ok(self._start_request, None, self._facts())
        elif resident.request is not None:
            self._logs.line("error", resident.guild_id, f"deploy failed: {message.error}")
            self.reply_failed(resident.request, resident.asker, error_from(failed))

    def _closed(self, message: IsolateClosed) -> None:
        resident = self._residents.get(message.key)
        if resident is None:
            return
        self._active.discard(message.key)
        self._fetches.cancel(message.key)
        if message.wedged:
            log.error("an isolate that is not in use any more does not end", extra={"guild_id": resident.guild_id})
            self.after(WEDGE_PATIENCE_S, lambda: self._wedge_is_overdue(message.key))
            return
        del self._residents[message.key]
        self.counters.isolate_count -= 1
        self._local.tell(resident.address, ActorExitRequest())
        if self._wedged.pop(message.key, None) is not None:
            self._router.offer((WEDGED, resident.guild_id, ""))
            self._must_report = True

    # Time

    def receiveMsg_CronTick(self, msg: CronTick, sender: Address) -> None:
        """Once a second; a safety net for the deadline sweep."""
        if not self._sweeping:
            self._watch_memory(time.monotonic())
        self._keep_sweeping()

    def _keep_sweeping(self) -> None:
        if self._active and not self._sweeping:
            self._sweeping = True
            self.after(DEADLINE_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now_s = time.monotonic()
        self._watch_memory(now_s)
        check = CheckDeadlines(now_s=now_s)
        for key in tuple(self._active):
            resident = self._residents.get(key)
            if resident is None:
                self._active.discard(key)
            else:
                self._local.tell(resident.address, check)

    def _watch_memory(self, now_s: float) -> None:
        match self._memory.look(now_s, self._host.memory_uses()):
            case EndIsolate(number=number) as verdict:
                why = self._memory.why(verdict)
                resident = self._residents.get(self._host.key_of(number) or 0)
                if resident is not None:
                    log.error("%s", why, extra={"action": "memory_kill", "guild_id": resident.guild_id})
                    self.counters.memory_kills += 1
                    self._local.tell(resident.address, EndForMemory(why=why))
            case GiveUp(guilty=guilty) as verdict:
                why = self._memory.why_give_up(verdict)
                log.error("the worker ends itself: %s", why, extra={"action": "memory_give_up"})
                write_cause(self._host.recorder_path, why, guilty)
                os._exit(GAVE_UP)

    # Metrics, logs, end

    def receiveMsg_ReadMetrics(self, msg: ReadMetrics, sender: Address) -> None:
        """Counters of this process."""
        self.counters.rss_bytes = resident_bytes() or 0
        own = {"cpu_us": time.process_time_ns() // 1000}
        self.reply_ok(msg, sender, self.counters.snapshot() | own)

    def receiveMsg_ReadGuildUsage(self, msg: ReadGuildUsage, sender: Address) -> None:
        """What guilds use. Their isolates answer at once: they are actors of this very process."""
        self._usage = {}
        for resident in self._serving.values():
            if resident.guild_id and msg.guild_id in (None, resident.guild_id):
                self._local.tell(resident.address, ReadUsage(with_heap=msg.guild_id is not None))
        self._drain_local()
        self.reply_ok(msg, sender, self._usage)

    def receiveMsg_LogAck(self, msg: LogAck, sender: Address) -> None:
        """The log book has our lines."""
        self._logs.acknowledged(msg)

    def on_drain(self, msg: Drain) -> object:
        """Waits until no event runs, or the limit is over."""
        self._drain_until(time.monotonic() + msg.limit_s, msg)
        return DEFERRED

    def _drain_until(self, deadline_s: float, msg: Drain) -> None:
        if self._active and time.monotonic() < deadline_s:
            self.after(DEADLINE_SWEEP_S, lambda: self._drain_until(deadline_s, msg))
        else:
            self.reply_ok(msg, None)

    def on_stop(self) -> None:
        """V8 threads would hang the interpreter's exit; nothing here needs it."""
        if hasattr(self, "_host"):  # else the start was refused
            self._host.close_all(0.3)
            if self._start_request.dedicated_to is not None:  # its guild has left: nobody will ask what it did
                self._host.recorder_path.unlink(missing_ok=True)
        os._exit(0)

    def flush(self) -> None:
        """Takes in what the isolates said, then sends what each link has to say."""
        if not hasattr(self, "_local"):
            return
        self._drain_local()
        self._keep_sweeping()
        self._send_report()
        self._send_calls()
        if self.peers.log_book is not None and (lines := self._logs.poll()) is not None:
            self.send(self.peers.log_book, lines)

    def _send_calls(self) -> None:
        """REST calls; with many under way already they wait a little for company."""
        if len(self._calls) >= BUSY_CALLS and not (self._must_call or self._gateway.owes_ack):
            if self._gateway.waiting and not self._call_timer:
                self._call_timer = self.after(BUSY_HOLD_S, self._calls_are_due)
            return
        if (
            self.peers.gateway is not None
            and (calls := self._gateway.poll(even_empty=bool(self._cancelled))) is not None
        ):
            self._must_call = False
            self.send(self.peers.gateway, self._rest_frame(calls))

    def _calls_are_due(self) -> None:
        self._call_timer = 0
        self._must_call = True

    def _send_report(self) -> None:
        urgent = self._must_report or self._router.owes_ack or self._router.waiting >= REPORT_ROWS
        if urgent and self.peers.router is not None and (report := self._router.poll()) is not None:
            self._must_report = False
            self.send(self.peers.router, self._worker_frame(report))

    def _worker_frame(self, batch: Batch[ReportRow]) -> WorkerFrame:
        parts: tuple[list[Any], list[Any], list[Any], list[Any]] = ([], [], [], [])
        for row in batch.rows:
            parts[row[0]].append(row[1:])
        done, subscriptions, lost, wedged = map(tuple, parts)
        return WorkerFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self._router.epoch,
            done=done,
            subscriptions=subscriptions,
            lost=lost,
            wedged=wedged,
        )

    def _rest_frame(self, batch: Batch[tuple[Any, ...]]) -> RestFrame:
        cancelled: tuple[int, ...] = ()
        if batch.number:
            cancelled, self._cancelled = tuple(self._cancelled), []
        return RestFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self._gateway.epoch,
            calls=tuple(batch.rows),
            cancelled=cancelled,
        )


def limit_process(start: Start) -> None:
    """Has the operating system hold this process to what it needs; V8 is initialised."""
    facts = apply_to_worker()
    if start.dedicated_to is not None:
        facts |= apply_to_dedicated_worker(start.settings.runtime.max_heap_mb, start.settings.runtime.max_buffer_mb)
    log.info("limits of the process: %s", facts, extra={"action": "os_limits"})


def pin_to_core(worker_id: int, settings: Settings) -> None:
    """Keeps this process on one core, where there is one for each worker and one more.

    With fewer, pinning cost a quarter of the events per second (two cores, four workers, 100 guilds).
    """
    cores = usable_cores()
    if settings.runtime.pin_workers and len(cores) > settings.runtime.max_workers:
        pin_process(cores[worker_id % len(cores)])
