"""One V8 isolate, as its worker sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import orjson

from flora.actors.isolate.completions import CompletionPort
from flora.actors.isolate.opening import CEILING_SHARE, SOFT_LIMIT_SHARE, IsolateSpec, Parts
from flora.actors.isolate.outputs import Fault, FaultKind, Output, State, script_error
from flora.actors.isolate.progress import Progress, Slot
from flora.actors.isolate.threads import cpu_us
from flora.actors.isolate.v8 import FIRST_ERROR, V8, Kind, peek
from flora.messages.errors import BugError


class IsolateOwner(Protocol):
    """What an isolate needs of its engine."""

    v8: V8
    port: CompletionPort
    on_output: Callable[[Isolate, Output], None]

    def start_closing(self, isolate: Isolate) -> None:
        """End its context on a helper thread."""

    def start_collecting(self, isolate: Isolate, content: bytes | int | None) -> None:
        """Run `make_room` on a helper thread, then `made_room` on the owner's."""


class Isolate:
    """One V8 isolate. Made by `Engine.open`; results go to the engine's `on_output`."""

    def __init__(self, engine: IsolateOwner, spec: IsolateSpec, number: int, slot: Slot) -> None:
        self.spec = spec
        self.number = number  # unique in this process
        self.state = State.OPENING
        self.round_trips = 0  # how many were begun
        self.busy_since = 0.0  # time.monotonic() when the round trip under way began
        self.buffer_bytes = 0  # what it holds in typed arrays, as it said last
        self._engine = engine
        self._v8 = engine.v8
        self._port = engine.port
        self.slot = slot  # its page of the flight recorder
        self._parts: Parts | None = None
        self._compiling = False
        self._first_pending = False
        self._first_task = self._second_task = 0
        self._first_kind: int = Kind.UNDEFINED
        self._first_error = ""
        self._close_requested = False
        self._collected = threading.Event()  # not set while a helper thread collects this isolate's garbage
        self._collected.set()

    def __repr__(self) -> str:
        return f"<Isolate {self.number} {self.spec.name or 'default'} {self.state.value}>"

    @property
    def busy(self) -> bool:
        """A round trip is under way."""
        return self.state is State.BUSY

    @property
    def idle(self) -> bool:
        """Ready for `dispatch`, `take`, `load` and `heap_stats`."""
        return self.state is State.IDLE

    def progress(self) -> Progress:
        """What the isolate is doing, read from shared memory: allowed in every state, never waits."""
        return self.slot.read()

    def started_seq(self) -> int:
        """The event that it started last; as `progress`."""
        return self.slot.started_seq()

    def job_runs_started(self) -> int:
        """The run of a cron job that it started last; as `progress`."""
        return self.slot.job_runs_started()

    def dispatch(self, text: bytes) -> None:
        """Start a round trip: `dispatch(text)`, then `take()`. Its output arrives later as bytes, or as a Fault.

        Args:
            text: JSON, UTF-8.
        Raises:
            BugError: the isolate is not idle.
            ValueError: over v8.MAX_TEXT_BYTES.
        """
        parts = self._require_idle()
        v8, context = self._v8, parts.context
        value = v8.alloc_text(context, text)
        self._begin()
        self._first_task = v8.call(context, parts.dispatch, value, parts.no_args, parts.first)
        self._second_task = v8.call(context, parts.take, parts.undefined, parts.no_args, parts.second)
        self._first_pending = True
        v8.free(context, value)

    def take(self) -> None:
        """Start a round trip of `take()` alone."""
        parts = self._require_idle()
        self._begin()
        self._second_task = self._v8.call(parts.context, parts.take, parts.undefined, parts.no_args, parts.second)

    def load(self, script: str, source_url: str) -> None:
        """Start the script: compile it as one async function body, call the prelude's `load` with it, then `take()`.

        The script's first line is line 1 + LINES_BEFORE_SCRIPT of `source_url`. A syntax error arrives as
        Fault(SCRIPT_ERROR), everything else as output of the prelude.
        """
        parts = self._require_idle()
        source = f'(async function () {{"use strict";\n{script}\n}})\n//# sourceURL={source_url}'
        code = self._v8.alloc_text(parts.context, source.encode(errors="replace"))
        self._begin()
        self._compiling = True
        self._second_task = self._v8.evaluate(parts.context, code, parts.second)
        self._v8.free(parts.context, code)

    def cancel(self) -> None:
        """Interrupt what runs now. The round trip then ends by itself, unless JavaScript runs as a microtask.

        What is queued behind the interrupted call (the `take`) is left alone, so its output is not lost. Does nothing
        when the isolate is not busy.
        """
        parts = self._parts
        if parts is None or self.state is not State.BUSY:
            return
        self._poll_first(parts)
        running = self._first_task if self._first_pending else self._second_task
        self._v8.cancel(parts.context, running)

    def close(self) -> None:
        """End the isolate, whatever it does. Returns at once; `Closed` arrives within CLOSE_LIMIT_S."""
        if self.state is State.OPENING:
            self._close_requested = True
        elif self.state in (State.IDLE, State.BUSY, State.SPENT):
            self.state = State.CLOSING
            self.slot.unmap()
            self._engine.start_closing(self)

    def cpu_us(self) -> int | None:
        """Processor time its thread has used, in µs; None: not known, or it is gone. Allowed in every state, never waits."""
        return None if self._parts is None or self.state is State.CLOSED else cpu_us(self._parts.thread_id)

    def heap_stats(self) -> dict[str, int]:
        """V8's heap figures, in bytes. Waits for the V8 thread, therefore only allowed while idle."""
        parts = self._require_idle()
        _, text = self._v8.read(parts.context, self._v8.heap_stats(parts.context))
        return dict(orjson.loads(text if isinstance(text, bytes) else b"{}"))

    def collect_garbage(self) -> None:
        """Full garbage collection. Waits for it (milliseconds), only allowed while idle."""
        self._v8.collect_garbage(self._require_idle().context)

    def value_count(self) -> int:
        """Handles that are allocated; stays the same between round trips."""
        parts = self._parts
        return 0 if parts is None else int(self._v8.value_count(parts.context))

    # from here on: called by the engine

    def adopt(self, parts: Parts) -> None:
        """The helper thread has opened the context."""
        self._parts = parts
        self.busy_since = time.monotonic()
        self.state = State.IDLE
        if self._close_requested:
            self.close()

    def channels(self) -> tuple[int, int]:
        """First and second channel; only after `adopt`."""
        assert self._parts is not None
        return self._parts.first, self._parts.second

    def context(self) -> int:
        """The context's number; only after `adopt`."""
        assert self._parts is not None
        return self._parts.context

    def completed(self) -> None:
        """The second channel holds a completion."""
        parts = self._parts
        handle = self._port.read(parts.second) if parts else 0
        if parts is None or not handle or self.state is not State.BUSY:
            return  # closing: the context and its values are going away on another thread
        v8, context = self._v8, parts.context
        if self._compiling:
            self._compiled(parts, handle)
            return
        self._poll_first(parts)
        kind, content = v8.read(context, handle)
        if kind != Kind.TEXT or self._first_kind >= FIRST_ERROR or v8.hard_limit_reached(context):
            self._ended_badly(context, kind, content)
        elif v8.soft_limit_reached(context):
            self._collected.clear()
            self._engine.start_collecting(self, content)
        else:
            self._rest(State.IDLE)
            self._engine.on_output(self, content)  # type: ignore[arg-type]

    def make_room(self) -> bool:
        """Collect garbage, and set the next soft limit between what is in use and the heap limit. Helper thread.

        Returns:
            Whether what is in use fits into the heap limit.
        """
        v8, context, heap_limit = self._v8, self.context(), self.spec.heap_limit_mb * 1024 * 1024
        try:
            v8.set_hard_limit(context, 0)  # V8 compares it in the middle of the collection, before the garbage is gone
            v8.collect_garbage(context)
            _, stats = v8.read(context, v8.heap_stats(context))
            used = int(orjson.loads(_text(stats))["used_heap_size"])
            v8.set_hard_limit(context, int(heap_limit * CEILING_SHARE))
            room = max((heap_limit - used) // 2, heap_limit // 16)  # close to the limit, not after every round trip
            v8.set_soft_limit(context, max(int(heap_limit * SOFT_LIMIT_SHARE), used + room))
            return used <= heap_limit
        finally:
            self._collected.set()

    def relieve(self) -> None:
        """Start a round trip that collects garbage, then takes: what its typed arrays held can be counted off."""
        self._require_idle()
        self._begin()
        self._collected.clear()
        self._engine.start_collecting(self, None)

    def made_room(self, content: bytes | int | None, fits: bool) -> None:
        """The output held back meanwhile goes out; where there is none, `take` asks for it."""
        if self.state is State.BUSY:
            self._rest(State.IDLE if fits else State.SPENT)
            if content is not None:
                self._engine.on_output(self, content)  # type: ignore[arg-type]
            if not fits:
                self._spend()
            elif content is None:
                self.take()

    def wait_for_helpers(self) -> None:
        """Returns when no helper thread uses the context; takes milliseconds."""
        self._collected.wait()

    def _begin(self) -> None:
        self.state = State.BUSY
        self.round_trips += 1
        self.busy_since = time.monotonic()
        self.slot.busy(self.busy_since)

    def _rest(self, state: State) -> None:
        """V8 has left the isolate."""
        self.state = state
        self.slot.idle()

    def _require_idle(self) -> Parts:
        if self.state is not State.IDLE or self._parts is None:
            raise BugError(f"isolate {self.spec.name or 'default'} is {self.state.value}, not idle")
        return self._parts

    def _poll_first(self, parts: Parts) -> None:
        """Note how the first call ended, if it has, and free its value."""
        handle = self._port.read(parts.first) if self._first_pending else 0
        if handle:
            self._first_pending = False
            self._first_kind = peek(handle)[2]
            if self._first_kind >= FIRST_ERROR:
                self._first_error = _text(self._v8.read(parts.context, handle)[1])
            else:
                self._v8.free(parts.context, handle)

    def _compiled(self, parts: Parts, handle: int) -> None:
        v8, context = self._v8, parts.context
        self._compiling = False
        kind = peek(handle)[2]
        if kind == Kind.FUNCTION and not v8.hard_limit_reached(context):
            self._first_task = v8.call(context, parts.load, handle, parts.no_args, parts.first)
            self._second_task = v8.call(context, parts.take, parts.undefined, parts.no_args, parts.second)
            self._first_pending = True
            v8.free(context, handle)
            return
        kind, content = v8.read(context, handle)
        self._rest(State.IDLE)
        if v8.hard_limit_reached(context):
            self._spend()
        elif kind == Kind.TERMINATED:
            self._engine.on_output(self, Fault(FaultKind.TERMINATED))
        else:
            text = _text(content) if kind >= FIRST_ERROR else "the script is not one function body"
            self._engine.on_output(self, script_error(text))

    def _ended_badly(self, context: int, kind: int, content: bytes | int) -> None:
        first_kind, first_error = self._first_kind, self._first_error
        self._first_kind, self._first_error = Kind.UNDEFINED, ""
        out_of_memory = self._v8.hard_limit_reached(context)
        self._rest(State.SPENT if out_of_memory else State.IDLE)
        if kind == Kind.TEXT:
            self._engine.on_output(self, content)  # type: ignore[arg-type]
        if out_of_memory:
            self._spend()
        elif Kind.TERMINATED in (first_kind, kind):
            self._engine.on_output(self, Fault(FaultKind.TERMINATED))
        else:
            text = first_error or (_text(content) if kind >= FIRST_ERROR else f"take returned a value of kind {kind}")
            self._engine.on_output(self, Fault(FaultKind.PROTOCOL_ERROR, text))

    def _spend(self) -> None:
        self.state = State.SPENT
        limit = self.spec.heap_limit_mb
        self._engine.on_output(self, Fault(FaultKind.OUT_OF_MEMORY, f"out of memory: heap limit of {limit} MB"))


def _text(content: bytes | int) -> str:
    return content.decode(errors="replace").strip() if isinstance(content, bytes) else ""
