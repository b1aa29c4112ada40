"""What the supervisor needs to know of a server, and the one way in which servers are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from flora.storage.embedded.privileges import Identity

Progress = Callable[[str], None]

CHILD_PROGRAM = Path(__file__).with_name("child.py")
LOG_KEEP_BYTES = 4 * 1024 * 1024
LOG_TAIL_BYTES = 2000
# Nothing of the user's environment (PGDATA, PGOPTIONS, LD_PRELOAD …) may reach the servers.
CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class Server(Protocol):
    """One embedded server. All methods are called on the thread that supervises; none but `prepare` takes long."""

    name: str  # "Postgres"
    home: Path  # its working directory: a process that has it is this server, or a rest of it
    log_file: Path
    identity: Identity

    @property
    def url(self) -> str:
        """For clients; the same for the life of the supervisor."""

    @property
    def death_signal(self) -> signal.Signals:
        """What it gets when the program dies."""

    @property
    def stop_signals(self) -> Sequence[signal.Signals]:
        """Each one less polite than the one before; SIGKILL follows by itself."""

    def prepare(self, progress: Progress) -> None:
        """Makes its files if they are missing. Called once, before the first start."""

    def clean(self) -> None:
        """Removes what a dead predecessor left. Called before each start, when none of its processes is left."""

    def command(self) -> list[str]:
        """Program and arguments; the program as an absolute path."""

    def is_ready(self, pid: int) -> bool:
        """Whether the server with that pid takes clients; returns at once."""


def spawn(server: Server) -> subprocess.Popen[bytes]:
    """Starts it, in a session of its own (Ctrl-C is for the launcher), tied to the life of the calling thread."""
    with _open_log(server.log_file) as log:
        return subprocess.Popen(
            child_command(server.command(), server.identity, server.death_signal),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            start_new_session=True,
        )


def child_command(command: list[str], identity: Identity, death_signal: signal.Signals) -> list[str]:
    """The command that becomes `command` after giving up privileges."""
    helper = [sys.executable, "-I", "-S", str(CHILD_PROGRAM), str(os.getpid()), str(int(death_signal))]
    return [*helper, *identity.arguments(), "--", *command]


def _open_log(file: Path) -> IO[bytes]:
    with suppress(FileNotFoundError):
        if file.stat().st_size > LOG_KEEP_BYTES:
            file.replace(file.with_suffix(".log.1"))
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")


def log_tail(file: Path) -> str:
    """The last lines that a server wrote, for an error message."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""


def pids_at_home(home: Path) -> list[int]:
    """Processes whose working directory is `home`: a server and its children, also of an earlier run. Linux only."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == home:
                found.append(int(entry.name))
    return found
