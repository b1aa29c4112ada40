"""The engine: all V8 isolates of one worker process, driven without waiting.

One round trip is two pipelined calls, `dispatch(json)` and `take()`. V8 runs the microtasks of the first before it
starts the second, so the second's result is everything the handlers produced up to their first real wait. Neither call
waits: their completions make `Engine.fileno()` readable, `Engine.collect()` hands them out.

Invariants
- Everything here runs on the thread that owns the engine. Helper threads (opening, closing) report through `collect`.
- At most one round trip per isolate is under way. Between round trips nothing runs in it: what could start work behind
  the host's back does not exist in its global scope. So only an idle isolate is ever asked anything that waits.
- An isolate that reached its heap limit is spent: V8 threw its microtasks away, so handlers may hang half done. It
  answers nothing more and must be closed and made anew.
- V8 counts garbage against the heap limit and would rather grow than collect. So when an isolate passes its soft limit,
  its output is held back for the milliseconds of one full collection, on a helper thread.
- A closed isolate's descriptors are freed only when V8's thread has ended, see completions.py.

Failure modes: a guest that loops keeps its own V8 thread busy and nobody else's; ladder.py ends it. A context whose
close does not return is WEDGED: its thread burns a core until the process ends, the other isolates go on working.
"""

from __future__ import annotations

import itertools
import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import orjson

from flora.actors.isolate.completions import CompletionPort, default_port
from flora.actors.isolate.cores import give_way
from flora.actors.isolate.opening import SOFT_LIMIT_SHARE, IsolateSpec, OpenFailed, Parts, open_context
from flora.actors.isolate.progress import Progress, Recorder, Slot
from flora.actors.isolate.v8 import FIRST_ERROR, V8, Kind, init_v8, peek
from flora.messages.errors import BugError

LINES_BEFORE_SCRIPT: Final = 1  # what `load` puts in front of the script
_PARSE_ERROR: Final = re.compile(r"<anonymous>:(?P<line>\d+): (?P<message>.*)")
CLOSE_LIMIT_S: Final = 1.0  # a close that takes longer means V8 is inside something that cannot be interrupted


class State(Enum):
    """Where an isolate is in its life."""

    OPENING = "opening"
    IDLE = "idle"
    BUSY = "busy"
    SPENT = "spent"  # heap limit reached; only `close` is left
    CLOSING = "closing"
    CLOSED = "closed"
    WEDGED = "wedged"  # its close does not return


class FaultKind(Enum):
    """Every way a round trip, a load or an opening can fail."""

    OUT_OF_MEMORY = "out_of_memory"  # heap limit; the isolate is SPENT
    TERMINATED = "terminated"  # cancelled; the isolate is usable, its output is still there for `take`
    SCRIPT_ERROR = "script_error"  # the script does not parse, or its wrapper was broken
    PROTOCOL_ERROR = "protocol_error"  # a function of the prelude threw; a bug of ours or of the input
    BOOT_FAILED = "boot_failed"  # prelude or SDK threw; the isolate is CLOSED
    BOOT_TIMED_OUT = "boot_timed_out"  # they did not finish; the isolate is CLOSED


@dataclass(frozen=True, slots=True)
class Fault:
    """How a piece of work failed; `text` is V8's message."""

    kind: FaultKind
    text: str = ""
    line: int | None = None  # SCRIPT_ERROR: line and column in the script, from 1, when V8 told them
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The isolate is booted and idle. `output` is one JSON object in the form of `take`."""

    output: bytes
    took_s: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The context ended, or (`wedged`) did not within CLOSE_LIMIT_S. A wedged one may still end and say so later."""

    wedged: bool


Output = bytes | Fault | Opened | Closed


