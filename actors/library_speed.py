"""Things in Thespian 4.0.1 that cost most of a message's time, done in less of it, from outside. None changes what comes of a message.

Between two processes (`_PollOnce`, `_send_and_await`, `_read_whole_ack`, `_read_whole_packet`, `_Exclusively`, the short names in logs): a
round trip took 460 µs of processor time per side, and takes 320. Each can go when that does not change.
"""

from __future__ import annotations

import select
import selectors
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from thespian.system import isInternalActorSystemMessage, simpleSystemBase
from thespian.system.transport import ReceiveEnvelope, TCPTransport, TransmitIntent

from flora.actors.wire import RefusedPacket, reading_from
from flora.messages.base import Message

_original_send_step = TCPTransport.TCPTransport._next_XMIT_2
_original_ack_step = TCPTransport.TCPTransport._next_XMIT_4
_original_read = TCPTransport.TCPTransport._handleReadableIncoming
_original_wakeups = simpleSystemBase.ActorSystemBase._realizeWakeups
_original_run_sends = simpleSystemBase.ActorSystemBase._runSends
_original_run_send = simpleSystemBase.ActorSystemBase._runSingleSend


def install() -> None:
    """Applies all of it to this process and all that it forks."""
    TCPTransport.selectors = SimpleNamespace(
        DefaultSelector=_PollOnce, EVENT_READ=selectors.EVENT_READ, EVENT_WRITE=selectors.EVENT_WRITE
    )
    TCPTransport.TCPTransport._next_XMIT_2 = _send_and_await
    TCPTransport.TCPTransport._next_XMIT_4 = _read_whole_ack
    TCPTransport.TCPTransport._handleReadableIncoming = _read_whole_packet
    TCPTransport.exclusive_processing = _Exclusively
    TransmitIntent.identify = ReceiveEnvelope.identify = _short_name
    simpleSystemBase.actor_base_receive = _receive_unlogged
    simpleSystemBase.ActorSystemBase._realizeWakeups = _realize_wakeups
    simpleSystemBase.ActorSystemBase._runSends = _run_sends
    simpleSystemBase.ActorSystemBase._runSingleSend = _run_send


@dataclass(frozen=True, slots=True)
class _Ready:
    fd: int


class _PollOnce:
    """Stands for `selectors.DefaultSelector` where the library makes one for each turn of its loop: one system call instead of ten.

    Can go when the library keeps its selector.
    """

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: int, event: int) -> None:
        """Raises: KeyError: registered already, as the real one does."""
        if fd in self._wanted:
            raise KeyError(f"{fd} is already registered")
        self._wanted[fd] = event

    def select(self, limit_s: float | None) -> list[tuple[_Ready, int]]:
        """Raises: ValueError: a descriptor is closed, as the real one does at `register`."""
        poll = select.poll()
        for fd, wanted in self._wanted.items():
            poll.register(fd, select.POLLIN if wanted == selectors.EVENT_READ else select.POLLOUT)
        ready = poll.poll(None if limit_s is None else max(0.0, limit_s) * 1000)
        if any(events & select.POLLNVAL for _, events in ready):
            raise ValueError("a closed descriptor")
        # A hang-up or an error is told as whatever was asked for: the next attempt meets it.
        return [(_Ready(fd), self._wanted[fd]) for fd, _ in ready]

    def close(self) -> None:
        """Nothing is held open."""


def _send_and_await(transport: Any, intent: Any) -> Any:
    """The library's step that sends; goes on to wait for the acknowledgement at once, not after another turn of the loop."""
    going_on = _original_send_step(transport, intent)
    if going_on and intent.stage == transport._XMITStepShutdownWrite:
        return transport._next_XMIT_3(intent)
    return going_on


def _read_whole_ack(transport: Any, intent: Any) -> Any:
    """The library's step that reads an acknowledgement; it reads the size first and the rest after another turn of the loop."""
    going_on = _original_ack_step(transport, intent)
    while going_on and intent.stage == transport._XMITStepWaitForAck and not intent.ackbuf.is_empty():
        try:
            data = intent.socket.recv(intent.ackbuf.remainingAmount())
        except OSError:
            return True  # nothing more yet; the loop tells
        if not data:
            return True
        going_on = transport._check_XMIT_4_done(intent, data)
    return going_on


def _read_whole_packet(transport: Any, incoming: Any, has_exclusive_flag: bool = False) -> Any:
    """The library's reading of a packet, which takes a turn of its loop for the size and one for each piece."""
    reading_from(incoming.socket)
    going_on = _original_read(transport, incoming, has_exclusive_flag=has_exclusive_flag)
    while going_on is incoming and not incoming.failCount and not incoming.receivedAllData():
        try:
            data = incoming.socket.recv(incoming.remainingSize())
        except OSError:
            return incoming  # nothing more yet; the loop tells
        if not data:
            incoming.close()
            return None
        try:
            incoming.addData(data)
        except RefusedPacket:
            incoming.close()
            return None
        going_on = transport._addedDataToIncoming(incoming, has_exclusive_flag=has_exclusive_flag)
    return going_on


class _Exclusively:
    """The library's `exclusive_processing`, without a generator for each of its many uses."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        while not self._transport._exclusively_processing():
            time.sleep(0.000001)

    def __exit__(self, *_: object) -> None:
        self._transport._not_processing()


def _receive_unlogged(actor: Any, message: Any, sender: Any) -> None:
    """The library's delivery inside one process, without looking up a logger for each message: a seventh of a worker's time."""
    actor.receiveMessage(message, sender)


def _realize_wakeups(system: Any) -> None:
    """The library's look for timers that are due, where there are any: it makes a clock and three lists for none."""
    if system._wakeUps:
        _original_wakeups(system)


def _run_sends(system: Any, timeout: Any = None, stop_on_available: Any = False) -> None:
    """The library's delivery of all that waits in one process, without the timers it makes for a limit that nobody has set.

    With `_realize_wakeups` and `_run_send` a message and its answer cost a worker 5.5 µs, not 20; it has five for each reply of a script.
    Can go when `tell` and `listen` take no longer without them.
    """
    if timeout or system.procLimit or system._wakeUps:
        _original_run_sends(system, timeout, stop_on_available)
        return
    pending = system._pendingSends
    while pending:
        system._runSingleSend(pending.pop(0))
        if stop_on_available and _is_answered(stop_on_available):
            return


def _is_answered(asker: Any) -> bool:
    return any(not isInternalActorSystemMessage(response) for response in getattr(asker.instance, "responses", ()))


def _run_send(system: Any, parcel: Any) -> None:
    """The library's delivery of one message; it asks seven times what kind of message that may be. Ours are none of them."""
    target = system.actorRegistry.get(parcel.toActor.actorAddressString)
    if isinstance(parcel.msg, Message) and not parcel.attempts and target is not None and target.instance:
        system._callActorWithMessage(target, parcel, parcel.msg, parcel.sender)
    else:
        _original_run_send(system, parcel)


def _short_name(parcel: Any) -> str:
    """For the library's debug log, which is off, and whose texts are made all the same."""
    return type(parcel.message).__name__
