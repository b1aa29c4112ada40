"""One isolate's life: opened, loaded, running events, ended or rebuilt when a limit is broken.

No threads, no waiting, no actor: the worker's clock and V8's answers come in as calls, messages for the worker go out through
`take_messages`. The engine below it is real in every test.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from flora.actors.isolate.buffer_account import BufferAccount
from flora.actors.isolate.engine import Closed, Fault, FaultKind, Opened, Output, State
from flora.actors.isolate.error_text import ErrorText, script_url
from flora.actors.isolate.host import uses_fetch
from flora.actors.isolate.output_text import UnreadableOutput, decode_output
from flora.actors.isolate.phases import STATES, Phase
from flora.actors.isolate.serving import Serving
from flora.messages.base import Message
from flora.messages.dispatch import Outcome
from flora.messages.errors import BugError, HeapExhausted, LoadFailed, LoadTimedOut
from flora.messages.isolate import IsolateClosed, IsolateFrozen, IsolateLoaded, IsolateUsage
from flora.messages.placement import GuildState


class IsolateSession(Serving):
    """Drives one isolate, and those that replace it."""

    # What the worker calls

    def load(
        self, script: str | None, source_map: str | None, placeholders: Mapping[str, str], *, restore: bool = False
    ) -> None:
        """Opens the isolate and, given a script, runs it. Answered by IsolateLoaded."""
        self._script, self._source_map = script, source_map
        self._placeholders = placeholders
        self._is_restore = restore
        self._uses_fetch = uses_fetch(script)
        self._errors = ErrorText.of(self._guild_id, source_map)
        self._open()

    def said(self, generation: int, output: Output) -> None:
        """The engine has something; what an earlier isolate of this session had to say is over."""
        if generation != self._generation:
            return
        match output:
            case bytes():
                self._heard(output)
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
        self._note_checked(now_s)
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
            return
        if self._runs.all_started(self._started_seq()):
            self._starts_no_more = self._out.starts_no_more = True
        self._pump()

    def give_placeholders(self, placeholders: Mapping[str, str]) -> None:
        """The guild's secrets have changed."""
        self._placeholders = placeholders
        if not self._is_gone:
            self._feed.control("secrets", dict(placeholders))
            self._pump()

    def freeze(self) -> None:
        """The guild is about to move: at rest nothing more begins. Answered by IsolateFrozen, unless `thaw` comes first."""
        self._is_leaving = True

    def thaw(self) -> None:
        """It stays."""
        self._is_leaving = False
        if self._phase is Phase.FROZEN:
            self._phase = Phase.SERVING
        self._pump()

    def take_messages(self) -> Iterable[Message]:
        """What the worker is to hear, in order."""
        if self._is_leaving and self._is_at_rest:
            self._phase, self._is_leaving = Phase.FROZEN, False
            self._report_if_changed()
            self._messages.append(IsolateFrozen(key=self._key, script=self._script or "", source_map=self._source_map))
        return super().take_messages()

    @property
    def _is_at_rest(self) -> bool:
        """Nothing runs, no operation is under way, and V8 has said all there was. Script timers do not count."""
        if self._phase is not Phase.SERVING or self._isolate is None or not self._isolate.idle:
            return False
        waits = not self._runs.empty or self._feed or self._held_ops or self._more or self._overrun.rescuing
        return not (waits or len(self._ops))

    def end_for_memory(self, why: str) -> None:
        """The worker has too little memory, and this isolate too much of it."""
        self._end_now(Outcome.OUT_OF_MEMORY, HeapExhausted.code, why)

    def broken(self) -> None:
        """A bug of ours left this session in an unknown state: the isolate is made anew."""
        with suppress(BugError):
            self._end_now(Outcome.DIED, BugError.code, "internal error, see the process log")

    def _end_now(self, outcome: Outcome, code: str, why: str) -> None:
        if self._phase is Phase.FROZEN:
            self.close(0)  # nobody is served by it: if its guild comes back, it is loaded from its deployment
        elif self._phase in (Phase.OPENING, Phase.LOADING):
            self._load_failed(code, why)
        else:
            self._end_run(outcome, why)

    def _heard(self, text: bytes) -> None:
        try:
            output = decode_output(text)
        except UnreadableOutput as unreadable:
            self._end_now(Outcome.DIED, LoadFailed.code, str(unreadable))
        else:
            self._take_in(output)

    def brief(self, now_s: float) -> tuple[GuildState, int]:
        """See `Briefed`."""
        state = STATES.get(self._phase, GuildState.THROTTLED if self._meters.holding else GuildState.SERVING)
        return state, self._meters.last_minute_us(now_s)

    def tell_usage(self, *, with_heap: bool) -> None:
        """Answers ReadUsage."""
        now_s = time.monotonic()
        self._meters.look(now_s)
        usage = self.usage(now_s)
        if with_heap and self._isolate is not None and self._isolate.idle:
            usage["heap_bytes"] = self._isolate.heap_stats()["used_heap_size"]
        self._messages.append(IsolateUsage(key=self._key, usage=usage))

    def usage(self, now_s: float) -> dict[str, Any]:
        """See `Briefed`."""
        state, _ = self.brief(now_s)
        return self._meters.usage(now_s) | {
            "heap_bytes": 0,
            "buffer_bytes": self._buffers.bytes,
            "pending_ops": len(self._ops),
            "rebuilds": self._rebuilds.total,
            "state": state,
            "resting_s": max(0.0, self._rest_until_s - now_s) if self._phase is Phase.RESTING else 0.0,
        }

    @property
    def buffer_bytes(self) -> int:
        """What the script holds in typed arrays, which V8's heap limit does not see."""
        return self._buffers.bytes

    # Opening and loading

    def _open(self) -> None:
        self._generation += 1
        self._phase = Phase.OPENING
        self._buffers = BufferAccount(self._runtime.max_buffer_mb << 20)
        self._isolate = self._host.open(
            *(self._key, self._generation, self._guild_id, self._last_started),
            fetches=self._uses_fetch,
            placeholders=self._placeholders,
        )

    def _opened(self, output: dict[str, Any]) -> None:
        self._handlers = []
        self._jobs.clear()
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

    def _extracted(self, answer: str) -> None:
        if answer == "ok":
            self._loaded()
        else:
            self._load_failed(LoadFailed.code, answer)

    def _loaded(self) -> None:
        self._phase = Phase.SERVING
        self._rebuilds.loaded(time.monotonic())
        if not self._was_loaded:
            self._was_loaded = True
            self._report_if_changed()
            self._messages.append(IsolateLoaded(key=self._key))

    def _script_ended(self, error: str | None) -> None:
        if error is None:
            self._feed.control("extract")
        else:
            self._load_failed(LoadFailed.code, self._rendered(error))

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
            self._out.ended(seq, name, outcome if blamed else Outcome.DIED, int(self._limit_s(name) * 1e6))
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
        self._held_ops, self._held_kv, self._held_end, self._delayed_since_s = [], [], None, None
        self._wake_at_s, self._more = None, False

    @property
    def _was_there(self) -> bool:
        return self._was_loaded or self._is_restore

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
        for seq, name, _ in lost:
            self._out.ended(seq, name, Outcome.DIED, 0)
        self._out.unstarted += self._runs.take_waiting()
