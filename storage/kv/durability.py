"""When what was written reaches the disk.

    interval   a helper thread syncs whatever was written, all files in one pass, at most a second after the first write
    always     before a call returns, or once at the end of a batch

A process that is killed loses nothing either way: what was written is the kernel's. This is about power cuts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Protocol

from flora.messages.errors import StorageError

INTERVAL_S = 1.0


class Durability(Enum):
    """The values of the setting `kv.durability`."""

    INTERVAL = "interval"
    ALWAYS = "always"


class SyncTarget:
    """One file or folder that the helper thread syncs when it was written to."""

    def __init__(self, fileno: int, syncer: Syncer) -> None:
        self.fileno = os.dup(fileno)  # of our own: the file may be closed while it is synced
        self._syncer = syncer
        self.passes = 0  # how many times it was synced
        self._is_dirty = False
        self._failure: OSError | None = None

    def mark(self) -> None:
        """Something was written. On the thread of the owner."""
        if not self._is_dirty:
            self._is_dirty = True
            self._syncer.wake(self)

    def check(self) -> None:
        """Raises if the disk refused: the kernel forgets such pages, so trying again would prove nothing."""
        if self._failure is not None:
            raise StorageError(f"the disk refused a write: {self._failure.strerror}") from self._failure

    def sync(self) -> None:
        """Syncs. On the helper's thread."""
        self._is_dirty = False  # before the sync: what is written meanwhile is for the next one
        try:
            self._syncer.fsync(self.fileno)
        except OSError as exc:
            self._failure = exc
        self.passes += 1


class Syncer:
    """The helper thread, which lives from the first write to `close`. One for all stores of a process."""

    def __init__(self, interval_s: float = INTERVAL_S, fsync: Callable[[int], None] = os.fsync) -> None:
        self.fsync = fsync
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._waiting: list[SyncTarget] = []
        self._retired: list[SyncTarget] = []
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def target(self, fileno: int) -> SyncTarget:
        """Something new to sync; give it back with `retire`."""
        return SyncTarget(fileno, self)

    def retire(self, target: SyncTarget) -> None:
        """The target is needed no more. What was written to it is still synced."""
        with self._changed:
            if self._thread is not None:
                self._retired.append(target)
                self._changed.notify()
                return
        os.close(target.fileno)

    def wake(self, target: SyncTarget) -> None:
        """A target was written to after it had been clean."""
        with self._changed:
            self._waiting.append(target)
            if self._thread is None and not self._is_closing:
                self._thread = threading.Thread(target=self._run, name="kv syncer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Syncs what is waiting and ends the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._thread = None
        self._close_retired([*self._retired])

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closing and not self._retired:
                    self._changed.wait()
                if self._waiting:
                    self._wait_out_interval()
                targets, self._waiting = self._waiting, []
                retired, self._retired = self._retired, []
                is_last = self._is_closing
            for target in targets:
                target.sync()
            self._close_retired(retired)
            if is_last:
                return

    def _wait_out_interval(self) -> None:
        until = time.monotonic() + self._interval_s
        while not self._is_closing and (left_s := until - time.monotonic()) > 0:
            self._changed.wait(left_s)

    @staticmethod
    def _close_retired(targets: list[SyncTarget]) -> None:
        for target in targets:
            with suppress(OSError):
                os.close(target.fileno)


class Synced(Protocol):
    """What a batch syncs at its end."""

    def sync(self) -> None:
        """Brings everything written so far to the disk.

        Raises:
            StorageError: the disk refused.
        """


class Commits:
    """Commit points of one guild's stores. One per guild, used on the owner's thread."""

    def __init__(self, durability: Durability, syncer: Syncer) -> None:
        self.syncer = syncer
        self.durability = durability
        self._batch: dict[Synced, None] | None = None

    @property
    def is_always(self) -> bool:
        return self.durability is Durability.ALWAYS

    def commit(self, file: Synced) -> None:
        """A write to the file is complete; with `always`: it is to be on the disk now, or at the end of the batch."""
        if self._batch is None:
            file.sync()
        else:
            self._batch[file] = None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Commits inside happen together at the end."""
        if self._batch is not None:  # the outer one does it
            yield
            return
        self._batch = {}
        try:
            yield
        finally:
            written, self._batch = self._batch, None
            with ExitStack() as stack:  # each is synced, whatever another one raises
                for file in reversed(written):
                    stack.callback(file.sync)

    def forget(self, file: Synced) -> None:
        """The file was synced and closed by somebody else."""
        if self._batch is not None:
            self._batch.pop(file, None)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    fileno = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fileno)
    finally:
        os.close(fileno)
