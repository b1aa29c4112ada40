"""Keeps the embedded servers running: starts them, repairs them, ends them.

The kernel ends a server when the *thread* that started it ends. So everything here happens on one thread that lives as
long as the program, the launcher's main thread: it calls `start` once, then `poll` a few times a second, then `stop`.

How it fails: a server that dies is started again on the same files and the same socket, first at once, then after
growing pauses; clients see refused connections meanwhile. A server that dies again and again is tried for ever, and
each try is reported. If the program dies, the kernel tells the servers to end; a rest of them is ended by the next
start.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from flora.messages.errors import BugError, StorageError
from flora.storage.backoff import Backoff
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.postgres import EmbeddedPostgres
from flora.storage.embedded.server import Progress, Server, log_tail, pids_at_home, spawn
from flora.storage.embedded.valkey import EmbeddedValkey

PAUSE = Backoff(first_s=0.1, cap_s=10.0)
HEALTHY_AFTER_S = 30.0  # a server that ran this long starts again without a pause
REST_GRACE_S = 2.0  # what is left of a dead server gets this long before SIGKILL
START_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """Something happened to a server. `what`: died, restarted."""

    service: str
    what: str
    detail: str


class _Supervised:
    """One server and the state of its process."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self._failures = 0
        self._started_at = 0.0
        self._not_before = 0.0  # monotonic
        self._rest_since: float | None = None

    def step(self, now: float) -> ServiceEvent | None:
        """Moves on by at most one thing, without waiting for anything."""
        if self.process is None:
            if now >= self._not_before and self._rest_is_gone(now):
                self.server.clean()
                self.process = spawn(self.server)
                self._started_at = now
            return None
        if self.process.poll() is not None:
            return self._died(now)
        if not self.ready and self.server.is_ready(self.process.pid):
            self.ready = True
            return ServiceEvent(self.server.name, "restarted", f"pid {self.process.pid}")
        return None

    def _died(self, now: float) -> ServiceEvent:
        assert self.process is not None
        if self.ready and now - self._started_at > HEALTHY_AFTER_S:
            self._failures = 0
        pause_s = PAUSE.delay_s(self._failures, random.Random()) if self._failures else 0.0
        self._failures += 1
        self._not_before = now + pause_s
        how = _ending(self.process.returncode)
        detail = f"{how}, starting again" + (f" in {pause_s:.1f} s" if pause_s else "")
        self.process, self.ready = None, False
        return ServiceEvent(self.server.name, "died", detail)

    def _rest_is_gone(self, now: float) -> bool:
        """Whether nothing of an earlier server is left; what is left is told to go, in the end with SIGKILL."""
        rest = pids_at_home(self.server.home)
        if not rest:
            self._rest_since = None
            return True
        if self._rest_since is None:
            self._rest_since = now
            _signal_all(rest, self.server.death_signal)
        elif now - self._rest_since > REST_GRACE_S:
            _signal_all(rest, signal.SIGKILL)
        return False


class ServiceSupervisor:
    """Starts, watches and stops the servers that have no URL in the configuration.

    Args:
        folder: The data folder, locked; the caller closes it after `stop`.
        postgres: Whether to run Postgres.
        cache: Whether to run Valkey.
    """

    def __init__(self, folder: DataFolder, *, postgres: bool = True, cache: bool = True) -> None:
        self._folder = folder
        self._postgres = EmbeddedPostgres(folder) if postgres else None
        self._cache = EmbeddedValkey(folder) if cache else None
        servers: tuple[Server | None, ...] = (self._postgres, self._cache)
        self._all = [_Supervised(server) for server in servers if server is not None]
        self._thread = threading.current_thread()

    @property
    def database_url(self) -> str | None:
        """For psycopg; None when Postgres is not ours. Valid after `start`."""
        return self._postgres.url if self._postgres else None

    @property
    def admin_url(self) -> str | None:
        """Superuser of the embedded Postgres, maintenance database."""
        return self._postgres.admin_url if self._postgres else None

    @property
    def cache_url(self) -> str | None:
        """For redis-py; None when the cache is not ours. Valid after `start`."""
        return self._cache.url if self._cache else None

    @property
    def pids(self) -> dict[str, int]:
        """Pids of the servers that run, by name."""
        return {one.server.name: one.process.pid for one in self._all if one.process is not None}

    def start(self, progress: Progress = lambda _: None, *, limit_s: float = 120.0) -> None:
        """Makes what is missing and returns when all servers take clients.

        Raises:
            ConfigError: the data folder, the user or the machine does not allow it.
            StorageError: a server does not start; the message ends with what it said.
        """
        self._check_thread()
        if not self._all:
            return
        self._folder.services.mkdir(mode=0o700, exist_ok=True)
        for one in self._all:
            one.server.prepare(progress)
        progress("starting " + " and ".join(one.server.name for one in self._all))
        deadline = time.monotonic() + limit_s
        try:
            while not all(one.ready for one in self._all):
                self._start_step(deadline)
                time.sleep(START_TICK_S)
        except BaseException:
            self.stop(limit_s=2.0)
            raise

    def _start_step(self, deadline: float) -> None:
        for one in self._all:
            event = one.step(time.monotonic())
            late = time.monotonic() > deadline and not one.ready
            if late or (event is not None and event.what == "died"):
                reason = "is not ready in time" if late else f"does not start: {event.detail if event else ''}"
                raise StorageError(
                    f"{one.server.name} {reason}; it said: {log_tail(one.server.log_file)}",
                    log=str(one.server.log_file),
                )

    def poll(self) -> list[ServiceEvent]:
        """Looks after the servers; returns at once, with what happened. Call it at least twice a second."""
        self._check_thread()
        now = time.monotonic()
        return [event for one in self._all if (event := one.step(now)) is not None]

    def stop(self, limit_s: float = 10.0) -> None:
        """Ends all servers, politely and then not, within about `limit_s`. May be called twice."""
        running = [one for one in self._all if one.process is not None]
        steps = max((len(one.server.stop_signals) for one in running), default=0)
        for index in range(steps):
            for one in running:
                _signal(one, one.server.stop_signals[: index + 1][-1])
            if _all_ended(running, limit_s / steps):
                break
        for one in running:
            _signal(one, signal.SIGKILL)
        _all_ended(running, limit_s)
        for one in running:
            _signal_all(pids_at_home(one.server.home), signal.SIGKILL)
            one.process, one.ready = None, False

    def _check_thread(self) -> None:
        if threading.current_thread() is not self._thread:
            raise BugError("the embedded servers are looked after from another thread than the one that made them")


def _signal(one: _Supervised, number: signal.Signals) -> None:
    if one.process is not None and one.process.poll() is None:
        one.process.send_signal(number)


def _all_ended(running: Sequence[_Supervised], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(one.process is not None and one.process.poll() is None for one in running):
        if time.monotonic() > deadline:
            return False
        time.sleep(START_TICK_S)
    return True


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit status {returncode}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"was ended by signal {-returncode}"
