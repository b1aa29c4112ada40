"""The threads of V8: which one belongs to which isolate, and how much processor time it has used.

V8 does not tell. But a new thread inherits the name of the one that starts it, so the helper that makes a context takes a name
nobody else has, and looks for its heir. On Linux; elsewhere nothing is found, and time is measured by the clock on the wall.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

UNKNOWN: Final = 0
MAX_NAME_CHARS: Final = 15  # the kernel's limit
_PR_SET_NAME: Final = 15
_TASKS: Final = Path("/proc/self/task")
_numbers = itertools.count(1)


def started_thread(make: Callable[[], T]) -> tuple[T, int]:
    """Runs `make` and finds the thread that was started in it.

    Returns:
        What `make` gave, and the system's id of the thread, or UNKNOWN.
    """
    if sys.platform != "linux":
        return make(), UNKNOWN
    mark = f"v8 {os.getpid() % 10000} {next(_numbers) % 1_000_000}"
    before = {each.name for each in _TASKS.iterdir()}
    own_id = threading.get_native_id()
    own_name = _name_of(str(own_id))
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NAME, mark.encode())
    try:
        made = make()
        new = {each.name for each in _TASKS.iterdir()} - before
        found = next((int(task) for task in new if _name_of(task) == mark), UNKNOWN)
    finally:
        prctl(_PR_SET_NAME, own_name.encode())
    return made, found


def name_thread(thread_id: int, name: str) -> None:
    """How `top -H` shows a thread of this process; the end of a long name counts."""
    if thread_id != UNKNOWN:
        with suppress(OSError):
            (_TASKS / str(thread_id) / "comm").write_text(name[-MAX_NAME_CHARS:], encoding="utf-8")


def _name_of(task: str) -> str:
    with suppress(OSError):
        return (_TASKS / task / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def cpu_us(thread_id: int) -> int | None:
    """Processor time a thread of this process has used so far, in µs; None where that is not known, or it has ended."""
    if thread_id == UNKNOWN:
        return None
    # The kernel's number for "scheduler clock of that thread" (2) "of one thread, not its process" (4).
    try:
        return time.clock_gettime_ns((~thread_id << 3) | 6) // 1000
    except OSError:
        return None
