"""Processes of a benchmark: started in a folder of their own, accounted by it, and gone when the benchmark is, however it ends."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STOP_LIMIT_S: Final = 13.0  # flora allows itself ten
ERROR_LINES_SHOWN: Final = 15
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """The benchmark cannot go on; the text is for a person."""


@dataclass(slots=True)
class Child:
    """A started process, in its own session."""

    name: str
    process: subprocess.Popen[str]
    folder: Path

    def line(self, containing: str, limit_s: float) -> str:
        """The first line on its stdout that has this text in it.

        Raises:
            BenchFailed: it ended, or the time is over.
        """
        deadline = time.monotonic() + limit_s
        assert self.process.stdout is not None
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([self.process.stdout], [], [], left_s)[0]:
                break
            line = self.process.stdout.readline()
            if containing in line:
                return line.strip()
            if not line:
                break
        raise BenchFailed(f"{self.name} did not get ready. The end of what it said:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its stderr."""
        text = (self.folder / f"{self.name}.err").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-ERROR_LINES_SHOWN:])

    def end(self) -> int | None:
        """Asks it to end; gives its exit code, or None: it did not."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(STOP_LIMIT_S)
        return None

    def stop(self) -> None:
        """Ends it and its session, politely and then not."""
        self.end()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Sandbox:
    """A temporary folder and the processes started in it. Leaving the block ends and removes all of it."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="flora-bench-")).resolve()
        # Postgres gives up root, and must still reach the data folder inside.
        self.folder.chmod(0o755)
        self._children: list[Child] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.stop()
        deadline = time.monotonic() + STOP_LIMIT_S
        while (left := processes_under(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, command: Sequence[str | Path], environ: Mapping[str, str]) -> Child:
        """Starts a process whose working directory is a folder called `name`.

        Args:
            name: Also of the file with its stderr.
            command: Program and arguments.
            environ: Added to a copy of ours without what would configure flora or a bot.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        with (self.folder / f"{name}.err").open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={**neutral_environment(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - we have no threads
            )
        child = Child(name, process, self.folder)
        self._children.append(child)
        return child

    def end(self, child: Child) -> int | None:
        """Asks one process to end, leaves what it started alone, and gives its exit code; None: it did not end."""
        return child.end()

    def stop(self, child: Child) -> None:
        """Ends one process now."""
        self._children.remove(child)
        child.stop()

    def pids(self, name: str) -> dict[int, str]:
        """Processes that run in the folder of a child, with what they call themselves."""
        return processes_under(self.folder / name)


def _die_with_parent() -> None:
    """In the child: also a benchmark that is killed leaves nothing behind."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def neutral_environment() -> dict[str, str]:
    """Our environment without settings of flora or of a bot: the defaults are measured."""
    from flora.storage.config import KEYS

    ours = {key.env for key in KEYS}
    return {name: value for name, value in os.environ.items() if name not in ours}


def processes_under(folder: Path) -> dict[int, str]:
    """Processes whose working directory is inside a folder: pid → title. Linux only; elsewhere nothing is found."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder):
                title = (entry / "cmdline").read_bytes().rstrip(b"\0 ").replace(b"\0", b" ").decode(errors="replace")
                found[int(entry.name)] = _short(title)
    return found


def _short(title: str) -> str:
    """What a process is, without paths and arguments."""
    if title.startswith("flora: "):
        return title.removeprefix("flora: ")
    if "postgres" in title.split(" ", maxsplit=1)[0]:
        return "postgres"
    if "valkey" in title:
        return "valkey"
    return "launcher" if " up" in title else title.split(" ", maxsplit=1)[0].rpartition("/")[2]


def cpu_s(pids: Mapping[int, str]) -> dict[str, float]:
    """Processor time so far, summed by title."""
    spent: dict[str, float] = {}
    for pid, title in pids.items():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            spent[title] = spent.get(title, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return spent


def memory_mb(pids: Mapping[int, str]) -> dict[str, float]:
    """Proportional set size in MB, summed by title: a page shared by n processes counts 1/n for each."""
    used: dict[str, float] = {}
    for pid, title in pids.items():
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    used[title] = used.get(title, 0.0) + int(line.split()[1]) * 1024 / 1e6
    return used
