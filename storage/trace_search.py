"""Looks for traces in their files: the newest first, and no further back than needed.

A file that was last written before a trace began has none of its hops. So files are read in the order in which they were last
written, newest first, and a trace is complete when all files that are left are older than its beginning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flora.storage.trace_folder import Segment, list_segments
from flora.storage.trace_query import Trace, TraceFilter, put_together
from flora.storage.trace_record import LINE_BEGINS, OK, from_line

SLACK_NS = 120 * 10**9
"""A trace's first hop may be written so much earlier than the others begin: longer than any queue or load holds one up."""

CHUNK_BYTES = 2_000_000  # read between two looks at what has been found
_PASSES = 5  # when files are put together while they are read
_TRACE = slice(len(LINE_BEGINS), len(LINE_BEGINS) + 32)
_KEY = slice(0, len('{"trace":"","span":"') + 32 + 16)
_TIMES = re.compile(rb'"at_us":([0-9]{1,18})(?:,"queued_us":([0-9]{1,18}))?(?:,"took_us":([0-9]{1,18}))?')


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    traces: list[Trace]  # newest first
    complete: bool = True  # False: there is more that was not looked at, because of the limits of the search


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """How far a search may go."""

    max_bytes: int = 1 << 40
    limit_s: float = 3600.0
    now_s: Callable[[], float] = time.monotonic


NO_LIMITS = SearchLimits()


@dataclass(slots=True)
class _Search:
    wanted: TraceFilter
    limit: int
    lines: dict[bytes, dict[bytes, bytes]] = field(default_factory=dict)  # trace → (trace, span) → line
    found: list[Trace] = field(default_factory=list)
    settled: set[bytes] = field(default_factory=set)

    def take(self, text: bytes) -> None:
        lines, settled = self.lines, self.settled
        for line in text.split(b"\n")[:-1]:  # after the last newline: nothing, or what is just being written
            if line.startswith(LINE_BEGINS) and (trace_id := line[_TRACE]) not in settled:
                lines.setdefault(trace_id, {}).setdefault(line[_KEY], line)

    def settle(self, older_than_ns: int) -> None:
        """Looks at the traces that began after a time before which all files were written that have not been read."""
        since_us = (older_than_ns + SLACK_NS) // 1000 if older_than_ns else 0
        wanted, kept = self._cheaply_wanted, {}
        spans_us = {trace_id: _span_us(lines.values()) for trace_id, lines in self.lines.items()}
        least_us = self.wanted.slower_than_us or -1
        enough = len(self.found) + self.limit  # of those that are looked at now; the others are older than all of them
        for trace_id in sorted(self.lines, key=lambda trace_id: (-spans_us[trace_id][0], trace_id)):
            lines, (began_us, ended_us) = self.lines[trace_id], spans_us[trace_id]
            if began_us < since_us:
                kept[trace_id] = lines
                continue
            self.settled.add(trace_id)
            if len(self.found) < enough and ended_us - began_us > least_us and wanted(lines):
                hops = [hop for line in lines.values() if (hop := from_line(line)) is not None]
                self.found += [trace for trace in put_together(hops) if self.wanted.matches(trace)]
        self.lines = kept

    @property
    def _cheaply_wanted(self) -> Callable[[dict[bytes, bytes]], bool]:
        """A look at the lines that lets through all that may match, without reading them."""
        parts = []
        if self.wanted.guild_id:
            parts.append(f'"guild_id":"{self.wanted.guild_id}"'.encode())
        if self.wanted.outcome and self.wanted.outcome.lower() != OK:
            parts.append(b'"outcome":"')
        if self.wanted.kind:
            parts.append(f'"kind":"{self.wanted.kind}"'.encode())
        return lambda lines: all(any(part in line for line in lines.values()) for part in parts)

    @property
    def newest(self) -> list[Trace]:
        return sorted(self.found, key=lambda trace: (-trace.starts_us, trace.trace_id))[: self.limit]


def _span_us(lines: Iterable[bytes]) -> tuple[int, int]:
    """When a trace began and ended, from its lines."""
    began_us, ended_us = [], []
    for line in lines:
        if (match := _TIMES.search(line)) is not None:
            at_us = int(match[1])
            began_us.append(at_us - int(match[2] or 0))
            ended_us.append(at_us + int(match[3] or 0))
    return min(began_us, default=0), max(ended_us, default=0)


def search(folder: Path, wanted: TraceFilter, limit: int, limits: SearchLimits = NO_LIMITS) -> Found:
    """The newest traces that match.

    Args:
        limit: Most traces that are given.
    Raises:
        OSError: the folder cannot be read.
    """
    work = _Search(wanted, limit)
    give_up_at_s = limits.now_s() + limits.limit_s
    read_bytes = unsettled_bytes = 0
    segments = _wanted_segments(folder, wanted)
    read = {each.path for each in segments}
    for at, segment in enumerate(segments):
        if read_bytes + segment.size > limits.max_bytes or limits.now_s() > give_up_at_s:
            work.settle(0)
            return Found(work.newest, complete=False)
        text = _text_of(segment)
        if text is None:
            _take_what_was_kept(folder, work, read)
            continue
        work.take(text)
        read_bytes += len(text)
        unsettled_bytes += len(text)
        if unsettled_bytes >= CHUNK_BYTES and at + 1 < len(segments):
            unsettled_bytes = 0
            older_than_ns = segments[at + 1].written_ns
            work.settle(older_than_ns)
            newest = work.newest
            if len(newest) == limit and newest[-1].starts_us * 1000 > older_than_ns + SLACK_NS:
                return Found(newest)
    work.settle(0)
    return Found(work.newest)


def find(folder: Path, begins: str, ends: str = "") -> list[Trace]:
    """All traces whose ids begin and end with these hex digits, newest first.

    Raises:
        OSError: the folder cannot be read.
    """
    pattern = re.compile(rb'^\{"trace":"' + begins.encode() + rb'[0-9a-f]*"[^\n]*$', re.MULTILINE)
    found: dict[str, list[bytes]] = {}
    read: set[Path] = set()
    for _ in range(_PASSES):
        gone = False
        for segment in [each for each in list_segments(folder) if each.path not in read]:
            read.add(segment.path)
            text = _text_of(segment)
            gone = gone or text is None
            for line in pattern.findall(text or b""):
                trace_id = line[_TRACE].decode()
                if trace_id.endswith(ends):
                    found.setdefault(trace_id, []).append(line)
        if not gone:
            break
    hops = [hop for lines in found.values() for line in lines if (hop := from_line(line)) is not None]
    return put_together(hops)


def _wanted_segments(folder: Path, wanted: TraceFilter) -> list[Segment]:
    since_ns = (wanted.since_us or 0) * 1000
    return [each for each in reversed(list_segments(folder)) if each.written_ns >= since_ns]


def _text_of(segment: Segment) -> bytes | None:
    try:
        return segment.path.read_bytes()
    except FileNotFoundError:
        return None


def _take_what_was_kept(folder: Path, work: _Search, read: set[Path]) -> None:
    """A file was given up since the folder was listed; what was kept of it is in one that was not there."""
    for segment in list_segments(folder):
        if segment.path not in read:
            read.add(segment.path)
            work.take(_text_of(segment) or b"")
