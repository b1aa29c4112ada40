"""The serving half of a session: events go in, what V8 says comes out, and what runs too long is found.

What becomes of the isolate itself is decided in session.py; this half calls the methods that are not implemented here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from flora.actors.isolate.buffer_account import BufferAccount
from flora.actors.isolate.declared_jobs import DeclaredJobs
from flora.actors.isolate.engine import Isolate, State
from flora.actors.isolate.error_text import ErrorText
from flora.actors.isolate.feed import Feed
from flora.actors.isolate.host import IsolateHost
from flora.actors.isolate.meters import Meters
from flora.actors.isolate.outbox import JS_TARGET, Outbox, kind_of
from flora.actors.isolate.overrun import Finding, Overrun
from flora.actors.isolate.pending_ops import KV_PREFIX, PendingOps
from flora.actors.isolate.phases import Phase
from flora.actors.isolate.runs import CRON_PREFIX, Event, Runs
from flora.actors.supervision import Rebuilds
from flora.messages.base import Message
from flora.messages.dispatch import Outcome
from flora.messages.errors import LoadFailed

LOAD_SEQ = 0  # the script's own top-level run, as the prelude numbers it
QUIET_AT_MOST_S = 1.0  # whatever is not known of an isolate at rest is found out that late
SAME_MOMENT_S = 0.002  # two clocks are involved; and a timer of the worker costs more than being early
NEVER_SETTLED = "Promise resolution is still pending but the event loop has already resolved"
_OUTCOMES = {
    "ok": Outcome.OK,
    "threw": Outcome.THREW,
    "never": Outcome.NEVER_SETTLED,
    "nonpromise": Outcome.NOT_A_PROMISE,
}


class Serving(ABC):
    """One isolate while it lives, for `IsolateSession`."""

    def __init__(self, key: int, guild_id: str, host: IsolateHost) -> None:
        self._key = key
        self._guild_id = guild_id
        self._host = host
        self._runtime = host.settings.runtime
        self._phase = Phase.OPENING
        self._isolate: Isolate | None = None
        self._generation = 0
        self._script: str | None = None
        self._uses_fetch = False
        self._placeholders: Mapping[str, str] = {}  # of the guild's secrets, by name
        self._errors = ErrorText(guild_id)
        self._runs = Runs(host.series.waits)
        self._ops = PendingOps(guild_id, host.settings.fetch.max_request_bytes)
        self._feed = Feed()
        self._buffers = BufferAccount(0)
        self._overrun = Overrun(self._runs)
        self._out = Outbox(host.series)
        self._meters = Meters(self._runtime, self._out, time.monotonic())
        self._rebuilds = Rebuilds()
        self._last_started = 0  # what the recorder said last; a closed isolate's page is empty
        self._loading_since_s = 0.0
        self._rest_until_s = 0.0
        self._wake_at_s: float | None = None  # the script's next timer
        self._told_wake_at_s: float | None = None
        self._close_at_s = 0.0
        self._starts_no_more = False  # it closes, and what it had not begun has been handed back
        self._why_ended = ""
        self._was_loaded = False  # a rebuild is not announced as a load
        self._is_restore = False
        self._handlers: list[str] = []
        self._jobs = DeclaredJobs()
        self._held_ops: list[Any] = []  # asked for while a run is being ended: some may be its own
        self._held_kv: list[tuple[int, str, Any]] = []  # asked for while the processor budget is used up
        self._delayed_since_s: float | None = None  # a store is being opened, and nothing else moves
        self._held_end: tuple[str, str | None, int] | None = None  # how that run says it ended
        self._more = False  # the prelude asked for another take
        self._was_busy = False
        self._is_leaving = False  # to be frozen as soon as it is at rest
        self._messages: deque[Message] = deque()

    # What the worker calls

    def run(self, events: Iterable[Event]) -> None:
        """Queues events."""
        self._was_busy = True  # whoever sends events knows that
        self._runs.add(events)
        self._pump()

    def run_job(self, name: str, payload: str) -> None:
        """Queues a run of a cron job."""
        self._was_busy = True
        self._runs.add_job(name, payload)
        self._pump()

    def answered(self, results: Iterable[tuple[int, bool, str]], *, fetched: bool = False, cost_us: int = 0) -> None:
        """Results of REST calls, of fetches, or of key-value operations; those cost the worker something."""
        if cost_us:
            now_s = time.monotonic()
            self._meters.charge(cost_us, now_s)
            if self._delayed_since_s is not None:
                self._runs.postpone(now_s - self._delayed_since_s)
                self._delayed_since_s = None
        for result in results:
            answer = self._ops.answered(*result)
            if answer is not None:
                self._feed.answer(answer, fetched=fetched)
            elif fetched:
                self._out.fetches_taken += 1
        self._pump()

    def delayed(self) -> None:
        """Key-value operations will not be answered soon, through no fault of the script."""
        if self._delayed_since_s is None:
            self._delayed_since_s = time.monotonic()

    def take_messages(self) -> Iterable[Message]:
        """What the worker is to hear, in order."""
        self._report_if_changed()
        messages, self._messages = self._messages, deque()
        return messages

    # Feeding V8

    def _pump(self) -> None:
        isolate = self._isolate
        if (
            isolate is None
            or not isolate.idle
            or self._phase in (Phase.OPENING, Phase.FROZEN)
            or self._overrun.rescuing
        ):
            return
        if self._phase is Phase.CLOSING and not self._starts_no_more:
            self._hand_back()
        text = self._next_input()
        if text is not None:
            isolate.dispatch(text)
        elif self._more:
            isolate.take()
        self._more = False
        if self._phase is Phase.CLOSING and isolate.idle and not self._runs.unfinished:
            self._end_isolate()

    def _hand_back(self) -> None:
        """What V8 was handed and has not begun is for the isolate that comes next. Only while nothing runs is it known what that is."""
        self._starts_no_more = self._out.starts_no_more = True
        back = self._runs.take_back(self._started_seq())
        if back:
            self._feed.control("drop", *back)
        self._out.unstarted += self._runs.take_waiting()

    def _next_input(self) -> bytes | None:
        now_s = time.monotonic()
        if self._meters.holding and self._is_held(now_s):
            return self._feed.text((), None) if self._feed else None
        events = self._runs.hand_over() if self._phase is Phase.SERVING else []
        due = self._wake_at_s is not None and now_s >= self._wake_at_s
        if not (events or self._feed or due):
            return None
        self._wake_at_s = None
        return self._feed.text(events, time.time() * 1000)

    def _is_held(self, now_s: float) -> bool:
        """The guild's processor budget is used up: answers go in, events and timers wait, and so do deadlines."""
        held_s = self._meters.release(now_s)
        if held_s:
            self._runs.postpone(held_s)
            held, self._held_kv = self._held_kv, []
            self._out.kv_ops += [op for op in held if op[0] in self._ops]
            return False
        back = self._runs.take_back(self._started_seq())
        if back:
            self._feed.control("drop", *back)
        return True

    # What V8 says

    def _take_in(self, output: dict[str, Any]) -> None:
        isolate = self._isolate
        assert isolate is not None
        now_s = time.monotonic()
        self._meters.round_trip(now_s - isolate.busy_since, now_s)
        self._runs.note_started(self._started_seq(), isolate.busy_since)
        for level, text in output.get("l", ()):
            self._meters.log(level, JS_TARGET, text, now_s)
        for name in output.get("h", ()):
            self._handlers.append(name)
            self._out.handlers_changed = True
        if "c" in output and not self._declare_jobs(output["c"]):
            return  # the isolate has come to its end
        if "w" in output:
            self._out.op_owners += output["w"]
        if "o" in output or "k" in output or self._held_ops:
            self._take_ops(output.get("o", []), output.get("k", ()), now_s)
        for seq, outcome, text, elapsed_us in output.get("d", ()):
            self._completed(seq, outcome, text, elapsed_us)
        due_ms = output.get("n")
        self._wake_at_s = None if due_ms is None else now_s + max(0.0, due_ms / 1000 - time.time())
        self._meters.pending_timers = output.get("tn", 0)
        if "tr" in output or "or" in output:
            self._meters.refused(output.get("or", 0), output.get("tr", 0))
        self._more = bool(output.get("m"))
        extracted = output.get("x")
        if extracted is not None and self._phase is Phase.LOADING:
            self._extracted(extracted)
        held = output.get("b")
        if held is not None:
            isolate.buffer_bytes = held
            if self._buffers.note(held) and isolate.idle:
                isolate.relieve()

    def _declare_jobs(self, rows: list[Any]) -> bool:
        """Takes cron jobs in. False: one of them keeps the script from loading."""
        for problem in self._jobs.declare(rows, self._host.wall_clock()):
            if self._phase is Phase.LOADING and (problem.is_malformed or not self._was_there):
                self._load_failed(LoadFailed.code, problem.text)
                return False
            text = f"cron failed: {problem.text} (job '{problem.name}' will not run)"
            self._meters.log("error", None, text, time.monotonic())
            self._feed.control("uncron", problem.name)
        return True

    def _take_ops(self, asked: list[Any], gone: list[int], now_s: float) -> None:
        """Starts what the script asks for; `gone` are ops that nobody waits for any more."""
        if self._overrun.rescuing:
            self._held_ops += asked  # until it is known which of them are of the run that is being ended
            asked = []
        elif self._held_ops:
            asked, self._held_ops = [*self._held_ops, *asked], []
        for op_id, name, args in asked:
            if op_id not in gone:
                self._start_op(op_id, name, args, now_s)
        if gone:
            self._out.cancelled.extend(op_id for op_id in gone if self._ops.forget(op_id))

    def _start_op(self, op_id: int, name: str, args: list[Any], now_s: float) -> None:
        if name.startswith(KV_PREFIX):
            self._start_kv(op_id, name, args)
            return
        result = self._meters.refuse_op(op_id, len(self._ops), now_s) or self._ops.request(op_id, name, args)
        if len(result) == 3:
            self._feed.answer(result)
        elif len(result) == 2:
            self._out.fetches.append(result)
        else:
            self._out.calls.append(result)

    def _start_kv(self, op_id: int, name: str, args: list[Any]) -> None:
        """Costs microseconds, so it is not counted by number but as the processor time it takes; with none left it waits."""
        refusal = self._meters.refuse_op(op_id, len(self._ops), None)
        if refusal is not None:
            self._feed.answer(refusal)
            return
        self._ops.expect(op_id, name)
        (self._held_kv if self._meters.holding else self._out.kv_ops).append((op_id, name, args))

    def _completed(self, seq: int, outcome: str, text: str | None, elapsed_us: int) -> None:
        assert self._isolate is not None
        if outcome == "never" and self._isolate.state is State.SPENT:
            return  # V8 cut it off at the heap limit; the fault that follows ends it under that name
        if seq == LOAD_SEQ:
            self._script_ended(None if outcome == "ok" else text or NEVER_SETTLED)
            return
        if self._overrun.rescuing and seq == self._overrun.victim:
            # It came to its end just now, or what the prelude finds left of the cancelled call will never settle.
            self._held_end = (outcome, text, elapsed_us)
            return
        name = self._runs.name_of(seq)
        if not self._runs.done(seq):
            return
        ended = _OUTCOMES[outcome]
        self._out.ended(seq, name, ended, elapsed_us)
        if ended is Outcome.NOT_A_PROMISE:
            ended = Outcome.THREW if name.startswith(CRON_PREFIX) else Outcome.OK
        if ended is not Outcome.OK:
            self._log_failure(name, self._rendered(text or NEVER_SETTLED))

    def _log_failure(self, name: str, text: str) -> None:
        self._meters.log("error", None, f"{kind_of(name)} failed: {text}", time.monotonic())

    def _rendered(self, text: str) -> str:
        return self._errors.render(text, self._runtime.show_internal_stack_frames)

    # Limits of what runs

    def _limit_s(self, name: str) -> float:
        return self._runtime.cron_timeout_s if name.startswith(CRON_PREFIX) else self._runtime.dispatch_timeout_s

    def _timeout_text(self, name: str) -> str:
        return f"{kind_of(name)} timed out (limit {self._limit_s(name):g} s)"

    def _check_runs(self, now_s: float) -> None:
        isolate = self._isolate
        if isolate is None or (isolate.idle and (self._meters.holding or self._delayed_since_s is not None)):
            return
        self._started_seq()
        was_rescuing = self._overrun.rescuing
        found = self._overrun.check(isolate, now_s, self._limit_s)
        if found is None:
            if was_rescuing and not self._overrun.rescuing:
                self._release_held()
            return
        overdue = set(self._runs.overdue(now_s, self._limit_s))
        if found is Finding.GONE:
            overdue.add(self._overrun.victim)
        name = self._runs.name_of(min(overdue, default=0))
        self._end_run(Outcome.TIMED_OUT, self._timeout_text(name), overdue)

    def _release_held(self) -> None:
        """The call that was to be ended came to its end by itself, late."""
        victim, held_end, self._held_end = self._overrun.victim, self._held_end, None
        self._take_ops([], [], time.monotonic())
        if held_end is not None:
            self._completed(victim, *held_end)

    def _started_seq(self) -> int:
        assert self._isolate is not None
        self._last_started = max(self._last_started, self._isolate.started_seq())
        if self._runs.job_runs:
            self._runs.job_runs_started = max(self._runs.job_runs_started, self._isolate.job_runs_started())
        return self._last_started

    def _terminated(self) -> None:
        """A cancelled call has ended. If it was an event's, the isolate and all its other events are well."""
        victim = self._overrun.victim
        self._meters.look(time.monotonic())
        self._overrun.reset()
        self._held_end = None
        if self._runs.is_unfinished(victim):
            name = self._runs.name_of(victim)
            self._feed.control("kill", victim)
            self._runs.done(victim)
            self._out.ended(victim, name, Outcome.TIMED_OUT, int(self._limit_s(name) * 1e6))
            self._log_failure(name, self._timeout_text(name))
            self._more = True
        else:  # what an event that is over had left behind
            self._end_run(Outcome.TIMED_OUT, f"code of no event timed out (limit {self._limit_s(''):g} s)", ())

    # Reports

    @property
    def _busy(self) -> bool:
        """Something has to be looked at again soon."""
        if self._phase in (Phase.OPENING, Phase.LOADING, Phase.CLOSING):
            return True
        return not self._runs.empty or (self._isolate is not None and self._isolate.state is State.BUSY)

    def _quiet_until_s(self) -> float:
        """Until when there is nothing to look at while V8 is idle; monotonic, 0.0: not known."""
        if self._phase is not Phase.SERVING or self._overrun.rescuing or self._meters.holding:
            return 0.0
        runtime = self._runtime
        shortest_s = min(runtime.dispatch_timeout_s or QUIET_AT_MOST_S, runtime.cron_timeout_s or QUIET_AT_MOST_S)
        now_s = time.monotonic()
        return min(now_s + QUIET_AT_MOST_S, self._runs.oldest_start_s(now_s) + shortest_s)

    def _wanted_at_s(self) -> float | None:
        """When `check` is to be called, monotonic. Not while V8 is at work: its answer comes first."""
        if self._phase is Phase.RESTING:
            return self._rest_until_s if self._is_gone else None
        if self._phase is Phase.FROZEN or (self._wake_at_s is None and not self._meters.waits):
            return None
        if self._isolate is not None and not self._isolate.idle:
            return None
        if self._meters.waits:
            return self._meters.wanted_at_s(self._wake_at_s)
        return self._wake_at_s

    def _note_checked(self, now_s: float) -> None:
        self._meters.check(now_s)
        if self._told_wake_at_s is not None and now_s > self._told_wake_at_s - SAME_MOMENT_S:
            self._told_wake_at_s = None  # this was it; what is still wanted is told again

    def _report_if_changed(self) -> None:
        out, busy, wake_at_s = self._out, self._busy, self._wanted_at_s()
        out.fetches_taken += self._feed.take_fetches_gone()
        if self._jobs.changed and self._phase is Phase.SERVING:  # all of them, or none: the old ones hold until then
            out.jobs, self._jobs.changed = self._jobs.all(), False
        wake_in_s = None
        told_s = self._told_wake_at_s
        if wake_at_s is not None and (told_s is None or abs(wake_at_s - told_s) > SAME_MOMENT_S):
            wake_in_s = max(0.0, wake_at_s - time.monotonic())
            self._told_wake_at_s = wake_at_s
        if not out.has_news and wake_in_s is None and busy is self._was_busy:
            return
        self._was_busy = busy
        self._meters.events_done += len(out.done)
        self._messages.append(out.report(self._key, self._handlers, busy, self._quiet_until_s(), wake_in_s))
        self._out.clear()

    # Decided by the other half

    @property
    @abstractmethod
    def _was_there(self) -> bool:
        """This script has been loaded before, here or elsewhere."""

    @abstractmethod
    def _load_failed(self, code: str, text: str) -> None:
        """The script does not load."""

    @property
    @abstractmethod
    def _is_gone(self) -> bool:
        """There is no isolate, or it is closed."""

    @abstractmethod
    def _script_ended(self, error: str | None) -> None:
        """The script's top level has run; None: to its end."""

    @abstractmethod
    def _extracted(self, answer: str) -> None:
        """The prelude has looked for the dispatch function: "ok", or what is wrong."""

    @abstractmethod
    def _end_run(self, outcome: Outcome, why: str, guilty: Iterable[int] | None = None) -> None:
        """The isolate is at its end: what had started fails, the rest waits for the next one."""

    @abstractmethod
    def _end_isolate(self) -> None:
        """Closes the isolate for good, or notices that it is closed."""