class Isolate:
    """One V8 isolate. Made by `Engine.open`; results go to the engine's `on_output`."""

    def __init__(self, engine: Engine, spec: IsolateSpec, number: int, slot: Slot) -> None:
        self.spec = spec
        self.number = number  # unique in this process
        self.state = State.OPENING
        self.round_trips = 0  # how many were begun
        self.busy_since = 0.0  # time.monotonic() when the round trip under way began
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
        source = f'(async () => {{"use strict";\n{script}\n}})\n//# sourceURL={source_url}'
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
            self.state = State.IDLE
            self._engine.on_output(self, content)  # type: ignore[arg-type]

    def make_room(self) -> None:
        """Collect garbage and set the soft limit halfway between what is in use and the heap limit. Helper thread."""
        context, hard_limit = self.context(), self.spec.heap_limit_mb * 1024 * 1024
        try:
            self._v8.collect_garbage(context)
            _, text = self._v8.read(context, self._v8.heap_stats(context))
            used = orjson.loads(text if isinstance(text, bytes) else b"{}").get("used_heap_size", 0)
            soft_limit = max(int(hard_limit * SOFT_LIMIT_SHARE), (used + hard_limit) // 2)
            self._v8.set_soft_limit(context, soft_limit)
        finally:
            self._collected.set()

    def made_room(self, content: bytes | int) -> None:
        """The output held back meanwhile goes out."""
        if self.state is State.BUSY:
            self.state = State.IDLE
            self._engine.on_output(self, content)  # type: ignore[arg-type]

    def wait_for_helpers(self) -> None:
        """Returns when no helper thread uses the context; takes milliseconds."""
        self._collected.wait()

    def _begin(self) -> None:
        self.state = State.BUSY
        self.round_trips += 1
        self.busy_since = time.monotonic()

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
        self.state = State.IDLE
        if v8.hard_limit_reached(context):
            self._spend()
        elif kind == Kind.TERMINATED:
            self._engine.on_output(self, Fault(FaultKind.TERMINATED))
        else:
            text = _text(content) if kind >= FIRST_ERROR else "the script is not one function body"
            self._engine.on_output(self, _script_error(text))

    def _ended_badly(self, context: int, kind: int, content: bytes | int) -> None:
        first_kind, first_error = self._first_kind, self._first_error
        self._first_kind, self._first_error = Kind.UNDEFINED, ""
        out_of_memory = self._v8.hard_limit_reached(context)
        self.state = State.SPENT if out_of_memory else State.IDLE
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


def _script_error(text: str) -> Fault:
    """V8's parse error: `<anonymous>:LINE: SyntaxError: …`, the source line, then a caret under the place."""
    found = _PARSE_ERROR.match(text)
    if found is None:
        return Fault(FaultKind.SCRIPT_ERROR, text)
    lines = text.splitlines()
    column = lines[2].find("^") + 1 if len(lines) > 2 else 0
    line = int(found["line"]) - LINES_BEFORE_SCRIPT
    return Fault(FaultKind.SCRIPT_ERROR, found["message"], line, column or None)


def _text(content: bytes | int) -> str:
    return content.decode(errors="replace").strip() if isinstance(content, bytes) else ""


class Engine:
    """All isolates of this process.

    Args:
        on_output: called by `collect`, on its thread, with what an isolate produced. Within it the isolate is already
            idle again (or spent, or closed) and may be given its next round trip at once.
        recorder_path: file of the flight recorder; replaced if it exists.
        port: for tests.
    """

    def __init__(
        self, on_output: Callable[[Isolate, Output], None], *, recorder_path: Path, port: CompletionPort | None = None
    ) -> None:
        self.v8: V8 = init_v8()
        self.on_output = on_output
        self.port: CompletionPort = port or default_port()
        self.recorder = Recorder(recorder_path)
        self.isolates: set[Isolate] = set()
        self._by_channel: dict[int, Isolate] = {}
        self._numbers = itertools.count(1)
        self._posts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._post_channel = self.port.open_channel()
        self.port.watch(self._post_channel)
        self._post_lock = threading.Lock()
        self._ended = False
        self._to_open: queue.SimpleQueue[Isolate | None] = queue.SimpleQueue()
        self._opener: threading.Thread | None = None

    def fileno(self) -> int:
        """Readable while `collect` has something to hand out; for select, epoll or a Thespian watch."""
        return self.port.fileno()

    def open(self, spec: IsolateSpec) -> Isolate:
        """Begin to make an isolate; `Opened` or a Fault arrives. Isolates are opened one after another."""
        number = next(self._numbers)
        isolate = Isolate(self, spec, number, self.recorder.claim(spec.name, number))
        self.isolates.add(isolate)
        self._to_open.put(isolate)
        if self._opener is None:
            self._opener = threading.Thread(target=self._open_all, name="isolate opener", daemon=True)
            self._opener.start()
        return isolate

    def collect(self, limit_s: float = 0.0) -> int:
        """Hand out what completed, waiting up to `limit_s` seconds for the first.

        Returns:
            How many completions were handled; 0 if there were none in time.
        """
        count = 0
        for channel in self.port.ready(limit_s):
            isolate = self._by_channel.get(channel)
            if isolate is not None:
                isolate.completed()
            elif channel == self._post_channel:
                self._run_posts()
            count += 1
        return count

    def close_all(self, limit_s: float = 3.0) -> bool:
        """Close every isolate and wait for it, at most `limit_s` seconds.

        An open context can hang the interpreter at exit, so whoever gets False must leave by `os._exit`. After True the
        engine is at its end: nothing of it may be called any more.

        Returns:
            Whether all are closed.
        """
        deadline = time.monotonic() + limit_s
        for isolate in list(self.isolates):
            isolate.close()
        while self.isolates and (left_s := deadline - time.monotonic()) > 0:
            self.collect(min(left_s, 0.05))
        if not self.isolates:
            self._end()
        return not self.isolates

    def _end(self) -> None:
        self._to_open.put(None)
        self.recorder.close()
        with self._post_lock:  # a helper thread may be between its job and the signal for it
            self._ended = True
            self.port.close_channel(self._post_channel)
            self.port.close()

    def start_closing(self, isolate: Isolate) -> None:
        """Used by `Isolate.close`."""
        ended = threading.Event()

        def end() -> None:
            isolate.wait_for_helpers()  # free_context only waits for V8 if nobody else is inside a call
            self.v8.free_context(isolate.context())
            ended.set()
            self._post(lambda: self._closed(isolate))

        def watch() -> None:
            if not ended.wait(CLOSE_LIMIT_S):
                self._post(lambda: self._wedged(isolate))

        for job in (end, watch):
            threading.Thread(target=job, name=f"isolate close {isolate.number}", daemon=True).start()

    def start_collecting(self, isolate: Isolate, content: bytes | int) -> None:
        """Used by an isolate that passed its soft limit."""

        def collect() -> None:
            try:
                isolate.make_room()
            finally:
                self._post(lambda: isolate.made_room(content))

        threading.Thread(target=collect, name=f"isolate collect {isolate.number}", daemon=True).start()

    def _closed(self, isolate: Isolate) -> None:
        for channel in isolate.channels():
            self._by_channel.pop(channel, None)
            self.port.close_channel(channel)
        self._gone(isolate)
        self.on_output(isolate, Closed(wedged=False))

    def _wedged(self, isolate: Isolate) -> None:
        if isolate.state is State.CLOSING:
            isolate.state = State.WEDGED
            self.on_output(isolate, Closed(wedged=True))

    def _gone(self, isolate: Isolate) -> None:
        isolate.state = State.CLOSED
        isolate.slot.release()
        self.isolates.discard(isolate)

    def _post(self, job: Callable[[], None]) -> None:
        """Run `job` on the owner's thread. From any thread."""
        with self._post_lock:
            if not self._ended:
                self._posts.put(job)
                self.port.signal(self._post_channel)

    def _run_posts(self) -> None:
        while self.port.read(self._post_channel):
            pass
        while True:
            try:
                job = self._posts.get_nowait()
            except queue.Empty:
                return
            job()

    def _open_all(self) -> None:
        give_way()  # V8's threads inherit it
        while (isolate := self._to_open.get()) is not None:
            self._post(self._open_one(isolate))

    def _open_one(self, isolate: Isolate) -> Callable[[], None]:
        begun = time.monotonic()
        try:
            parts = open_context(self.v8, self.port, isolate.spec, isolate.slot)
        except OpenFailed as failure:
            kind = FaultKind.BOOT_TIMED_OUT if failure.timed_out else FaultKind.BOOT_FAILED
            fault = Fault(kind, str(failure))
        except Exception as error:  # noqa: BLE001 - whatever it is, the opener must live on for the next isolate
            fault = Fault(FaultKind.BOOT_FAILED, repr(error))
        else:
            took_s = time.monotonic() - begun
            return lambda: self._opened(isolate, parts, took_s)
        return lambda: self._not_opened(isolate, fault)

    def _opened(self, isolate: Isolate, parts: Parts, took_s: float) -> None:
        self._by_channel[parts.second] = isolate
        self.port.watch(parts.second)
        isolate.adopt(parts)
        if isolate.state is State.IDLE:
            self.on_output(isolate, Opened(parts.output, took_s))

    def _not_opened(self, isolate: Isolate, fault: Fault) -> None:
        self._gone(isolate)
        self.on_output(isolate, fault)
