"""Things in Thespian 4.0.1 that would hang or break us, put right from outside. Each says by what sign it can go."""

from __future__ import annotations

import gc
import os
import signal
from datetime import datetime, timedelta
from typing import Any

from thespian.system import multiprocCommon
from thespian.system.transport import TransmitIntent

FAULT_SIGNALS = frozenset(
    {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}
)
WAITING_SEND_POLL = timedelta(milliseconds=1)

_original_delay = TransmitIntent.delay


def install() -> None:
    """Applies the fixes to this process and all that it forks. May be called again."""
    if TransmitIntent.delay is _delay:
        return
    TransmitIntent.delay = _delay
    multiprocCommon.set_signal_handler = _set_signal_handler
    # Thespian closes the parent's sockets in a forked child by number, and their objects stay behind. Were they collected as
    # garbage, they would close the same numbers once more, which by then may be the child's own sockets. Can go when the
    # library starts its actors in fresh processes.
    os.register_at_fork(after_in_child=gc.freeze)


def _set_signal_handler(number: int, handler: Any) -> Any:
    """Sets a handler, but none for the signals by which a process dies of its own fault.

    The library sets one for every signal. Python's handlers only take a note, so the processor returns to the very instruction
    that failed, for ever: V8 ends a process by such an instruction, and its thread spun instead while everybody waited.
    Can go when an actor ends by a signal raised in it (tests/actors/test_library_fixes.py).
    """
    return None if number in FAULT_SIGNALS else signal.signal(number, handler)


def _delay(intent: Any, current_time: datetime | None = None) -> timedelta:
    """How long a send that waits for another one to the same receiver may sleep.

    The library wakes such a send when the first one's socket becomes free, except when the receiver was sending to us on that
    socket at the same moment; then it sleeps for half its time-out, 150 seconds (seen). So it looks again after a millisecond.
    Can go when tests/actors/test_library_fixes.py passes without it.
    """
    delay: timedelta = _original_delay(intent, current_time)
    if getattr(intent, "_awaitingTXSlot", False):
        return min(delay, WAITING_SEND_POLL)
    return delay
