"""Pinning a worker to a core."""

from __future__ import annotations

import os
import sys


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores this process may run on; empty where the system does not say (macOS)."""
    if sys.platform != "linux":
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def pin_process(core: int) -> bool:
    """Keep this process, and all threads it starts from now on, on one core.

    Call it before `init_v8`: threads that exist already stay where they are. The wake-up between Python's thread and
    V8's is the dominant cost of a small dispatch, and about three times as dear across cores.

    Returns:
        Whether it was done; False on systems without affinities, or if this process may not use that core.
    """
    if core not in usable_cores():
        return False
    os.sched_setaffinity(0, {core})
    return True
