"""Things in Thespian 4.0.1 that would hang or break us, put right from outside. Each says by what sign it can go.

What only costs time is in `library_speed`.
"""

from __future__ import annotations

import gc
import os
import signal
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thespian.system import actorManager, multiprocCommon
from thespian.system.transport import TransmitIntent

from flora.actors import library_speed
from flora.actors.stack_room import with_room

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
_original_delay: Callable[[Any, float | None], timedelta] = TransmitIntent.delay


def install() -> None:
    """Applies the fixes to this process and all that it forks. May be called again."""
    if TransmitIntent.delay is _delay:
        return
    library_speed.install()
    TransmitIntent.delay = _delay
    multiprocCommon.set_signal_handler = _set_signal_handler
    actorManager.ActorManager.run = _run_with_room
    multiprocCommon.MultiProcReplicator._checkChildLiveness = staticmethod(_is_alive_or_noted)
    multiprocCommon.MultiProcReplicator._childExited = _forget_child
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


def _delay(intent: Any, current_time: float | None = None) -> timedelta:
    """How long a send that waits for another one to the same receiver may sleep.

    The library wakes such a send when the first one's socket becomes free, except when the receiver was sending to us on that
    socket at the same moment; then it sleeps for half its time-out, 150 seconds (read in its code, not seen here). So it looks
    again after a millisecond.
    Can go when tests/actors/test_library_fixes.py passes without it.
    """
    delay = _original_delay(intent, current_time)
    return min(delay, WAITING_SEND_POLL) if getattr(intent, "_awaitingTXSlot", False) else delay
