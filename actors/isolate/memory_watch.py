"""Resident memory of a worker: what it may be, who made it grow, what follows.

V8's heap limit and the account of typed arrays each see a part. What neither sees (a text that is one gigabyte for a moment, tables of
the internationalisation library, V8's own) shows in the resident memory of the process. Over the limit the guiltiest isolate is ended;
only when that does not help does the worker give itself up, and says who was guilty.

`MemoryWatch` decides and is pure. The rest reads what the kernel says; where it says nothing (not Linux) nothing is watched.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MB: Final = 1 << 20
AUTO_SHARE: Final = 0.6  # of the machine, for all workers together; the rest is for stores, actors and the page cache
AUTO_LEAST_BYTES: Final = 512 * MB
SETTLE_S: Final = 0.5  # an isolate that was ended has given its memory back by then
GIVE_UP_SHARE: Final = 1.5
GIVE_UP_AFTER_S: Final = 2.0
LEAST_GUILT_SHARE: Final = 1 / 16  # of the limit; who accounts for less is not the reason
TOUCHED_S: Final = 0.001  # stands for the time in V8 of an isolate that was in and out between two looks
NO_LIMIT: Final = 1 << 60  # cgroup v1 writes a huge number, v2 the word "max"


@dataclass(frozen=True, slots=True)
class Use:
    """One open isolate at one look."""

    number: int  # of the isolate; one that replaces it has another
    guild_id: str
    buffer_bytes: int  # typed arrays, by its own account
    busy_since_s: float | None  # time.monotonic(); None: V8 is not in it
    round_trips: int
    closing: bool = False  # it is being ended, and has not given its memory back yet


@dataclass(frozen=True, slots=True)
class EndIsolate:
    """This isolate is to be ended."""

    number: int
    guilt_bytes: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The worker is to end itself; `guilty`: guilds whose isolates were ended, or should have been."""

    rss_bytes: int
    guilty: tuple[str, ...]


