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
from collections.abc import Callable
from dataclasses import replace
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

from flora.actors.bridge import AsyncBridge, Outgoing
from flora.actors.process_log import configure_logging
from flora.actors.tracing import Tracer
from flora.messages.base import Address, Failed, Message, Ok, Request
from flora.messages.errors import BugError, FloraError, TimedOut
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, PeersChanged, Start
from flora.messages.settings import Settings

log = logging.getLogger(__name__)

GC_EVERY = 20_000  # allocations between collections; with Python's own 700 a reply cost 8 % more processor time

DEFERRED = object()
"""Returned by `on_start` or `on_drain`: the reply comes later, through `reply_ok` or `reply_failed`."""

OnReply = Callable[[Ok | Failed], None]


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
        self.tracer: Tracer  # from the start on
        self.unknown_messages = 0
        self._bridge_open = False
        self._traces = False
        self._watched: list[int] = []
        self._handlers: dict[type, Callable[[Any, Address], Any]] = {}
        self._asked: dict[ReqId, tuple[OnReply, Address | None]] = {}
        self._timers: dict[int, Callable[[], None]] = {}
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
        log.warning("message came back", extra={"action": "poison", "class": type(message).__name__})

    def on_drain(self, msg: Drain) -> Any:
        """Take nothing new, finish what runs. Returns the reply's value, or DEFERRED."""

    def on_stop(self) -> None:
        """Last call before the process ends; must not block."""

    def flush(self) -> None:
        """Called after every message: the place to send what the message left to be sent."""

    # Sending

    def tell(self, to: Address | None, message: Message) -> None:
        """Sends, unless there is nobody to send to (a peer that is being restarted)."""
        if to is None:
            log.debug("nobody to send to", extra={"action": "no_peer", "class": type(message).__name__})
            return
        self.send(to, message)

    def ask(self, to: Address | None, request: Request, on_reply: OnReply, limit_s: float = 30) -> ReqId:
        """Sends a request; `on_reply` is called exactly once, with `Failed(TIMED_OUT)` when no reply came in time."""
        req_id = next(self._req_ids)
        self._asked[req_id] = (on_reply, to)
        if limit_s:
            kind = type(request).__name__
            late = TimedOut(f"no answer to {kind} within {limit_s:g} s", request=kind, limit_s=limit_s)
            self.after(limit_s, lambda: self._settle(late.as_failed(req_id)))
        self.tell(to, replace(request, req_id=req_id, reply_to=None))
        return req_id

    def give_up_on(self, peer: Address, error: FloraError) -> None:
        """Answers every question to a peer that is gone with `error`, instead of waiting for the limit."""
        for req_id in [req_id for req_id, (_, whom) in self._asked.items() if whom == peer]:
            self._settle(error.as_failed(req_id))

    def reply_ok(self, request: Request, sender: Address | None, value: Any = None) -> None:
        """Answers a request with `Ok`. `sender` may be None for a deferred Start or Drain, which know where they came from."""
        self.send(request.reply_to or sender, Ok(req_id=request.req_id, value=value, trace=request.trace))

    def reply_failed(self, request: Request, sender: Address | None, error: FloraError) -> None:
        """Answers a request with `Failed`."""
        self.send(request.reply_to or sender, error.as_failed(request.req_id))

    def watch(self, fd: int) -> None:
        """From now on `on_readable` is called when the descriptor is readable (the bridge's goes to `on_inbox`)."""
        self._watched.append(fd)

    def after(self, delay_s: float, function: Callable[[], None]) -> int:
        """Calls a function on this actor's thread after a delay. Returns a number for `cancel_timer`."""
        number = next(self._timer_ids)
        self._timers[number] = function
        self.wakeupAfter(timedelta(seconds=delay_s), payload=number)
        return number

    def cancel_timer(self, number: int) -> None:
        """Forgets a timer; an unknown or past one is ignored."""
        self._timers.pop(number, None)

    # Receiving

    def receiveMessage(self, msg: Any, sender: Address) -> Any:
        """Thespian's entry point."""
        try:
            self._dispatch(msg, sender)
        except Exception as exc:  # noqa: BLE001 - an escaping one would make the library deliver the message again
            self._failed(msg, sender, exc)
        try:
            self.flush()
        except Exception:
            log.exception("flush failed", extra={"action": "bug", "class": type(msg).__name__})
        if self._traces:
            self.tracer.flush()
        return ThespianWatch(self._watched) if self._watched else None

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

    def _failed(self, msg: Any, sender: Address, exc: Exception) -> None:
        if not isinstance(exc, FloraError):
            log.error("handler failed", exc_info=exc, extra={"action": "bug", "class": type(msg).__name__})
            exc = BugError(f"{self.name} failed while handling {type(msg).__name__}; see its log")
        elif not isinstance(msg, Request):
            log.error("handler refused: %s", exc, extra={"action": "refused", "class": type(msg).__name__})
        if isinstance(msg, Request):
            self.reply_failed(msg, sender, exc)

    def _unknown(self, msg: Any, sender: Address) -> None:
        self.unknown_messages += 1
        kind = type(msg).__name__
        log.error("no handler for %s", kind, extra={"action": "unknown_message"})
        if isinstance(msg, Request):  # whoever asks need not wait for the end of a limit
            self.reply_failed(msg, sender, BugError(f"{self.name} does not know {kind}"))

    def _settle(self, reply: Ok | Failed) -> None:
        asked = self._asked.pop(reply.req_id, None)
        if asked is not None:
            asked[0](reply)
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
        msg = replace(msg, reply_to=msg.reply_to or sender)
        value = self.on_drain(msg)
        if value is not DEFERRED:
            self.reply_ok(msg, sender, value)

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
                else:
                    self.on_inbox(item)
            except Exception:
                log.exception("inbox item failed", extra={"action": "bug", "class": type(item).__name__})

    def receiveMsg_WakeupMessage(self, msg: WakeupMessage, sender: Address) -> None:
        function = self._timers.pop(msg.payload, None)
        if function is not None:
            function()

    def receiveMsg_ChildActorExited(self, msg: ChildActorExited, sender: Address) -> None:
        self.on_child_exited(msg.childAddress)

    def receiveMsg_PoisonMessage(self, msg: PoisonMessage, sender: Address) -> None:
        self.on_poison(msg.poisonMessage, sender)

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
