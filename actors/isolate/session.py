"""One isolate's life: opened, loaded, running events, ended or rebuilt when a limit is broken.

No threads, no waiting, no actor: the worker's clock and V8's answers come in as calls, messages for the worker go out through
`take_messages`. The engine below it is real in every test.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import Any

from flora.actors.isolate.buffer_account import BufferAccount
from flora.actors.isolate.engine import Closed, Fault, FaultKind, Isolate, Opened, Output, State
from flora.actors.isolate.error_text import ErrorText, script_url
from flora.actors.isolate.feed import Feed
from flora.actors.isolate.host import IsolateHost, uses_fetch
from flora.actors.isolate.meters import Meters
from flora.actors.isolate.outbox import JS_TARGET, Outbox, kind_of
from flora.actors.isolate.output_text import decode_output
from flora.actors.isolate.overrun import Finding, Overrun
from flora.actors.isolate.pending_ops import PendingOps
from flora.actors.isolate.runs import CRON_PREFIX, Event, Runs
from flora.actors.supervision import Rebuilds
from flora.messages.base import Message
from flora.messages.dispatch import Outcome
from flora.messages.errors import BugError, HeapExhausted, LoadFailed, LoadTimedOut
from flora.messages.isolate import IsolateClosed, IsolateLoaded, IsolateUsage
from flora.messages.placement import GuildState

LOAD_SEQ = 0  # the script's own top-level run, as the prelude numbers it
SAME_MOMENT_S = 0.002  # two clocks are involved; and a timer of the worker costs more than being early
NEVER_SETTLED = "Promise resolution is still pending but the event loop has already resolved"
_OUTCOMES = {
    "ok": Outcome.OK,
    "threw": Outcome.THREW,
    "never": Outcome.NEVER_SETTLED,
    "nonpromise": Outcome.NOT_A_PROMISE,
}


class Phase(Enum):
    """Where the session is."""

    OPENING = "opening"  # the engine makes an isolate: prelude and SDK
    LOADING = "loading"  # the guild's script runs its top level
    SERVING = "serving"
    RESTING = "resting"  # the isolate ended; it is closed, then after a pause made anew
    REFUSED = "refused"  # the first load failed: only `close` is left
    FAILED = "failed"  # it could not be made anew: only `close` is left
    WEDGED = "wedged"  # its end does not come; nothing of it is told any more, but that it came after all
    CLOSING = "closing"
    CLOSED = "closed"


_STATES = {
    Phase.OPENING: GuildState.LOADING,
    Phase.LOADING: GuildState.LOADING,
    Phase.RESTING: GuildState.RESTING,
    Phase.REFUSED: GuildState.FAILED,
    Phase.FAILED: GuildState.FAILED,
    Phase.WEDGED: GuildState.FAILED,
}


class IsolateSession:
    """Drives one isolate, and those that replace it."""

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
        self._errors = ErrorText(guild_id)
        self._runs = Runs()
        self._ops = PendingOps(guild_id, host.settings.fetch.max_request_bytes)
        self._feed = Feed()
        self._buffers = BufferAccount(0)
        self._overrun = Overrun(self._runs)
        self._out = Outbox()
        self._meters = Meters(self._runtime, self._out, time.monotonic())
        self._rebuilds = Rebuilds()
        self._last_started = 0  # what the recorder said last; a closed isolate's page is empty
        self._loading_since_s = 0.0
        self._rest_until_s = 0.0
        self._wake_at_s: float | None = None  # the script's next timer
        self._told_wake_at_s: float | None = None
        self._close_at_s = 0.0
        self._why_ended = ""
        self._was_loaded = False  # a rebuild is not announced as a load
        self._handlers: list[str] = []
        self._held_ops: list[Any] = []  # asked for while a run is being ended: some may be its own
        self._held_end: tuple[str, str | None, int] | None = None  # how that run says it ended
        self._more = False  # the prelude asked for another take
        self._was_busy = False
        self._messages: deque[Message] = deque()

    # What the worker calls

    def load(self, script: str | None, source_map: str | None) -> None:
        """Opens the isolate and, given a script, runs it. Answered by IsolateLoaded."""
        self._script = script
        self._uses_fetch = uses_fetch(script)
        self._errors = ErrorText.of(self._guild_id, source_map)
        self._open()

    def run(self, events: Iterable[Event]) -> None:
        """Queues events."""
        self._was_busy = True  # whoever sends events knows that
        self._runs.add(events)
        self._pump()

    def answered(self, results: Iterable[tuple[int, bool, str]], *, fetched: bool = False) -> None:
        """Results of REST calls, or of fetches."""
        for result in results:
            answer = self._ops.answered(*result)
            if answer is not None:
                self._feed.answer(answer, fetched=fetched)
            elif fetched:
                self._out.fetches_taken += 1
        self._pump()

    def said(self, generation: int, output: Output) -> None:
        """The engine has something; what an earlier isolate of this session had to say is over."""
        if generation != self._generation:
            return
        match output:
            case bytes():
                self._take_in(decode_output(output))
            case Opened(output=text):
                self._opened(decode_output(text))
            case Fault():
                self._faulted(output)
            case Closed(wedged=wedged):
                self._closed(wedged)
        self._pump()

    def check(self, now_s: float) -> None:
        """Looks at every limit.

        Args:
            now_s: time.monotonic().
        """
        match self._phase:
            case Phase.CLOSING if now_s >= self._close_at_s:
                self._end_isolate()
            case Phase.LOADING:
                self._check_load(now_s)
            case Phase.SERVING | Phase.CLOSING:
                self._check_runs(now_s)
            case Phase.RESTING:
                self._wake_up(now_s)
        self._meters.check(now_s)
        if self._told_wake_at_s is not None and now_s > self._told_wake_at_s - SAME_MOMENT_S:
            self._told_wake_at_s = None  # this was it; what is still wanted is told again
        self._pump()

    def close(self, limit_s: float) -> None:
        """Takes no new events; closes when what has been handed to V8 is done, or after the limit. What has not is handed back."""
        if self._phase is Phase.CLOSED:
            return
        self._out.unstarted += self._runs.take_waiting()
        if self._phase is Phase.WEDGED:
            return
        self._close_at_s = time.monotonic() + (limit_s if self._phase is Phase.SERVING else 0)
        self._phase = Phase.CLOSING
        if self._is_gone or limit_s <= 0 or not self._runs.unfinished:
            self._end_isolate()
            self._give_up_events()

    def end_for_memory(self, why: str) -> None:
        """The worker has too little memory, and this isolate too much of it."""
        self._end_now(Outcome.OUT_OF_MEMORY, HeapExhausted.code, why)

    def broken(self) -> None:
        """A bug of ours left this session in an unknown state: the isolate is made anew."""
        with suppress(BugError):
            self._end_now(Outcome.DIED, BugError.code, "internal error, see the process log")

    def _end_now(self, outcome: Outcome, code: str, why: str) -> None:
        if self._phase in (Phase.OPENING, Phase.LOADING):
            self._load_failed(code, why)
        else:
            self._end_run(outcome, why)

    def tell_usage(self, *, with_heap: bool) -> None:
        """Answers ReadUsage."""
        now_s = time.monotonic()
        state = _STATES.get(self._phase, GuildState.THROTTLED if self._meters.holding else GuildState.SERVING)
        heap_bytes = 0
        if with_heap and self._isolate is not None and self._isolate.idle:
            heap_bytes = self._isolate.heap_stats()["used_heap_size"]
        usage = self._meters.usage(now_s) | {
            "heap_bytes": heap_bytes,
            "buffer_bytes": self._buffers.bytes,
            "pending_ops": len(self._ops),
            "rebuilds": self._rebuilds.total,
            "state": state,
            "resting_s": max(0.0, self._rest_until_s - now_s) if self._phase is Phase.RESTING else 0.0,
        }
        self._messages.append(IsolateUsage(key=self._key, usage=usage))

    @property
    def buffer_bytes(self) -> int:
        """What the script holds in typed arrays, which V8's heap limit does not see."""
        return self._buffers.bytes

    def take_messages(self) -> Iterable[Message]:
        """What the worker is to hear, in order."""
        self._report_if_changed()
        messages, self._messages = self._messages, deque()
        return messages

    # Opening and loading

    def _open(self) -> None:
        self._generation += 1
        self._phase = Phase.OPENING
        self._buffers = BufferAccount(self._runtime.max_buffer_mb << 20)
        self._isolate = self._host.open(
            *(self._key, self._generation, self._guild_id, self._last_started), fetches=self._uses_fetch
        )

    def _opened(self, output: dict[str, Any]) -> None:
        self._handlers = []
        isolate = self._isolate
        assert isolate is not None
        self._meters.attach(isolate)
        self._take_in(output)
        if self._phase is Phase.CLOSING:
            self._end_isolate()
            return
        self._phase = Phase.LOADING
        self._loading_since_s = time.monotonic()
        if self._script is None:
            self._feed.control("extract")
        else:
            isolate.load(self._script, script_url(self._guild_id))

    def _check_load(self, now_s: float) -> None:
        limit_s = self._runtime.load_timeout_s
        if limit_s and now_s - self._loading_since_s > limit_s:
            self._load_failed(LoadTimedOut.code, "module_load timed out")

    def _load_failed(self, code: str, text: str) -> None:
        if self._phase is Phase.CLOSING:
            self._end_isolate()
        elif self._was_loaded:
            self._end_run(Outcome.DIED, f"it could not be loaded again: {text}")
        elif self._phase is not Phase.REFUSED:
            self._phase = Phase.REFUSED
            self._messages.append(IsolateLoaded(key=self._key, code=code, error=text))
            self._close_isolate()

    def _loaded(self) -> None:
        self._phase = Phase.SERVING
        self._rebuilds.loaded(time.monotonic())
        if not self._was_loaded:
            self._was_loaded = True
            self._report_if_changed()
            self._messages.append(IsolateLoaded(key=self._key))

    # Feeding V8

    def _pump(self) -> None:
        isolate = self._isolate
        if isolate is None or not isolate.idle or self._phase is Phase.OPENING or self._overrun.rescuing:
            return
        text = self._next_input()
        if text is not None:
            isolate.dispatch(text)
        elif self._more:
            isolate.take()
        self._more = False
        if self._phase is Phase.CLOSING and isolate.idle and not self._runs.unfinished:
            self._end_isolate()

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
        self._take_ops(output.get("o", ()), output.get("k", ()), now_s)
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
        self._out.cancelled.extend(op_id for op_id in gone if self._ops.forget(op_id))

    def _start_op(self, op_id: int, name: str, args: list[Any], now_s: float) -> None:
        result = self._meters.refuse_op(op_id, len(self._ops), now_s) or self._ops.request(op_id, name, args)
        if len(result) == 3:
            self._feed.answer(result)
        elif len(result) == 2:
            self._out.fetches.append(result)
        else:
            self._out.calls.append(result)

    def _completed(self, seq: int, outcome: str, text: str | None, elapsed_us: int) -> None:
        assert self._isolate is not None
        if outcome == "never" and self._isolate.state is State.SPENT:
            return  # V8 cut it off at the heap limit; the fault that follows ends it under that name
        if seq == LOAD_SEQ:
            if outcome == "ok":
                self._feed.control("extract")
            else:
                self._load_failed(LoadFailed.code, self._rendered(text or NEVER_SETTLED))
            return
        if self._overrun.rescuing and seq == self._overrun.victim:
            # It came to its end just now, or what the prelude finds left of the cancelled call will never settle.
            self._held_end = (outcome, text, elapsed_us)
            return
        name = self._runs.name_of(seq)
        if not self._runs.done(seq):
            return
        ended = _OUTCOMES[outcome]
        self._out.done.append((seq, ended, elapsed_us))
        if ended is Outcome.NOT_A_PROMISE:
            ended = Outcome.THREW if name.startswith(CRON_PREFIX) else Outcome.OK
        if ended is not Outcome.OK:
            self._log_failure(name, self._rendered(text or NEVER_SETTLED))

    def _log_failure(self, name: str, text: str) -> None:
        self._meters.log("error", None, f"{kind_of(name)} failed: {text}", time.monotonic())

    def _extracted(self, answer: str) -> None:
        if answer == "ok":
            self._loaded()
        else:
            self._load_failed(LoadFailed.code, answer)

    def _rendered(self, text: str) -> str:
        return self._errors.render(text, self._runtime.show_internal_stack_frames)

    def _faulted(self, fault: Fault) -> None:
        loading = self._phase in (Phase.OPENING, Phase.LOADING)
        match fault.kind:
            case FaultKind.TERMINATED:
                self._terminated()
            case FaultKind.BOOT_TIMED_OUT:
                self._load_failed(LoadTimedOut.code, fault.text)
            case FaultKind.BOOT_FAILED | FaultKind.SCRIPT_ERROR:
                self._load_failed(LoadFailed.code, self._rendered(fault.text))
            case FaultKind.OUT_OF_MEMORY if loading:
                self._load_failed(HeapExhausted.code, fault.text)
            case FaultKind.OUT_OF_MEMORY:
                self._end_run(Outcome.OUT_OF_MEMORY, fault.text)
            case FaultKind.PROTOCOL_ERROR if loading:
                self._load_failed(LoadFailed.code, self._rendered(fault.text))
            case FaultKind.PROTOCOL_ERROR:
                self._end_run(Outcome.DIED, self._rendered(fault.text))

    # Limits of what runs

    def _limit_s(self, name: str) -> float:
        return self._runtime.cron_timeout_s if name.startswith(CRON_PREFIX) else self._runtime.dispatch_timeout_s

    def _timeout_text(self, name: str) -> str:
        return f"{kind_of(name)} timed out (limit {self._limit_s(name):g} s)"

    def _check_runs(self, now_s: float) -> None:
        isolate = self._isolate
        if isolate is None or (self._meters.holding and isolate.idle):
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
        self._last_started = max(self._last_started, self._isolate.progress().started_seq)
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
            self._out.done.append((victim, Outcome.TIMED_OUT, int(self._limit_s(name) * 1e6)))
            self._log_failure(name, self._timeout_text(name))
            self._more = True
        else:  # what an event that is over had left behind
            self._end_run(Outcome.TIMED_OUT, f"code of no event timed out (limit {self._limit_s(''):g} s)", ())

    # The end of an isolate, and the next one

    def _end_run(self, outcome: Outcome, why: str, guilty: Iterable[int] | None = None) -> None:
        """The isolate is at its end: what had started fails, the rest waits for the next one.

        Args:
            outcome: Of the guilty ones.
            why: For the author.
            guilty: Sequence numbers; None: all that had started.
        """
        isolate, now_s = self._isolate, time.monotonic()
        if isolate is None or self._phase not in (Phase.OPENING, Phase.LOADING, Phase.SERVING, Phase.CLOSING):
            return
        self._meters.look(now_s)
        for seq, name, _ in self._runs.isolate_died(self._started_seq()):
            blamed = guilty is None or seq in guilty
            self._out.done.append((seq, outcome if blamed else Outcome.DIED, int(self._limit_s(name) * 1e6)))
            self._log_failure(name, why if blamed else f"ended with another event of this script: {why}")
        self._forget_isolate()
        if self._phase is Phase.CLOSING:
            self._end_isolate()
            return
        self._why_ended = why
        self._rest(now_s, loading=self._phase is not Phase.SERVING)
        self._close_isolate()
        self._wake_up(now_s)

    def _rest(self, now_s: float, *, loading: bool) -> None:
        pause_s = self._rebuilds.ended(now_s, self._host.rng, loading=loading)
        if pause_s is None:
            self._phase = Phase.FAILED
            times = self._rebuilds.failed_loads
            self._out.lost = f"{self._why_ended}; given up after {times} attempts, deploy a script that loads"
            self._out.tell("error", f"the script was ended for good: {self._out.lost}")
            return
        self._phase = Phase.RESTING
        self._rest_until_s = now_s + pause_s
        when = f"in {pause_s:.1f} s, its events wait until then" if pause_s else "now"
        self._out.tell("warn", f"the script was ended ({self._why_ended}); it is started again {when}")

    def _wake_up(self, now_s: float) -> None:
        if self._phase is Phase.RESTING and self._is_gone and now_s >= self._rest_until_s:
            self._out.rebuilt = True
            self._open()

    def _forget_isolate(self) -> None:
        """Nothing of it counts any more."""
        self._out.cancelled.extend(self._ops.abandon())
        self._feed.clear()
        self._overrun.reset()
        self._held_ops, self._held_end = [], None
        self._wake_at_s, self._more = None, False

    @property
    def _is_gone(self) -> bool:
        return self._isolate is None or self._isolate.state is State.CLOSED

    def _close_isolate(self) -> None:
        if self._isolate is not None:
            self._started_seq()
            self._isolate.close()

    def _end_isolate(self) -> None:
        if self._is_gone:
            self._closed(wedged=False)
        elif self._isolate is not None and self._isolate.state is State.WEDGED:
            self._closed(wedged=True)
        else:
            self._close_isolate()

    def _closed(self, wedged: bool) -> None:
        """The isolate has come to its end, or it does not (`wedged`)."""
        match self._phase:
            case Phase.RESTING if wedged:
                self._phase = Phase.WEDGED
                self._runs.take_waiting()  # they are the router's to send again
                self._out.wedged = self._why_ended
            case Phase.RESTING:
                self._wake_up(time.monotonic())
            case Phase.CLOSING | Phase.WEDGED:
                self._phase = Phase.WEDGED if wedged else Phase.CLOSED
                self._give_up_events()
                self._report_if_changed()
                self._messages.append(IsolateClosed(key=self._key, wedged=wedged))

    def _give_up_events(self) -> None:
        self._out.cancelled.extend(self._ops.abandon())
        lost = self._runs.isolate_died(self._last_started)
        self._out.done.extend((seq, Outcome.DIED, 0) for seq, _, _ in lost)
        self._out.unstarted += self._runs.take_waiting()

    # Reports

    @property
    def _busy(self) -> bool:
        """Something has to be looked at again soon."""
        if self._phase in (Phase.OPENING, Phase.LOADING, Phase.CLOSING):
            return True
        return bool(self._runs.unfinished or self._runs.waiting or (self._isolate is not None and self._isolate.busy))

    def _wanted_at_s(self) -> float | None:
        """When `check` is to be called, monotonic. Not while V8 is at work: its answer comes first."""
        if self._phase is Phase.RESTING:
            return self._rest_until_s if self._is_gone else None
        if self._isolate is not None and not self._isolate.idle:
            return None
        if self._meters.waits:
            return self._meters.wanted_at_s(self._wake_at_s)
        return self._wake_at_s

    def _report_if_changed(self) -> None:
        out, busy, wake_at_s = self._out, self._busy, self._wanted_at_s()
        out.fetches_taken += self._feed.take_fetches_gone()
        wake_in_s = None
        told_s = self._told_wake_at_s
        if wake_at_s is not None and (told_s is None or abs(wake_at_s - told_s) > SAME_MOMENT_S):
            wake_in_s = max(0.0, wake_at_s - time.monotonic())
            self._told_wake_at_s = wake_at_s
        if not out.has_news and wake_in_s is None and busy is self._was_busy:
            return
        self._was_busy = busy
        self._meters.events_done += len(out.done)
        self._messages.append(out.report(self._key, self._handlers, busy, wake_in_s))
        self._out.clear()
