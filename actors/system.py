"""Starts and ends the actor system, and ties every one of its processes to the launcher's life.

Thespian (4.0.1) starts its admin process as a daemon, which outlives whoever started it, with all actors. Each of its processes calls
`setProcName` once it is set up; we put our own function there (the sign that this can go: an admin that ends with its
starter). It names the process, gives logging back to us, and starts a thread that waits on a pipe whose only writer is
the launcher: when the launcher ends, in whatever way, the pipe closes and the process ends itself.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from setproctitle import setproctitle
from thespian.actors import ActorSystem
from thespian.system import logdirector, multiprocCommon
from thespian.system.utilis import thesplog_control

from flora.actors import dead_letters, library_fixes, wire
from flora.actors.process_log import configure_logging
from flora.actors.strays import Strays
from flora.actors.tracing import Tracer
from flora.messages.settings import Settings
from flora.messages.trace import current_trace

MAX_OPEN_FILES = 65_536
STARTUP_TRIES = 5  # the admin's port is chosen before it is bound; somebody else may take it in between
_PLAIN_NAMES = {"MultiProcAdmin": "flora: actor admin", "logger": "flora: actor logger"}


class Lifeline:
    """A pipe that closes when the launcher ends. Made by the launcher before it starts anything."""

    def __init__(self, settings: Settings | None = None) -> None:
        """settings: Where the library's own processes keep traces of what they refuse; None: nowhere."""
        self._settings = settings
        self._read_fd, write_fd = os.pipe()
        self._write_fd: int | None = write_fd
        self._owner = os.getpid()
        self._root_logging = (logging.root, logging.Logger.manager)

    def watch(self) -> None:
        """In a forked process: end this process when the launcher is gone."""
        if self._write_fd is not None:  # inherited closed by whoever is forked from here
            os.close(self._write_fd)
            self._write_fd = None
        threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

    def cut(self) -> None:
        """In the launcher: end every process that watches."""
        if self._write_fd is not None:
            os.close(self._write_fd)
            self._write_fd = None

    def _wait(self) -> None:
        while True:
            try:
                if not os.read(self._read_fd, 1):
                    break
            except InterruptedError:
                continue
            except OSError:
                break
        os.kill(os.getpid(), signal.SIGKILL)

    def adopt(self, name: str, address: Any) -> None:
        """Stands for Thespian's `setProcName`: called once in each of its processes."""
        setproctitle(_PLAIN_NAMES.get(name, f"flora: {name} (starting)"))
        if os.getpid() != self._owner:
            self._restore_logging()
            self.watch()
            if name in _PLAIN_NAMES and self._settings is not None:
                _keep_refusals(self._settings, _PLAIN_NAMES[name].removeprefix("flora: "))

    def _restore_logging(self) -> None:
        # Thespian sends each log record as a message to its logger process; ours go to stderr, unshuffled and at no cost.
        logging.root, logging.Logger.manager = self._root_logging
        logging.Logger.root = logging.root


def _keep_refusals(settings: Settings, process: str) -> None:
    """In the library's own processes, which are no actors of ours but listen like all others."""
    tracer = Tracer(settings, process, forks=True)
    strays = Strays(process, tracer.keep)

    def refused(reason: str, peer: str, size: int) -> None:
        strays.packet_refused(reason, peer, size)
        tracer.flush()

    wire.listen(refused)


class RunningSystem:
    """The actor system of this host."""

    def __init__(self, system: Any, port: int, serializer: wire.SignedPickle, lifeline: Lifeline) -> None:
        self._system = system
        self._lifeline = lifeline
        self.port = port
        self.serializer = serializer

    def create(self, actor_class: type) -> Any:
        """Creates a top-level actor and gives its address."""
        return self._system.createActor(actor_class)

    def tell(self, to: Any, message: Any) -> None:
        """Sends a message from outside."""
        self._system.tell(to, message)

    def ask(self, to: Any, message: Any, limit_s: float) -> Any:
        """Sends a message from outside and gives the first message that comes back; None when none does in time."""
        return self._system.ask(to, message, limit_s)

    def listen(self, limit_s: float) -> Any:
        """The next message to the outside; None when none comes in time."""
        return self._system.listen(limit_s)

    def shutdown(self, limit_s: float) -> None:
        """Ends all actors and the admin: asks them, and cuts the lifeline when they have not gone within the limit."""
        asking = threading.Thread(target=self._system.shutdown, name="system shutdown", daemon=True)
        asking.start()
        asking.join(limit_s)
        self._lifeline.cut()


def start(
    cluster_secret: bytes, log_level: str, work_dir: Path, log_format: str = "auto", settings: Settings | None = None
) -> RunningSystem:
    """Starts an actor system whose wire is signed and whose processes end with this one.

    Args:
        cluster_secret: At least 32 bytes.
        log_level: Filter for the processes that are not flora's actors.
        log_format: As for `configure_logging`.
        settings: For the traces of what is refused before any actor has started.
        work_dir: Where the actor library may keep its own status file.
    Raises:
        RuntimeError: no port could be had in `STARTUP_TRIES` tries.
    """
    os.environ["THESPLOG_FILE"] = str(work_dir / "thespian.log")
    thesplog_control(logging.CRITICAL, useLogging=False, tmpFileMaxSize=0)
    configure_logging(log_level, "actors", log_format)
    serializer = wire.install(cluster_secret)
    library_fixes.install()
    # A child that takes a dead one's place is started in the trace of that death, and outlives it.
    os.register_at_fork(after_in_child=partial(current_trace.set, None))
    dead_letters.install()
    _raise_file_limit()
    lifeline = Lifeline(settings)
    multiprocCommon.setProcName = lifeline.adopt
    logdirector.setProcName = lifeline.adopt
    error: Exception | None = None
    for _ in range(STARTUP_TRIES):
        port = _free_port()
        capabilities = {"Admin Port": port, "Convention Address.IPv4": f"127.0.0.1:{port}"}
        try:
            system = ActorSystem("multiprocTCPBase", capabilities, transientUnique=True)
        except Exception as exc:  # noqa: BLE001 - Thespian raises several unrelated kinds
            error = exc
            time.sleep(0.05)
            continue
        return RunningSystem(system, port, serializer, lifeline)
    raise RuntimeError(f"the actor system did not start: {error}") from error


def _raise_file_limit() -> None:
    """An isolate takes two descriptors; the usual soft limit of 1,024 would end a worker at 400 guilds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_OPEN_FILES), hard))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
