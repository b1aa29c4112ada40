"""Trace files: each process writes its own, anybody reads them together, also when all that wrote them is dead.

A line is in the page cache when `flush` returns, so a killed process loses nothing that it had flushed. All files together stay
below a limit (see `flora.storage.trace_folder`); what is given up for it is chosen by `flora.storage.trace_tidy`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from flora.storage.trace_folder import (
    OPENING_LOCK,
    TraceLimits,
    list_segments,
    lock,
    locked,
    owner_name,
    segment_path,
    used_bytes,
)
from flora.storage.trace_record import TraceRecord, from_line, to_line
from flora.storage.trace_shares import survivors
from flora.storage.trace_tidy import guild_of, tidy

log = logging.getLogger(__name__)

COMPLAIN_EVERY_S = 60.0
TRY_AGAIN_S = 0.1  # where there is no room at the moment
_PASSES = 5  # of a reader, while files are put together under its hands


class TraceWriter:
    """The trace files of one process. Any thread may use it; nothing ever raises."""

    def __init__(
        self,
        folder: Path,
        process: str,
        max_bytes: int,
        *,
        tidies: bool = True,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Touches nothing before the first `flush`.

        Args:
            process: "worker 0"; who this is.
            max_bytes: Most that the files of all processes have.
            tidies: Whether it may start a thread, for some hundred milliseconds, when room must be made. Not in a process
                that forks.
        """
        self.lost = 0  # records that could neither be written nor kept in memory
        self._folder = folder
        self._process = process
        self._limits = TraceLimits(max_bytes)
        self._tidies = tidies
        self._now_s = now_s
        self._complain_at_s = self._try_again_s = -1.0
        self._tidying: threading.Thread | None = None
        self._start()
        _writers.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._fd = -1
        self._owner = ""
        self._number = 0
        self._torn = False

    def add(self, record: TraceRecord) -> None:
        """Takes a record; it is written with the next `flush`, or before if there are many."""
        try:
            line = to_line(record)
        except (TypeError, ValueError):
            self.lost += 1
            self._complain("a trace record cannot be written as JSON", record.name)
            return
        with self._lock:
            self._pending.append(line)
            self._pending_bytes += len(line)
            if self._pending_bytes >= self._limits.segment_bytes // 2:
                self._write()

    def flush(self) -> None:
        """Writes what was added, by one call to the system. What the disk refuses is counted and told in the process log."""
        if self._pending:
            with self._lock:
                self._write()

    def close(self) -> None:
        """Writes the rest, or counts it as lost, and lets the file go; the next `flush` begins another one."""
        with self._lock:
            self._write()
            self.lost += len(self._pending)
            self._forget_pending()
            self._let_go()

    def _write(self) -> None:
        if not self._pending:
            return
        try:
            ready = self._has_room() or self._open_next()
            if ready:
                self._write_pending()
        except OSError as error:
            self._give_up_pending(error)
        else:
            if not ready:
                self._bound_pending()

    def _has_room(self) -> bool:
        if self._fd < 0:
            return False
        facts = os.fstat(self._fd)
        # No name any more: somebody has removed the folder, and what is written would be gone.
        return facts.st_nlink > 0 and facts.st_size + self._pending_bytes + 1 <= self._limits.segment_bytes

    def _write_pending(self) -> None:
        text = b"".join(self._pending)
        if self._torn:
            text = b"\n" + text
        self._torn = True
        written = os.write(self._fd, text)
        if written < len(text):
            raise OSError(f"only {written} of {len(text)} bytes were taken")
        self._torn = False
        self._forget_pending()

    def _open_next(self) -> bool:
        """A new file, if there is room for it and nobody else is taking some at this moment."""
        now_s = self._now_s()
        if now_s < self._try_again_s:
            return False
        self._try_again_s = now_s + TRY_AGAIN_S
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._folder, OPENING_LOCK) as mine:
            if not mine:
                return False
            segments = list_segments(self._folder)
            used = used_bytes(segments, self._limits)
            if used > self._limits.high_bytes or len(segments) > self._limits.most_files:
                self._make_room()
            # Two more, because what is kept of old files is written before they are removed.
            if used + 3 * self._limits.segment_bytes > self._limits.max_bytes:
                return False
            self._begin_file()
        self._try_again_s = -1.0
        return True

    def _begin_file(self) -> None:
        self._let_go()
        self._owner = self._owner or owner_name(self._process)
        path = segment_path(self._folder, self._owner, self._number)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._number += 1
        self._fd = os.open(path, flags, 0o600)
        lock(self._fd)
        self._torn = False

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make_room(self) -> None:
        if self._tidies and (self._tidying is None or not self._tidying.is_alive()):
            # A daemon: it can be cut off anywhere, and no process waits for it when it ends.
            self._tidying = threading.Thread(
                target=tidy, args=(self._folder, self._limits), name="trace files", daemon=True
            )
            self._tidying.start()

    def _bound_pending(self) -> None:
        if self._pending_bytes < self._limits.segment_bytes:
            return
        sizes = [(guild_of(line), len(line)) for line in self._pending]
        kept = survivors(sizes, self._limits.segment_bytes // 2)
        lines = [line for line, stays in zip(self._pending, kept, strict=True) if stays]
        self.lost += len(self._pending) - len(lines)
        self._pending, self._pending_bytes = lines, sum(map(len, lines))
        self._complain("trace records were given up", "no room is being made in the folder of traces")

    def _give_up_pending(self, error: OSError) -> None:
        self.lost += len(self._pending)
        self._forget_pending()
        self._complain("trace records cannot be written", error)

    def _forget_pending(self) -> None:
        self._pending = []
        self._pending_bytes = 0

    def _complain(self, what: str, why: object) -> None:
        now_s = self._now_s()
        if now_s >= self._complain_at_s:
            self._complain_at_s = now_s + COMPLAIN_EVERY_S
            log.error("%s: %s", what, why, extra={"action": "trace_lost", "records": self.lost})

    def _after_fork(self) -> None:
        self._let_go()  # the parent's file, and its lock
        self._start()


_writers: weakref.WeakSet[TraceWriter] = weakref.WeakSet()


def _forget_files_of_parent() -> None:
    for writer in list(_writers):
        writer._after_fork()


os.register_at_fork(after_in_child=_forget_files_of_parent)


class TraceReader:
    """All files of a folder, whoever wrote them, while they are written and after."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def records(self) -> Iterator[TraceRecord]:
        """Every record once, by file, the files written last at the end. Torn lines are left out.

        Raises:
            OSError: the folder cannot be read.
        """
        for line in self.lines():
            if (record := from_line(line)) is not None:
                yield record

    def lines(self, since_us: int = 0) -> Iterator[bytes]:
        """As `records`, unread, and without files that were last written before `since_us`."""
        read: set[Path] = set()
        seen: set[bytes] = set()
        for _ in range(_PASSES):
            fresh = [each for each in list_segments(self._folder) if each.path not in read]
            gone = False
            for segment in fresh:
                read.add(segment.path)
                if segment.written_ns // 1000 < since_us:
                    continue
                try:
                    text = segment.path.read_bytes()
                except FileNotFoundError:  # given up since; what was kept of it is in a file that was not there
                    gone = True
                    continue
                for line in text.split(b"\n")[:-1]:  # after the last newline: nothing, or what is just being written
                    if (key := line[:_KEY_BYTES]) not in seen:
                        seen.add(key)
                        yield line
            if not gone:
                return


_KEY_BYTES = len('{"trace":"","span":""') + 32 + 16
"""What a line begins with; the same for the same span."""
