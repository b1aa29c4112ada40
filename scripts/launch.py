"""The launch script: starts everything, says when it is ready, keeps the servers alive, and ends it all.

Runs in the foreground. Prints exactly one line on stdout, `flora is ready on http://ADDRESS:PORT`; everything else goes to
stderr. Exits 0 on SIGINT and SIGTERM, when what runs and what is queued is done, or runtime.shutdown_timeout_secs are over;
1 on a fatal error. A second signal exits at once, with 128 and its number, as if it had not been caught (130, 143). However
it ends, every process it started ends with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from flora.actors import system
from flora.actors.runtime import Runtime
from flora.actors.shutdown import UNKNOWN
from flora.messages.base import Failed, Ok
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import BootProgress, Drain, FatalError, Peers, Start
from flora.messages.settings import Settings
from flora.messages.trace import new_run_id
from flora.scripts.simulator_process import SimulatorProcess
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor

POLL_S = 0.1
DRAIN = ReqId("drain")
ACTORS_STOP_LIMIT_S = 0.5
SERVICES_STOP_LIMIT_S = 1.5  # for Postgres' checkpoint; less when the time for the end is over
SERVICES_STOP_LEAST_S = 0.4
AFTER_DRAIN_S = 0.9  # all of the end but the draining is over by then


class Stop(Exception):
    """A signal asked us to end."""


class Launcher:
    """One run of flora on this host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = replace(settings, run_id=new_run_id())
        self._signals = 0
        self._in_setup = False
        self._end_by_s = 0.0  # when a signal was caught: the end should be over by then
        self._started_s = time.monotonic()

    def run(self) -> int:
        """Runs until a signal or a fatal error; gives the exit code."""
        self._catch_signals()
        try:
            self._in_setup = True
            with self._services() as settings, self._simulator(settings) as settings:
                self._in_setup = False
                return self._run_actors(settings)
        except Stop:
            return 0
        except FloraError as exc:
            say(f"flora cannot start: {exc}")
            return 1

    def _catch_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(
                128 + number
            )  # every process of ours ends with this one: the lifeline, and the kernel for the servers
        self._end_by_s = time.monotonic() + self._settings.runtime.shutdown_timeout_s + AFTER_DRAIN_S
        if self._in_setup:  # nothing to drain, and what is being waited for may never come
            self._in_setup = False
            raise Stop

    def _check_signals(self) -> None:
        if self._signals:
            raise Stop

    @contextmanager
    def _services(self) -> Iterator[Settings]:
        """Starts the servers that no URL is configured for; stops them at the end."""
        settings = self._settings
        folder = self._folder = DataFolder.open(settings.data_dir)
        self._supervisor = ServiceSupervisor(
            folder, postgres=settings.database.url is None, cache=settings.cache.url is None
        )
        try:
            self._supervisor.start(say)
            self._check_signals()
            yield replace(
                settings,
                database=replace(settings.database, url=settings.database.url or self._supervisor.database_url),
                cache=replace(settings.cache, url=settings.cache.url or self._supervisor.cache_url),
            )
        finally:
            self._in_setup = False
            self._supervisor.stop(self._services_limit_s())
            folder.close()

    def _services_limit_s(self) -> float:
        left_s = self._end_by_s - time.monotonic() if self._signals else SERVICES_STOP_LIMIT_S
        return max(SERVICES_STOP_LEAST_S, min(SERVICES_STOP_LIMIT_S, left_s))

    @contextmanager
    def _simulator(self, settings: Settings) -> Iterator[Settings]:
        """Starts the simulated Discord when there is no token; stops it at the end."""
        self._simulated: SimulatorProcess | None = None
        if not settings.discord.simulated:
            yield settings
            return
        self._simulated = SimulatorProcess(settings)
        try:
            self._simulated.start(say)
            self._check_signals()
            yield replace(settings, discord=self._simulated.discord_settings(settings.discord))
        finally:
            self._in_setup = False
            self._simulated.stop()

    def _run_actors(self, settings: Settings) -> int:
        for recorder in (settings.data_dir / "run").glob("*.recorder*"):
            recorder.unlink(missing_ok=True)  # of an earlier run: nobody will ask what its workers did
        running = system.start(
            settings.cluster_secret, settings.log_level, settings.data_dir, settings.log_format, settings
        )
        try:
            runtime = running.create(Runtime)
            start = Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime")
            running.tell(runtime, start)
            try:
                self._announce(self._await_boot(running))
                fatal = self._serve(running)
            except Stop:
                fatal = None
            if fatal is None:
                self._drain(running, runtime)
            return 0 if fatal is None else 1
        finally:
            running.shutdown(ACTORS_STOP_LIMIT_S)

    def _await_boot(self, running: system.RunningSystem) -> dict[str, dict[str, object]]:
        while True:
            self._check_signals()
            self._poll_children()
            match running.listen(POLL_S):
                case BootProgress(text=text):
                    say(text)
                case Ok(value=facts):
                    return dict(facts)
                case Failed() as failed:
                    raise FloraError(failed.message)
                case FatalError(text=text):
                    raise FloraError(text)

    def _announce(self, facts: dict[str, dict[str, object]]) -> None:
        if self._simulated is not None:
            say(f"simulated Discord: {self._simulated.url} (open it in a browser and type as a user)")
        say(f"started in {time.monotonic() - self._started_s:.1f} s")
        address, port = facts["http"]["address"], facts["http"]["port"]
        shown = "127.0.0.1" if address in {"0.0.0.0", "::"} else address
        url = f"http://{shown}:{port}"
        self._folder.announce(url)
        print(f"flora is ready on {url}", flush=True)

    def _serve(self, running: system.RunningSystem) -> str | None:
        """Keeps the servers alive until a signal (None) or a fatal error (its text)."""
        while not self._signals:
            self._poll_children()
            match running.listen(POLL_S):
                case BootProgress(text=text):
                    say(text)
                case FatalError(text=text):
                    say(f"flora ends: {text}")
                    return text
        return None

    def _poll_children(self) -> None:
        for event in self._supervisor.poll():
            say(f"{event.service} {event.what}: {event.detail}")
        if self._simulated is not None:
            self._simulated.poll()

    def _drain(self, running: system.RunningSystem, runtime: object) -> None:
        limit_s = self._settings.runtime.shutdown_timeout_s
        say(f"stopping; what runs and what is queued has {limit_s:g} s to end (once more: at once)")
        deadline = time.monotonic() + limit_s
        running.tell(runtime, Drain(req_id=DRAIN, limit_s=limit_s))
        while (left_s := deadline - time.monotonic()) > 0:
            self._poll_children()
            match running.listen(min(POLL_S, left_s)):
                case Ok(req_id=req_id, value=said) if req_id == DRAIN:
                    _say_what_was_left(said)
                    return
        say("not everything ended in time")


def _say_what_was_left(said: Mapping[str, object]) -> None:
    for name, left, what in (("router", "abandoned", "events"), ("gateway", "abandoned", "REST calls")):
        facts = said.get(name)
        if isinstance(facts, Mapping) and facts.get(left):
            say(f"{facts[left]} {what} were abandoned")
        elif facts == UNKNOWN:
            say(f"the {name} did not say in time whether {what} were abandoned")


def say(text: str) -> None:
    """Progress for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def run(settings: Settings) -> int:
    """Runs flora in the foreground until a signal; gives the exit code.

    Args:
        settings: As loaded by `flora.storage.config`.
    """
    return Launcher(settings).run()
