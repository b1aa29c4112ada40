"""What every actor has: start and stop, replies, questions with a limit, and a catch around every handler.

An exception that escapes a handler makes the actor library deliver the same message again, and a message without a handler
vanishes without a word. So `receiveMessage` catches everything, answers `Failed` and logs; the unknown is logged and counted.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from setproctitle import setproctitle
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ChildActorExited,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from flora.actors import dead_letters, wire
from flora.actors.bridge import AsyncBridge, Outgoing, Unanswered
from flora.actors.hops import Hops
from flora.actors.isolate.memory_watch import resident_bytes
from flora.actors.process_log import configure_logging
from flora.actors.strays import POISONED, REFUSED, UNDELIVERABLE, Strays
from flora.actors.tracing import NO_TRACER, Tracer
from flora.messages.base import Address, Failed, Frame, Message, Ok, Reply, Request, TraceContext
from flora.messages.errors import BugError, FloraError, TimedOut
from flora.messages.gateway import OpenGateway
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, PeersChanged, ReadMetrics, Start
from flora.messages.settings import Settings
from flora.messages.trace import current_trace, working_on
from flora.storage.trace_record import TraceRecord

log = logging.getLogger(__name__)

GC_EVERY = 20_000  # allocations between collections; with Python's own 700 a reply cost 8 % more processor time

DEFERRED = object()
"""Returned by `on_start` or `on_drain`: the reply comes later, through `reply_ok` or `reply_failed`."""

OnReply = Callable[[Ok | Failed], None]

_NEVER_TRACED = (Frame, Start, OpenGateway, PeersChanged, Drain)
"""What carries things of many traces, and what begins or ends more than a trace."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that has no answer yet."""

    name: str
    whom: Address | None
    on_reply: OnReply
    trace: TraceContext | None  # what was being worked on when it was asked; its answer belongs to that, too
    at_us: int


