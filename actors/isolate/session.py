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
from flora.actors.isolate.outbox import JS_TARGET, OUR_TARGET, Outbox
from flora.actors.isolate.output_text import decode_output
from flora.actors.isolate.overrun import Overrun
from flora.actors.isolate.pending_ops import PendingOps
from flora.actors.isolate.runs import Event, Runs
from flora.messages.base import Message
from flora.messages.dispatch import Outcome
from flora.messages.errors import BugError, HeapExhausted, LoadFailed, LoadTimedOut
from flora.messages.isolate import IsolateClosed, IsolateLoaded

LOAD_SEQ = 0  # the script's own top-level run, as the prelude numbers it
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
    CLOSING = "closing"
    CLOSED = "closed"


class IsolateSession:
    """Drives one isolate."""

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
        self._last_started = 0  # what the recorder said last; a closed isolate's page is empty
        self._phase_since_s = 0.0
        self._wake_at_s: float | None = None
        self._close_at_s = 0.0
        self._was_loaded = False  # a rebuild is not announced as a load
        self._handlers: list[str] = []
        self._more = False  # the prelude asked for another take
        self._was_busy = False
        self._messages: deque[Message] = deque()
        self._out = Outbox()

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
        """The engine has something; of an earlier generation only that it closed."""
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
        """Looks at every limit."""
        if self._phase is Phase.CLOSING and now_s >= self._close_at_s:
            self._end_isolate()
        elif self._phase is Phase.LOADING:
            self._check_load(now_s)
        elif self._phase in (Phase.SERVING, Phase.CLOSING):
            self._check_runs(now_s)
        if self._wake_at_s is not None and now_s >= self._wake_at_s:
            self._pump()

    def close(self, limit_s: float) -> None:
        """Takes no new events; closes when what runs is done, or after the limit."""
        if self._phase in (Phase.CLOSING, Phase.CLOSED):
            return
        busy = self._runs.unfinished or self._runs.waiting
        self._phase = Phase.CLOSING
        self._close_at_s = time.monotonic() + limit_s
        if self._isolate is None or self._isolate.state in (State.CLOSED, State.WEDGED):
            self._closed(wedged=False)
        elif limit_s <= 0 or not busy:
            self._end_isolate()

    def end_for_memory(self, why: str) -> None:
        """The worker has too little memory, and this isolate too much of it."""
        if self._phase is Phase.LOADING:
            self._load_failed(HeapExhausted.code, why)
        elif self._phase in (Phase.SERVING, Phase.CLOSING):
            self._rebuild(Outcome.OUT_OF_MEMORY, why)

    def broken(self) -> None:
        """A bug of ours left this session in an unknown state: the isolate is made anew."""
        with suppress(BugError):
            self._rebuild(Outcome.DIED, "internal error, see the process log")

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
        self._take_in(output)
        if self._phase is Phase.CLOSING:
            self._end_isolate()
        elif self._script is None:
            self._enter_loading()
            self._feed.control("extract")
        else:
            self._enter_loading()
            assert self._isolate is not None
            self._isolate.load(self._script, script_url(self._guild_id))

    def _enter_loading(self) -> None:
        self._phase = Phase.LOADING
        self._phase_since_s = time.monotonic()

    def _check_load(self, now_s: float) -> None:
        limit_s = self._runtime.load_timeout_s
        if limit_s and now_s - self._phase_since_s > limit_s:
            self._load_failed(LoadTimedOut.code, "module_load timed out")

    def _load_failed(self, code: str, text: str) -> None:
        self._phase = Phase.CLOSED if self._isolate is None else Phase.LOADING
        if self._was_loaded:
            self._out.lost = f"its script could not be loaded again: {text}"
        else:
            self._messages.append(IsolateLoaded(key=self._key, code=code, error=text))

    def _loaded(self) -> None:
        self._phase = Phase.SERVING
        if not self._was_loaded:
            self._was_loaded = True
            self._report_if_changed()
            self._messages.append(IsolateLoaded(key=self._key))

    # Feeding V8

    def _pump(self) -> None:
        isolate = self._isolate
        if isolate is None or not isolate.idle or self._phase is Phase.OPENING:
            return
        text = self._next_input()
        if text is not None:
            isolate.dispatch(text)
        elif self._more:
            isolate.take()
        self._more = False
        if self._phase is Phase.CLOSING and isolate.idle and not (self._runs.unfinished or self._runs.waiting):
            self._end_isolate()

    def _next_input(self) -> bytes | None:
        events = self._runs.hand_over() if self._phase in (Phase.SERVING, Phase.CLOSING) else []
        now_s = time.monotonic()
        due = self._wake_at_s is not None and now_s >= self._wake_at_s
        if not (events or self._feed or due):
            return None
        self._wake_at_s = None
        return self._feed.text(events, time.time() * 1000)

    # What V8 says

    def _take_in(self, output: dict[str, Any]) -> None:
        isolate = self._isolate
        assert isolate is not None
        self._runs.note_started(self._started_seq(), isolate.busy_since)
        self._out.logs.extend((level, JS_TARGET, text) for level, text in output.get("l", ()))
        for name in output.get("h", ()):
            self._handlers.append(name)
            self._out.handlers_changed = True
        gone = output.get("k", ())
        for op_id, name, args in output.get("o", ()):
            if op_id not in gone:
                self._start_op(op_id, name, args)
        self._out.cancelled.extend(op_id for op_id in gone if self._ops.forget(op_id))
        for seq, outcome, text, elapsed_us in output.get("d", ()):
            self._completed(seq, outcome, text, elapsed_us)
        due_ms = output.get("n")
        self._wake_at_s = None if due_ms is None else time.monotonic() + max(0.0, due_ms / 1000 - time.time())
        self._out.wake_changed = self._wake_at_s is not None
        self._more = bool(output.get("m"))
        extracted = output.get("x")
        if extracted is not None and self._phase is Phase.LOADING:
            self._extracted(extracted)
        held = output.get("b")
        if held is not None:
            isolate.buffer_bytes = held
            if self._buffers.note(held) and isolate.idle:
                isolate.relieve()

    def _start_op(self, op_id: int, name: str, args: list[Any]) -> None:
        result = self._ops.request(op_id, name, args)
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
        name = self._runs.name_of(seq)
        if not self._runs.done(seq):
            return
        ended = _OUTCOMES[outcome]
        if self._overrun.rescuing and seq == self._overrun.victim and ended is Outcome.NEVER_SETTLED:
            # The cancelled call is over and the prelude looks at what is left of it: nothing will ever settle.
            ended, text, self._overrun.victim = Outcome.TIMED_OUT, self._timeout_text(), 0
        self._out.done.append((seq, ended, elapsed_us))
        if ended not in (Outcome.OK, Outcome.NOT_A_PROMISE):
            self._out.failed(name, self._rendered(text or NEVER_SETTLED))

    def _extracted(self, answer: str) -> None:
        if answer == "ok":
            self._loaded()
        else:
            self._load_failed(LoadFailed.code, answer)

    def _rendered(self, text: str) -> str:
        return self._errors.render(text, self._runtime.show_internal_stack_frames)

    def _faulted(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.TERMINATED:
                self._terminated()
            case FaultKind.OUT_OF_MEMORY if self._phase is Phase.LOADING:
                self._load_failed(HeapExhausted.code, fault.text)
            case FaultKind.OUT_OF_MEMORY:
                self._rebuild(Outcome.OUT_OF_MEMORY, fault.text)
            case FaultKind.BOOT_TIMED_OUT:
                self._load_failed(LoadTimedOut.code, fault.text)
            case FaultKind.SCRIPT_ERROR | FaultKind.BOOT_FAILED:
                self._load_failed(LoadFailed.code, self._rendered(fault.text))
            case FaultKind.PROTOCOL_ERROR if self._phase is Phase.LOADING:
                self._load_failed(LoadFailed.code, self._rendered(fault.text))
            case FaultKind.PROTOCOL_ERROR:
                self._rebuild(Outcome.DIED, self._rendered(fault.text))

    # Limits

    def _check_runs(self, now_s: float) -> None:
        if self._isolate is not None:
            if self._overrun.rescuing:
                self._started_seq()
            if self._overrun.check(self._isolate, now_s, self._runtime.dispatch_timeout_s) is not None:
                self._rebuild(Outcome.TIMED_OUT, self._timeout_text())

    def _started_seq(self) -> int:
        assert self._isolate is not None
        self._last_started = max(self._last_started, self._isolate.progress().started_seq)
        return self._last_started

    def _terminated(self) -> None:
        """A cancelled call has ended; the isolate and all its other events are well."""
        victim = self._overrun.victim
        self._overrun.reset()
        if self._phase is Phase.LOADING:
            self._load_failed(LoadTimedOut.code, "module_load timed out")
        elif victim == 0:
            pass  # already reported, see `_completed`
        elif self._runs.is_unfinished(victim):
            name = self._runs.name_of(victim)
            self._feed.control("kill", victim)
            self._runs.done(victim)
            self._out.done.append((victim, Outcome.TIMED_OUT, int(self._runtime.dispatch_timeout_s * 1e6)))
            self._out.failed(name, self._timeout_text())
            self._more = True
        else:
            self._rebuild(Outcome.TIMED_OUT, self._timeout_text())

    def _timeout_text(self) -> str:
        return f"dispatch timed out (limit {self._runtime.dispatch_timeout_s:g} s)"

    def _rebuild(self, outcome: Outcome, why: str) -> None:
        """Closes the isolate and makes it anew; what had started fails, the rest runs in the new one."""
        isolate = self._isolate
        if isolate is None or self._phase is Phase.CLOSED:
            return
        lost = self._runs.isolate_died(self._started_seq())
        for seq, name, _ in lost:
            self._out.done.append((seq, outcome, int(self._runtime.dispatch_timeout_s * 1e6)))
            self._out.failed(name, why)
        if not lost:
            self._out.logs.append(("error", OUR_TARGET, f"isolate ended: {why}"))
        self._out.cancelled.extend(self._ops.abandon())
        self._feed.clear()
        self._overrun.reset()
        self._wake_at_s, self._more = None, False
        if self._phase is Phase.CLOSING:
            self._end_isolate()
            return
        if isolate.state is not State.CLOSED:
            isolate.close()
        self._out.rebuilt = True
        self._open()

    def _end_isolate(self) -> None:
        isolate = self._isolate
        if isolate is not None and isolate.state in (State.CLOSED, State.WEDGED):
            self._closed(wedged=isolate.state is State.WEDGED)
        elif isolate is not None:
            isolate.close()

    def _closed(self, wedged: bool) -> None:
        if self._phase is not Phase.CLOSING:
            return  # a rescue closed it; the verdict rebuilds
        self._phase = Phase.CLOSED
        self._out.cancelled.extend(self._ops.abandon())
        self._out.done.extend((seq, Outcome.DIED, 0) for seq, _, _ in self._runs.isolate_died(1 << 62))
        self._report_if_changed()
        self._messages.append(IsolateClosed(key=self._key, wedged=wedged))

    # Reports

    @property
    def _busy(self) -> bool:
        if self._phase in (Phase.OPENING, Phase.LOADING, Phase.CLOSING):
            return True
        return self._runs.unfinished > 0 or (self._isolate is not None and self._isolate.busy)

    def _report_if_changed(self) -> None:
        out, busy = self._out, self._busy
        out.fetches_taken += self._feed.take_fetches_gone()
        wake_in_s = None
        if out.wake_changed and self._wake_at_s is not None:
            wake_in_s = max(0.0, self._wake_at_s - time.monotonic())
        if not out.has_news and wake_in_s is None and busy is self._was_busy:
            return
        self._out, self._was_busy = Outbox(), busy
        self._messages.append(out.report(self._key, self._handlers, busy, wake_in_s))
