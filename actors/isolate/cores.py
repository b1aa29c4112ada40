"""Where a worker's threads run, and which of them goes first."""

from __future__ import annotations

import os
import sys

from flora.messages.settings import RuntimeSettings


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


def pin_worker(worker_id: int, runtime: RuntimeSettings) -> None:
    """Keeps this process on one core, where there is one for each worker and one more.

    With fewer, pinning cost a quarter of the events per second (two cores, four workers, 100 guilds).
    """
    cores = usable_cores()
    if runtime.pin_workers and len(cores) > runtime.max_workers:
        pin_process(cores[worker_id % len(cores)])


def give_way() -> None:
    """Let this thread, and all it starts, not push others off their core when it wakes up.

    For V8's threads. The host queues two calls per dispatch; without this, the first one's wake-up takes the core away from
    the host, and the second one does it again (measured on one core: 2.0 context switches per dispatch instead of 1.0, a
    tenth to a quarter more time). And the host's own thread is never kept waiting by guests that compute.
    Does nothing on systems other than Linux.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