class FloraActor(Actor):
    """Base of flora's actors.

    Lifecycle hooks, all on the actor's own thread: `on_start` (first message; its value is the reply), `on_peers` (an actor
    was started or restarted), `on_child_exited`, `on_poison` (a message of ours blew up at its receiver), `on_drain`, `on_stop`.
    Everything else is a `receiveMsg_X`, X being the bare name of a message class. After every message `flush` is called once.
    """

    uses_bridge = False  # True: has an asyncio loop and an inbox for other threads
    forks = False  # True: has child processes

    def __init__(self) -> None:
        super().__init__()
        self.settings: Settings
        self.peers = Peers()
        self.name = type(self).__name__
        self.incarnation = secrets.token_hex(6)  # the epoch of this actor's links
        self.bridge: AsyncBridge
        self.tracer = NO_TRACER
        self.unknown_messages = 0
        self._bridge_open = False
        self._traces = False
        self._watched: list[int] = []
        self._handlers: dict[type, Callable[[Any, Address], Any]] = {}
        self._asked: dict[ReqId, _Asked] = {}
        self._timers: dict[int, tuple[Callable[[], None], TraceContext | None]] = {}
        self._in_timer = False
        self._hops = Hops(self.name, self._keep_record, 0)
        self.strays = Strays(self.name, self._keep_record)
        self._ending = False  # what is undeliverable from now on is no news
        self._timer_ids = itertools.count(1)
        self._req_ids = (ReqId(f"{self.incarnation}/{number}") for number in itertools.count(1))

    # Hooks

    def on_start(self, msg: Start) -> Any:
        """First message. Returns plain facts for the boot log, or DEFERRED; a FloraError becomes `Failed`."""

    def on_peers(self, peers: Peers) -> None:
        """Some other actor was started or restarted; `self.peers` is still the old set."""

    def on_inbox(self, item: object) -> None:
        """Something that another thread posted to the bridge."""

    def on_readable(self, fd: int) -> None:
        """A descriptor given to `watch` is readable."""

    def on_child_exited(self, address: Address) -> None:
        """A child process is gone."""

    def on_poison(self, message: object, sender: Address) -> None:
        """The receiver could not handle a message of ours, or is gone."""

    def _came_back(self, message: object, sender: Address) -> None:
        why = "its receiver could not handle it, or is gone"
        self._note_stray(POISONED, message, why, logging.WARNING)
        self.on_poison(message, sender)

    def on_drain(self, msg: Drain) -> Any:
        """Take nothing new, finish what runs. Returns the reply's value, or DEFERRED."""

    def on_stop(self) -> None:
        """Last call before the process ends; must not block."""

    def metrics(self) -> dict[str, Any]:
        """What this actor counts, as `flora.messages.metrics` says; about its process is added. On the actor's thread."""
        return {}

    def flush(self) -> None:
        """Called after every message: the place to send what the message left to be sent."""

    # Sending

    def tell(self, to: Address | None, message: Message) -> None:
        """Sends, unless there is nobody to send to (a peer that is being restarted)."""
        if to is None:
            self._note_stray(UNDELIVERABLE, message, "its receiver is not there now", logging.INFO)
            return
        self.send(to, message)

    def ask(self, to: Address | None, request: Request, on_reply: OnReply, limit_s: float = 30) -> ReqId:
        """Sends a request; `on_reply` is called exactly once, with `Failed(TIMED_OUT)` when no reply came in time."""
        req_id = next(self._req_ids)
        kind = type(request).__name__
        self._asked[req_id] = _Asked(kind, to, on_reply, current_trace.get(), time.time_ns() // 1000)
        if limit_s:
            late = TimedOut(f"no answer to {kind} within {limit_s:g} s", request=kind, limit_s=limit_s)
            self.after(limit_s, lambda: self._answer_for(late.as_failed(req_id)))
        self.tell(to, replace(request, req_id=req_id, reply_to=None))
        return req_id

    def give_up_on(self, peer: Address, error: FloraError) -> None:
        """Answers every question to a peer that is gone with `error`, instead of waiting for the limit."""
        for req_id in [req_id for req_id, asked in self._asked.items() if asked.whom == peer]:
            self._answer_for(error.as_failed(req_id))

    def send(self, to: Address, message: Any) -> None:
        """Thespian's way out. What leaves while a traced message is handled belongs to its trace, frames excepted."""
        current = current_trace.get()
        if current is not None or self._hops.open:
            message = self._traced(message, current)
        super().send(to, message)

    def _traced(self, message: Any, current: TraceContext | None) -> Any:
        if not isinstance(message, Message) or isinstance(message, _NEVER_TRACED):
            return message
        trace = message.trace
        if isinstance(message, Reply):
            trace = self._hops.replied(message) or trace
        elif current is not None and (trace is None or trace.trace_id == current.trace_id):
            trace = current
        elif trace is not None and trace.sent_us:
            return message  # of the loop, which has said when
        return message if trace is None else replace(message, trace=replace(trace, sent_us=time.time_ns() // 1000))

    def _keep_record(self, record: TraceRecord) -> None:
        if self._traces:
            self.tracer.keep(record)

    def reply_ok(self, request: Request, sender: Address | None, value: Any = None) -> None:
        """Answers a request with `Ok`. `sender` may be None for a deferred Start or Drain, which know where they came from."""
        if isinstance(request, Start) and isinstance(value, dict | None):
            value = {**(value or {}), "pid": os.getpid()}  # how this process ends is told under that number
        self.send(request.reply_to or sender, Ok(req_id=request.req_id, value=value, trace=request.trace))

    def reply_failed(self, request: Request, sender: Address | None, error: FloraError) -> None:
        """Answers a request with `Failed`."""
        self.send(request.reply_to or sender, error.as_failed(request.req_id))

    def watch(self, fd: int) -> None:
        """From now on `on_readable` is called when the descriptor is readable (the bridge's goes to `on_inbox`)."""
        self._watched.append(fd)

    def after(self, delay_s: float, function: Callable[[], None]) -> int:
        """Calls a function on this actor's thread after a delay. Returns a number for `cancel_timer`.

        It belongs to the trace that is being worked on; timers that it sets itself do not, or a clock would never leave its first trace.
        """
        number = next(self._timer_ids)
        self._timers[number] = (function, None if self._in_timer else current_trace.get())
        self.wakeupAfter(timedelta(seconds=delay_s), payload=number)
        return number

    def cancel_timer(self, number: int) -> None:
        """Forgets a timer; an unknown or past one is ignored."""
        self._timers.pop(number, None)

    # What came to nothing

    def ignore(self, message: Message, why: str) -> None:
        """Notes that a message was received and is not acted on."""
        self._note_stray(REFUSED, message, why, logging.INFO)

    def _undelivered(self, message: object, why: str) -> None:
        # Frames are told of quietly: their link sends what was in them again, or settles it.
        self._note_stray(UNDELIVERABLE, message, why, logging.INFO if isinstance(message, Frame) else logging.WARNING)

    def _note_stray(self, outcome: str, message: object, why: str, level: int) -> None:
        if self._ending:
            return
        self.strays.note(
            outcome,
            type(message).__name__,
            why,
            trace=getattr(message, "trace", None),
            guild_id=getattr(message, "guild_id", None) or "",
            level=level,
        )

    # Receiving

    def receiveMessage(self, msg: Any, sender: Address) -> Any:
        """Thespian's entry point."""
        trace = getattr(msg, "trace", None)
        if trace is None:
            self._handle(msg, sender)
        else:
            self._handle_traced(msg, sender, trace)
        try:
            self.flush()
        except Exception:
            log.exception("flush failed", extra={"action": "bug", "class": type(msg).__name__})
        if self._traces:
            self.tracer.flush()
        return ThespianWatch(self._watched) if self._watched else None

    def _handle_traced(self, msg: Message, sender: Address, trace: TraceContext) -> None:
        hop = self._hops.begin(msg, trace)
        if isinstance(msg, Reply):
            asked = self._asked.get(msg.req_id)
            hop.name = f"answer to {asked.name}" if asked else "answer"
        with working_on(hop.context):
            error = self._handle(msg, sender)
            self._hops.handled(hop, msg, error)

    def _handle(self, msg: Any, sender: Address) -> FloraError | None:
        try:
            self._dispatch(msg, sender)
        except Exception as exc:  # noqa: BLE001 - an escaping one would make the library deliver the message again
            return self._failed(msg, sender, exc)
        return None

    def _dispatch(self, msg: Any, sender: Address) -> None:
        kind = type(msg)
        handler = self._handlers.get(kind)
        if handler is None:
            handler = getattr(self, f"receiveMsg_{kind.__name__}", None)
            if handler is None:
                self._unknown(msg, sender)
                return
            self._handlers[kind] = handler
        handler(msg, sender)

    def _failed(self, msg: Any, sender: Address, exc: Exception) -> FloraError:
        if not isinstance(exc, FloraError):
            log.error("handler failed", exc_info=exc, extra={"action": "bug", "class": type(msg).__name__})
            exc = BugError(f"{self.name} failed while handling {type(msg).__name__}; see its log")
        elif not isinstance(msg, Request):
            log.error("handler refused: %s", exc, extra={"action": "refused", "class": type(msg).__name__})
        if isinstance(msg, Request):
            self.reply_failed(msg, sender, exc)
        return exc

    def _unknown(self, msg: Any, sender: Address) -> None:
        self.unknown_messages += 1
        kind = type(msg).__name__
        self._note_stray(UNDELIVERABLE, msg, f"{self.name} has no handler for it", logging.ERROR)
        if isinstance(msg, Request):  # whoever asks need not wait for the end of a limit
            self.reply_failed(msg, sender, BugError(f"{self.name} does not know {kind}"))

    def _answer_for(self, failed: Failed) -> None:
        """Nobody else is going to answer this question of ours."""
        asked = self._asked.get(failed.req_id)
        if asked is not None and asked.trace is not None:
            self._hops.unanswered(asked.name, asked.trace, failed, asked.at_us)
        self._settle(failed)

    def _settle(self, reply: Ok | Failed) -> None:
        asked = self._asked.pop(reply.req_id, None)
        if asked is not None:
            if asked.trace is current_trace.get():
                asked.on_reply(reply)
            else:
                with working_on(asked.trace):
                    asked.on_reply(reply)
        elif not (self._bridge_open and self.bridge.answered(reply)):
            log.debug("late reply", extra={"action": "late_reply", "req_id": reply.req_id})

    def receiveMsg_Ok(self, msg: Ok, sender: Address) -> None:
        self._settle(msg)

    def receiveMsg_Failed(self, msg: Failed, sender: Address) -> None:
        self._settle(msg)

    def receiveMsg_Start(self, msg: Start, sender: Address) -> None:
        self.settings, self.peers, self.name = msg.settings, msg.peers, msg.name
        setproctitle(f"flora: {msg.name}")
        configure_logging(msg.settings.log_level, msg.name, msg.settings.log_format)
        gc.set_threshold(GC_EVERY, 20, 20)
        self.tracer = Tracer(msg.settings, msg.name, forks=self.forks)
        self._traces = self.tracer.enabled
        self._hops = Hops(msg.name, self._keep_record, msg.settings.trace.slow_ms * 1000)
        self.strays = Strays(msg.name, self._keep_record)
        dead_letters.listen(self._undelivered)
        wire.listen(self.strays.packet_refused)
        if self.uses_bridge:
            self.bridge = AsyncBridge(msg.name)
            self._bridge_open = True
            self.watch(self.bridge.fd)
        msg = replace(msg, reply_to=msg.reply_to or sender)
        value = self.on_start(msg)
        if value is not DEFERRED:
            self.reply_ok(msg, sender, value)

    def receiveMsg_PeersChanged(self, msg: PeersChanged, sender: Address) -> None:
        self.on_peers(msg.peers)
        self.peers = msg.peers

    def receiveMsg_Drain(self, msg: Drain, sender: Address) -> None:
        self._ending = True
        msg = replace(msg, reply_to=msg.reply_to or sender)
        value = self.on_drain(msg)
        if value is not DEFERRED:
            self.reply_ok(msg, sender, value)

    def receiveMsg_ReadMetrics(self, msg: ReadMetrics, sender: Address) -> None:
        self.reply_ok(msg, sender, self.figures())

    def figures(self) -> dict[str, Any]:
        """The answer to `ReadMetrics`."""
        process = {
            "cpu_us": time.process_time_ns() // 1000,
            "rss_bytes": resident_bytes() or 0,
            "unknown_messages": self.unknown_messages,
            "traces_lost": self.tracer.lost,
        }
        return {**self.metrics(), "process": process, "incarnation": self.incarnation}

    def receiveMsg_WatchMessage(self, msg: WatchMessage, sender: Address) -> None:
        for fd in msg.ready:
            if self._bridge_open and fd == self.bridge.fd:
                self._drain_bridge()
            else:
                self.on_readable(fd)

    def _drain_bridge(self) -> None:
        for item in self.bridge.drain():
            try:
                if type(item) is Outgoing:
                    self.tell(item.to, item.message)
                elif type(item) is Unanswered:
                    self._hops.unanswered(item.name, item.trace, item.failed, item.asked_us)
                else:
                    self.on_inbox(item)
            except Exception:
                log.exception("inbox item failed", extra={"action": "bug", "class": type(item).__name__})

    def receiveMsg_WakeupMessage(self, msg: WakeupMessage, sender: Address) -> None:
        function, trace = self._timers.pop(msg.payload, (None, None))
        if function is None:
            return
        self._in_timer = True
        try:
            if trace is None:
                function()
            else:
                with working_on(trace):
                    function()
        finally:
            self._in_timer = False

    def receiveMsg_ChildActorExited(self, msg: ChildActorExited, sender: Address) -> None:
        self.on_child_exited(msg.childAddress)

    def receiveMsg_PoisonMessage(self, msg: PoisonMessage, sender: Address) -> None:
        self._came_back(msg.poisonMessage, sender)

    def receiveMsg_ActorExitRequest(self, msg: ActorExitRequest, sender: Address) -> None:
        self.on_stop()
        if self._bridge_open:
            self._bridge_open = False
            self._watched = [fd for fd in self._watched if fd != self.bridge.fd]
            self.bridge.close()

    @property
    def pid(self) -> int:
        """This actor's process."""
        return os.getpid()
