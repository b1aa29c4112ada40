"""What is known about the end of a worker: exit code or signal, and what it left behind about itself.

A worker that ends itself on purpose (its memory is used up) writes, beside its flight recorder, `<recorder>.cause`: JSON
`{"cause": sentence, "guilty": [guild ids]}`, and leaves with exit code `GAVE_UP`.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from pathlib import Path

import orjson

from flora.messages.base import Address
from flora.messages.dispatch import WorkerExited

log = logging.getLogger(__name__)

GAVE_UP = 70  # EX_SOFTWARE


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """How one worker ended."""

    signal: int | None = None
    cause: str = ""
    guilty: tuple[str, ...] = ()
    replaced: bool = False  # Runtime ended it

    @property
    def text(self) -> str:
        """For the process log."""
        if self.cause:
            return self.cause
        return "it left by itself" if self.signal is None else f"signal {self.signal}"

    @property
    def kind(self) -> str:
        """In a word, for counting: a signal's name, gave_up, replaced, or exit."""
        if self.replaced:
            return "replaced"
        if self.cause:
            return "gave_up"
        return "exit" if self.signal is None else _signal_name(self.signal)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"SIG{number}"


def cause_path(recorder: str) -> Path:
    """Where a worker with this flight recorder says why it ends itself."""
    return Path(f"{recorder}.cause")


def write_cause(recorder: Path, cause: str, guilty: tuple[str, ...]) -> None:
    """For the worker: called right before it leaves with `GAVE_UP`."""
    cause_path(str(recorder)).write_bytes(orjson.dumps({"cause": cause, "guilty": guilty}))


def set_aside(recorder: str) -> str:
    """Renames the flight recorder of a worker that is dead, so that it is not taken for a living one's; gives its path from now on."""
    path = Path(f"{recorder}.ended")
    try:
        Path(recorder).rename(path)
    except OSError:  # it never had one
        return recorder
    return str(path)


def end_of(exit_code: int | None, recorder: str) -> WorkerEnd:
    """What Runtime can say about a dead worker; removes the file that it left.

    Args:
        exit_code: As the kernel tells: below 0 a signal; None: not known.
        recorder: Path of its flight recorder; "" if it never had one.
    """
    if exit_code is not None and exit_code < 0:
        return WorkerEnd(signal=-exit_code)
    if exit_code != GAVE_UP or not recorder:
        return WorkerEnd()
    path = cause_path(recorder)
    try:
        said = orjson.loads(path.read_bytes())
        path.unlink()
        return WorkerEnd(cause=str(said["cause"]), guilty=tuple(map(str, said["guilty"])))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        log.warning("a worker gave itself up and its reason cannot be read: %r", exc)
        return WorkerEnd(cause="it gave itself up")


def exited(worker_id: int, recorder: str, end: WorkerEnd, address: Address | None = None) -> WorkerExited:
    """The message for the router. `address`: where the worker was."""
    return WorkerExited(
        worker_id=worker_id,
        recorder=recorder,
        address=address,
        signal=end.signal,
        cause=end.cause,
        guilty=end.guilty,
    )