class MemoryWatch:
    """Decides, from one look to the next."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._looked_at_s = 0.0
        self._rss = 0
        self._trips: dict[int, int] = {}
        self._grown: dict[int, float] = {}  # isolate → bytes by which the process grew while V8 was in it
        self._ended: dict[int, str] = {}  # isolates ended since the limit was passed → guild
        self._acted_at_s: float | None = (
            None  # since the limit was passed: when an isolate was ended, or none was to be found
        )
        self._far_over_since_s: float | None = None

    def look(self, now_s: float, rss_bytes: int, uses: Sequence[Use]) -> EndIsolate | GiveUp | None:
        """What is to be done now. Called every tenth of a second while anything runs.

        Args:
            now_s: time.monotonic().
            rss_bytes: resident memory of the process.
            uses: every isolate that is not closed.
        """
        self._attribute(now_s, rss_bytes, uses)
        if rss_bytes <= self.limit_bytes:
            self._ended.clear()
            self._acted_at_s = self._far_over_since_s = None
            return None
        if rss_bytes <= self.limit_bytes * GIVE_UP_SHARE:
            self._far_over_since_s = None
        elif self._far_over_since_s is None:
            self._far_over_since_s = now_s
        if self._acted_at_s is None or now_s - self._acted_at_s >= SETTLE_S:
            verdict = self._guiltiest(uses)
            if verdict is not None:
                self._acted_at_s = now_s
                self._ended[verdict.number] = next(use.guild_id for use in uses if use.number == verdict.number)
                return verdict
            self._acted_at_s = self._acted_at_s or now_s  # none is to be found: as good as done
        since_act_s = now_s - (self._acted_at_s or now_s)
        far_over_s = now_s - (self._far_over_since_s or now_s)
        if far_over_s >= GIVE_UP_AFTER_S and since_act_s >= SETTLE_S:
            return GiveUp(rss_bytes, tuple(dict.fromkeys(filter(None, self._ended.values()))))
        return None

    def _attribute(self, now_s: float, rss_bytes: int, uses: Sequence[Use]) -> None:
        """Growth since the last look goes to the isolates V8 was in meanwhile, by time; what was given back is taken from all alike."""
        change = rss_bytes - self._rss if self._rss else 0
        times_s = {use.number: self._time_in_v8(use, now_s) for use in uses}
        total_s = sum(times_s.values())
        kept = 1.0 if change >= 0 else rss_bytes / self._rss
        share = change / total_s if change > 0 and total_s > 0 else 0.0
        self._grown = {
            number: self._grown.get(number, 0.0) * kept + share * time_s for number, time_s in times_s.items()
        }
        self._trips = {use.number: use.round_trips for use in uses}
        self._rss, self._looked_at_s = rss_bytes, now_s

    def _time_in_v8(self, use: Use, now_s: float) -> float:
        if use.busy_since_s is not None:
            return max(TOUCHED_S, now_s - max(use.busy_since_s, self._looked_at_s))
        return TOUCHED_S if use.round_trips != self._trips.get(use.number) else 0.0

    def guilt_by_guild(self, uses: Iterable[Use]) -> dict[str, int]:
        """What each guild accounts for, in bytes: the growth of the process while V8 was in its isolates, or their typed arrays if more."""
        found: dict[str, int] = {}
        for use in uses:
            found[use.guild_id] = found.get(use.guild_id, 0) + self._guilt(use)
        return found

    def _guilt(self, use: Use) -> int:
        return max(use.buffer_bytes, int(self._grown.get(use.number, 0.0)))

    def _guiltiest(self, uses: Sequence[Use]) -> EndIsolate | None:
        if any(use.closing and use.number in self._ended for use in uses):
            return None  # what it holds would be charged to somebody else
        least = self.limit_bytes * LEAST_GUILT_SHARE
        guilt = {use.number: self._guilt(use) for use in uses if not use.closing}
        suspects = [number for number, size in guilt.items() if size >= least and number not in self._ended]
        if not suspects:
            return None
        number = max(suspects, key=guilt.__getitem__)
        return EndIsolate(number, guilt[number])


def worker_limit_bytes(configured_mb: int, machine_bytes: int, workers: int) -> int:
    """What one worker may have resident.

    Args:
        configured_mb: `runtime.max_worker_memory_mb`; 0: find out.
        machine_bytes: what the machine has, or what its cgroup allows.
        workers: how many share it.
    """
    if configured_mb:
        return configured_mb * MB
    return max(AUTO_LEAST_BYTES, int(machine_bytes * AUTO_SHARE / max(1, workers)))


def machine_bytes(cgroup_file: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of this machine, or less if the cgroup of this process may have less."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_cgroup_limits(cgroup_file, root)])


def _cgroup_limits(cgroup_file: Path, root: Path) -> list[int]:
    try:
        lines = cgroup_file.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base, name = (root, "memory.max") if not controllers else (root / "memory", "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = base / path.lstrip("/")
        # A limit of any folder above counts too; inside a container the path may be one that only the host can see.
        limits += [_number_in(each / name) for each in {folder, base, *folder.parents} if each.is_relative_to(base)]
    return [limit for limit in limits if limit is not None]


def _number_in(file: Path) -> int | None:
    try:
        number = int(file.read_text())
    except (OSError, ValueError):  # no such folder, or "max"
        return None
    return number if number < NO_LIMIT else None


def resident_bytes() -> int | None:
    """Resident memory of this process; None where the kernel does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def give_back() -> None:
    """Have the C library return memory it keeps for later; without it a worker may look full and not be."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MemoryGuard:
    """The watch of this process."""

    def __init__(self, configured_mb: int, workers: int) -> None:
        self._configured_mb = configured_mb
        self.watch = MemoryWatch(worker_limit_bytes(configured_mb, machine_bytes(), workers))
        self._gave_back_at_s = 0.0

    def share_with(self, workers: int) -> None:
        """So many workers share the machine from now on."""
        self.watch.limit_bytes = worker_limit_bytes(self._configured_mb, machine_bytes(), workers)

    def look(self, now_s: float, uses: Sequence[Use]) -> EndIsolate | GiveUp | None:
        """As `MemoryWatch.look`, with what the kernel says now."""
        rss = resident_bytes()
        if rss is not None and rss > self.watch.limit_bytes and now_s - self._gave_back_at_s > SETTLE_S:
            self._gave_back_at_s = now_s
            give_back()
            rss = resident_bytes()
        return None if rss is None else self.watch.look(now_s, rss, uses)

    def why(self, verdict: EndIsolate) -> str:
        """For the guild's log."""
        return (
            f"out of memory: its worker passed the limit of {self.watch.limit_bytes // MB} MB, "
            f"and this guild's isolate accounts for {verdict.guilt_bytes // MB} MB of it"
        )

    def why_give_up(self, verdict: GiveUp) -> str:
        """For the process log and the router."""
        return f"{verdict.rss_bytes // MB} MB resident, the limit is {self.watch.limit_bytes // MB} MB"
