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
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flora.actors.isolate.completions import CompletionPort, default_port
from flora.actors.isolate.cores import give_way
from flora.actors.isolate.isolate import Isolate
from flora.actors.isolate.opening import IsolateSpec, OpenFailed, Parts, open_context
from flora.actors.isolate.outputs import (
    LINES_BEFORE_SCRIPT,
    Closed,
    Fault,
    FaultKind,
    Opened,
    Output,
    State,
)
from flora.actors.isolate.progress import Recorder
from flora.actors.isolate.v8 import V8, init_v8

__all__ = [
    "CLOSE_LIMIT_S",
    "LINES_BEFORE_SCRIPT",
    "Closed",
    "Engine",
    "Fault",
    "FaultKind",
    "Isolate",
    "Opened",
    "Output",
    "State",
]

CLOSE_LIMIT_S: Final = 1.0  # a close that takes longer means V8 is inside something that cannot be interrupted


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
        isolate = Isolate(self, spec, number, self.recorder.claim(spec.name, number, spec.started_before))
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

    def start_collecting(self, isolate: Isolate, content: bytes | int | None) -> None:
        """Used by an isolate that passed its soft limit, or whose typed arrays did."""

        def collect() -> None:
            fits = False
            try:
                fits = isolate.make_room()
            finally:
                self._post(lambda: isolate.made_room(content, fits))

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
