"""The one bridge between an actor's thread and everything else: an asyncio loop, V8's threads, timers.

    actor's thread                         other threads
    ──────────────                         ─────────────
    submit(coroutine) ───────────────────► asyncio loop (a thread of its own)
    drain() ◄── inbox ◄────────────────── post(item), from any thread
       ▲          └─ wake-up descriptor, watched by the actor library

An actor's `send` may be called on its own thread only; whatever happens elsewhere is posted and drained there.
A coalesced wake-up reads the descriptor first, then clears its flag, then drains. In the other order a wake-up is lost
and the actor hangs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flora.messages.base import Address, Failed, Message, Reply, Request, TraceContext
from flora.messages.errors import TimedOut, error_from
from flora.messages.ids import ReqId
from flora.messages.trace import current_trace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Posted by the loop: the actor sends this on its own thread."""

    to: Address
    message: Message


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Posted by the loop: a question of something traced that nobody answered in time."""

    name: str
    trace: TraceContext
    failed: Failed
    asked_us: int


AnyMessage = TypeVar("AnyMessage", bound=Message)


def _traced(message: AnyMessage, current: TraceContext | None) -> AnyMessage:
    """The message with what it belongs to, and when it was sent: it may wait in the actor's inbox first."""
    trace = message.trace
    if current is not None and (trace is None or trace.trace_id == current.trace_id):
        trace = current
    return message if trace is None else replace(message, trace=replace(trace, sent_us=time.time_ns() // 1000))


class AsyncBridge:
    """An asyncio loop on its own thread, an inbox for the actor, and a descriptor that says when to look into it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._woken = False
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._asked: dict[ReqId, asyncio.Future[Any]] = {}
        self._req_ids = (ReqId(f"{name}/{os.getpid()}/{number}") for number in itertools.count(1))

    @property
    def fd(self) -> int:
        """Readable when the inbox has something. For the actor's watch list."""
        return self._read_fd

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop; started on first use."""
        if self._loop is None:
            self._start_loop()
        assert self._loop is not None
        return self._loop

    def _start_loop(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{self._name} loop", daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine on the loop. From any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Calls a function on the loop. From any thread."""
        self.loop.call_soon_threadsafe(function, *args)

    def call_later(self, delay_s: float, item: object) -> None:
        """Posts `item` after a delay. From any thread."""
        self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, self.post, item)

    def post(self, item: object) -> None:
        """Puts an item into the actor's inbox and wakes the actor. From any thread; cheap."""
        self._inbox.put(item)
        if not self._woken:
            self._woken = True
            with suppress(OSError):  # closed, or the pipe is full: then a wake-up is pending anyway
                os.write(self._write_fd, b"\0")

    def drain(self) -> Iterator[object]:
        """Everything posted since the last call, in order. On the actor's thread."""
        with suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self._woken = False
        while True:
            try:
                yield self._inbox.get_nowait()
            except queue.Empty:
                return

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        """Sends a request to another actor and waits for its reply. On the loop.

        Args:
            to: The other actor.
            request: Its `req_id` is replaced by a fresh one.
            limit_s: How long to wait; 0 for ever.
        Returns:
            `Ok.value`, or the whole reply where it is a named result.
        Raises:
            FloraError: what a `Failed` stands for; TimedOut when no reply came.
        """
        req_id = next(self._req_ids)
        trace, asked_us = current_trace.get(), time.time_ns() // 1000
        future: asyncio.Future[Any] = self.loop.create_future()
        self._asked[req_id] = future
        self.post(Outgoing(to, _traced(replace(request, req_id=req_id, reply_to=None), trace)))
        try:
            async with asyncio.timeout(limit_s or None):
                return await future
        except TimeoutError:
            kind = type(request).__name__
            late = TimedOut(f"no answer to {kind} within {limit_s:g} s", request=kind, limit_s=limit_s)
            if trace is not None:
                self.post(Unanswered(kind, trace, late.as_failed(req_id), asked_us))
            raise late from None
        finally:
            self._asked.pop(req_id, None)

    def tell(self, to: Address, message: Message) -> None:
        """Sends a message to another actor. On the loop, or any thread."""
        self.post(Outgoing(to, _traced(message, current_trace.get())))

    def answered(self, reply: Reply) -> bool:
        """Hands a reply to the coroutine that waits for it; False when none does. On the actor's thread."""
        if reply.req_id not in self._asked:
            return False
        self.loop.call_soon_threadsafe(self._settle, reply)
        return True

    def _settle(self, reply: Reply) -> None:
        future = self._asked.get(reply.req_id)
        if future is None or future.done():
            return
        if isinstance(reply, Failed):
            future.set_exception(error_from(reply))
        else:
            future.set_result(getattr(reply, "value", reply))

    def close(self, limit_s: float = 2.0) -> None:
        """Cancels what runs on the loop, stops it and closes the descriptors."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._cancel_all)
            self._thread.join(limit_s)
            if not self._thread.is_alive():
                self._loop.close()
        for fd in (self._read_fd, self._write_fd):
            with suppress(OSError):
                os.close(fd)

    def _cancel_all(self) -> None:
        assert self._loop is not None
        loop = self._loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        gathered = asyncio.gather(*tasks, return_exceptions=True)
        gathered.add_done_callback(lambda _: loop.stop())
