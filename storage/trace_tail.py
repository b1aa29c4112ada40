"""Follows trace files: what was added to them since the last look, by whichever process, old or new."""

from __future__ import annotations

import os
from pathlib import Path

from flora.storage.trace_folder import Segment, list_segments
from flora.storage.trace_record import TraceRecord, from_line

MOST_BYTES = 4_000_000  # read in one look; the rest with the next one


class TraceTail:
    """Where somebody is in each file of a folder."""

    def __init__(self, folder: Path) -> None:
        """Begins at what is there now.

        Raises:
            OSError: the folder cannot be read.
        """
        self._folder = folder
        self._read: dict[Path, int] = {each.path: each.size for each in list_segments(folder)}
        self.skipped_bytes = 0  # of files that were given up before they were read to their ends

    def news(self) -> list[TraceRecord]:
        """Records that were written since the last call, in no particular order; empty where there are none.

        Raises:
            OSError: the folder cannot be read.
        """
        segments = list_segments(self._folder)
        self._forget_all_but({each.path for each in segments})
        records: list[TraceRecord] = []
        left = MOST_BYTES
        for segment in segments:
            if segment.kept:  # old ones, put together: they were read where they came from
                continue
            text = self._added_to(segment, left)
            left -= len(text)
            records += [record for line in text.split(b"\n") if (record := from_line(line)) is not None]
            if left <= 0:
                break
        return records

    def _forget_all_but(self, there: set[Path]) -> None:
        for path in [path for path in self._read if path not in there]:
            del self._read[path]

    def _added_to(self, segment: Segment, most_bytes: int) -> bytes:
        """Whole lines that are new in a file."""
        begin = self._read.get(segment.path, 0)
        if segment.size <= begin:
            return b""
        try:
            fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # given up since
            self.skipped_bytes += segment.size - begin
            return b""
        try:
            text = os.pread(fd, min(segment.size - begin, most_bytes), begin)
        finally:
            os.close(fd)
        whole = text[: text.rfind(b"\n") + 1]
        self._read[segment.path] = begin + len(whole)
        return whole
