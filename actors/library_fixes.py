"""Things in Thespian 4.0.1 that would hang or break us, or cost most of a message's time, put right from outside.

Each says by what sign it can go. The three about time (`_PollOnce`, `_send_and_await`, `_Exclusively`, and the short names in logs) took a
round trip between two actors from 460 to 320 µs of processor time per side, and from 500 to 330 µs of waiting.
"""

from __future__ import annotations

import gc
import os
import select
import selectors
import signal
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from thespian.system import actorManager, isInternalActorSystemMessage, multiprocCommon, simpleSystemBase
from thespian.system.transport import ReceiveEnvelope, TCPTransport, TransmitIntent

from flora.actors.stack_room import with_room
from flora.actors.wire import RefusedPacket, reading_from
from flora.messages.base import Message

FAULT_SIGNALS = frozenset(
    {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}
)
WAITING_SEND_POLL = timedelta(milliseconds=1)

MAX_EXITS = 64

_exits: deque[tuple[int, int]] = deque(
    maxlen=MAX_EXITS
)  # (process id, exit code) of children that nobody has asked for

_original_is_alive = multiprocCommon.MultiProcReplicator._checkChildLiveness
_original_run = actorManager.ActorManager.run
_original_delay = TransmitIntent.delay
_original_send_step = TCPTransport.TCPTransport._next_XMIT_2
_original_ack_step = TCPTransport.TCPTransport._next_XMIT_4
_original_wakeups = simpleSystemBase.ActorSystemBase._realizeWakeups
_original_run_sends = simpleSystemBase.ActorSystemBase._runSends
_original_run_send = simpleSystemBase.ActorSystemBase._runSingleSend
_original_read = TCPTransport.TCPTransport._handleReadableIncoming


def install() -> None:
    """Applies the fixes to this process and all that it forks. May be called again."""
    if TransmitIntent.delay is _delay:
        return
    TransmitIntent.delay = _delay
    multiprocCommon.set_signal_handler = _set_signal_handler
    actorManager.ActorManager.run = _run_with_room
    multiprocCommon.MultiProcReplicator._checkChildLiveness = staticmethod(_is_alive_or_noted)
    multiprocCommon.MultiProcReplicator._childExited = _forget_child
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
    # Thespian closes the parent's sockets in a forked child by number, and their objects stay behind. Were they collected as
    # garbage, they would close the same numbers once more, which by then may be the child's own sockets. Can go when the
    # library starts its actors in fresh processes.
    os.register_at_fork(after_in_child=gc.freeze)


def _run_with_room(manager: Any) -> Any:
    """An actor's loop. A forked one stands on top of its parent's; see `stack_room`. Can go when each frame has room by itself."""
    return with_room(lambda: _original_run(manager))


def _set_signal_handler(number: int, handler: Any) -> Any:
    """Sets a handler, but none for the signals by which a process dies of its own fault.

    The library sets one for every signal. Python's handlers only take a note, so the processor returns to the very instruction
    that failed, for ever: V8 ends a process by such an instruction, and its thread spun instead while everybody waited.
    Can go when an actor ends by a signal raised in it (tests/actors/test_library_fixes.py).
    """
    return None if number in FAULT_SIGNALS else signal.signal(number, handler)


def exit_code_of(pid: int) -> int | None:
    """How a child of this process ended: its exit code, or minus the signal. None: not known. Told once."""
    for entry in _exits:
        if entry[0] == pid:
            _exits.remove(entry)
            return entry[1]
    return None


def _is_alive_or_noted(child: Any) -> bool:
    """The library's look at a child process, which throws away how it ended.

    Whether a worker was killed from outside or V8 ended it decides who is to blame. Can go when `ChildActorExited` says so.
    """
    alive: bool = _original_is_alive(child)
    if not alive and child.childProc.exitcode is not None:
        _exits.append((child.childProc.pid, child.childProc.exitcode))
    return alive


def _forget_child(system: Any, address: Any) -> None:
    """Takes one child off the library's list, when its parent has been told that it ended.

    The library takes every child off that is dead by then, so that nobody ever hears of one that died at the same moment as another.
    Can go when tests/actors/test_library_fixes.py passes without it.
    """
    children = getattr(system, "_child_procs", [])
    system._child_procs = [
        child
        for child in children
        if getattr(child, "childRealAddr", child.childAddr) != address or _is_alive_or_noted(child)
    ]


def _delay(intent: Any, current_time: datetime | None = None) -> timedelta:
    """How long a send that waits for another one to the same receiver may sleep.

    The library wakes such a send when the first one's socket becomes free, except when the receiver was sending to us on that
    socket at the same moment; then it sleeps for half its time-out, 150 seconds (read in its code, not seen here). So it looks
    again after a millisecond.
    Can go when tests/actors/test_library_fixes.py passes without it.
    """
    delay: timedelta = _original_delay(intent, current_time)
    if getattr(intent, "_awaitingTXSlot", False):
        return min(delay, WAITING_SEND_POLL)
    return delay


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
