"""The simulated Discord as a process: its name, its end, and how it tells where it listens."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys

from setproctitle import setproctitle

from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.running import RunningSimulator

PROCESS_NAME = "flora: simulated discord"
_PR_SET_PDEATHSIG = 1


def serve(config: SimulatorConfig, *, ready_fd: int | None = None, die_with_parent: bool = True) -> None:
    """Serves until SIGINT or SIGTERM. To be called on the main thread of a process of its own.

    When it listens it writes one line of JSON, `{"port": …, "base_url": …, "api_base": …}`, to `ready_fd` and closes
    it; without one, to stdout. With `die_with_parent` the kernel sends SIGTERM when the *thread* that started this
    process ends, so start it from the parent's main thread.

    Raises:
        OSError: The port is taken.
    """
    setproctitle(PROCESS_NAME)
    if die_with_parent:
        _die_with_parent()
    asyncio.run(_serve(config, ready_fd))


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)  # it went before we asked to be told


async def _serve(config: SimulatorConfig, ready_fd: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with RunningSimulator(config) as running:
        line = json.dumps({"port": running.port, "base_url": running.base_url, "api_base": running.api_base}) + "\n"
        if ready_fd is None:
            print(line, end="", flush=True)
        else:
            with os.fdopen(ready_fd, "w") as file:
                file.write(line)
        await stop.wait()
