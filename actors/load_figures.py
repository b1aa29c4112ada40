"""How busy workers and guilds are: what they said, as shares of a core, smoothed. Pure.

Totals come in at each look, with the time at which they were read where they are counted; a share is what one grew by, per time. A share
follows a change within some `smoothing_s`, so that a moment's work is no load. What a worker does for its guilds beside their scripts
(taking events in, sending calls off) is theirs, too: it is split among them by their events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from flora.messages.ids import GuildId, WorkerId

LEAST_SPAN_US = 1000  # two readings closer than that say nothing

GuildTotals = tuple[int, int, int]
"""(processor time in µs, events done, memory in bytes)"""


@dataclass(slots=True)
class Trend:
    """A counter's rate, smoothed."""

    total: float = 0.0
    at_us: int = 0  # 0: nothing has been read yet
    per_s: float | None = None  # None: it takes two readings

    def read(self, total: float, at_us: int, smoothing_s: float) -> None:
        """Takes a reading; a total that fell began anew, and an interval that it began anew in is left out."""
        span_us = at_us - self.at_us
        if self.at_us and total >= self.total:
            if span_us < LEAST_SPAN_US:
                return
            rate = (total - self.total) * 1e6 / span_us
            weight = 1 - math.exp(-span_us / 1e6 / smoothing_s) if smoothing_s and self.per_s is not None else 1.0
            self.per_s = rate if self.per_s is None else self.per_s + weight * (rate - self.per_s)
        self.total, self.at_us = total, at_us


@dataclass(slots=True)
class WorkerFigures:
    """One worker."""

    cpu: Trend = field(default_factory=Trend)  # µs of processor time per second
    rss_bytes: int = 0
    answers: bool = True  # it said how it is when it was last asked

    @property
    def cpu_share(self) -> float:
        """Of one core; 0.0 as long as nothing is known."""
        return (self.cpu.per_s or 0.0) / 1e6


@dataclass(slots=True)
class GuildFigures:
    """One guild, in the worker where it was last."""

    worker: WorkerId
    cpu: Trend = field(default_factory=Trend)
    events: Trend = field(default_factory=Trend)
    memory_bytes: int = 0


class LoadFigures:
    """All that is known."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._workers: dict[WorkerId, WorkerFigures] = {}
        self._guilds: dict[GuildId, GuildFigures] = {}

    def worker(self, worker: WorkerId) -> WorkerFigures:
        """What is known of a worker, which may be nothing."""
        return self._workers.get(worker) or WorkerFigures()

    def said(self, worker: WorkerId, cpu_us: int, rss_bytes: int, at_us: int) -> None:
        """A worker's totals. at_us: monotonic microseconds of its machine."""
        figures = self._workers.setdefault(worker, WorkerFigures())
        figures.cpu.read(cpu_us, at_us, self._smoothing_s)
        figures.rss_bytes, figures.answers = rss_bytes, True

    def silent(self, worker: WorkerId) -> None:
        """A worker was asked, and has not answered in time."""
        self._workers.setdefault(worker, WorkerFigures()).answers = False

    def guilds_said(self, worker: WorkerId, guilds: Mapping[GuildId, GuildTotals], at_us: int) -> None:
        """Totals of the guilds of a worker."""
        for guild_id, (cpu_us, events, memory_bytes) in guilds.items():
            figures = self._guilds.get(guild_id)
            if figures is None or figures.worker != worker:
                figures = self._guilds[guild_id] = GuildFigures(worker)
            figures.cpu.read(cpu_us, at_us, self._smoothing_s)
            figures.events.read(events, at_us, self._smoothing_s)
            figures.memory_bytes = memory_bytes

    def forget_guilds(self) -> None:
        """They are not asked about for a while: what is known of them grows old."""
        self._guilds.clear()

    def keep(self, workers: set[WorkerId]) -> None:
        """Forgets all other workers, and their guilds."""
        self._workers = {worker: figures for worker, figures in self._workers.items() if worker in workers}
        self._guilds = {guild_id: figures for guild_id, figures in self._guilds.items() if figures.worker in workers}

    def guild_memory(self, guild_id: GuildId) -> int:
        """What a guild has in memory, in bytes; 0: not known."""
        figures = self._guilds.get(guild_id)
        return figures.memory_bytes if figures is not None else 0

    def guild_shares(self, worker: WorkerId) -> dict[GuildId, float]:
        """What each guild of a worker costs it, as a share of a core. Guilds of whom too little is known are left out."""
        here = {
            guild_id: figures
            for guild_id, figures in self._guilds.items()
            if figures.worker == worker and figures.cpu.per_s is not None
        }
        own = {guild_id: (figures.cpu.per_s or 0.0) / 1e6 for guild_id, figures in here.items()}
        around = max(0.0, self.worker(worker).cpu_share - sum(own.values()))
        events = sum(figures.events.per_s or 0.0 for figures in here.values())
        each = around / events if events else 0.0
        return {guild_id: own[guild_id] + each * (figures.events.per_s or 0.0) for guild_id, figures in here.items()}
