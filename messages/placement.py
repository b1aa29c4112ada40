"""Where guilds run: router ↔ runtime, front-end → router, router → worker, router ↔ deployer.

Router → runtime   StartWorker → Ok | Failed (then PeersChanged names the new worker); StopWorker → Ok; ReplaceWorker.
Front-end → router PlaceGuild → Ok | Failed; DescribeGuild → Ok | Failed; DescribeGuilds, DescribeWorkers → Ok.
Router → worker    ReadGuildUsage, ReadLoad → Ok.
Router → deployer  NotePlacement: to be remembered across restarts; ReadPlacements → Ok: what is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flora.messages.base import Message, Request
from flora.messages.ids import GuildId

FIRST_DEDICATED_WORKER = 1000
"""Ids from here on are dedicated workers, below are the pool."""


class Placement(StrEnum):
    """Where a guild is to run."""

    SHARED = "shared"  # in the pool, beside others
    DEDICATED = "dedicated"  # an operator wants a worker for it alone
    QUARANTINED = "quarantined"  # it brought a worker down; alone until a new deployment stays healthy


class GuildState(StrEnum):
    """How a guild's isolate is."""

    LOADING = "loading"
    SERVING = "serving"
    THROTTLED = "throttled"  # its processor budget is used up: new events wait
    RESTING = "resting"  # its isolate ended; the pause before it is made anew
    FAILED = "failed"  # it could not be made anew; a deployment brings it back


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorker(Request):
    """Start a dedicated worker. Ok once it serves; PeersChanged has been sent by then."""

    worker_id: int  # FIRST_DEDICATED_WORKER or more
    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWorker(Request):
    """End a dedicated worker that has no guild any more, or an empty shared one that is no member of the pool. Unknown id: Ok.

    Failed: CONFLICT (a shared one that is to stay).
    """

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceWorker(Message):
    """End this worker at once and start it anew: something in it cannot be ended otherwise."""

    worker_id: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceGuild(Request):
    """Run a guild there from now on. Ok.value: what DescribeGuild gives. Failed: NOT_FOUND (no script), UNAVAILABLE."""

    guild_id: GuildId
    placement: Placement  # SHARED or DEDICATED


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeGuild(Request):
    """Ok.value: {"guild_id", "worker", "placement", "state", "reason": str | None, "since": RFC 3339 | None, "waiting": int,
    "unfinished": int, "usage": {…} | None}; usage as in ReadGuildUsage. Failed: NOT_FOUND (the guild has no script).
    """

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeGuilds(Request):
    """Ok.value: what DescribeGuild gives, of every guild that has a script, by id; heaps are not measured: heap_bytes is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeWorkers(Request):
    """Ok.value: [{"worker", "dedicated", "up", "guilds": int, "unfinished", "restarts", "rss_bytes", "cpu_us": total,
    "cpu_percent": of one core, smoothed, None: not known yet, "accepts": guilds may come to it, "age_s": of a shared one,
    "pool_state": "active" | "draining" | "drained" | "leaving" | "recycling"}, …] by id.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGuildUsage(Request):
    """Router → worker. guild_id None: of all its guilds. Ok.value: {guild id: usage}, usage being {"cpu_us": total,
    "cpu_us_last_minute", "cpu_balance_us", "throttled": times, "events_done", "heap_bytes", "buffer_bytes", "timers", "pending_ops",
    "ops_refused", "log_lines_dropped", "rebuilds", "state": GuildState, "resting_s": seconds left}. Counts are since the isolate was
    first loaded in this worker.
    """

    guild_id: GuildId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLoad(Request):
    """Router → worker, every few seconds: how much does it do? Ok.value: {"cpu_us": total, "rss_bytes", "at_us": when that was, monotonic,
    "guilds": {guild id: (cpu_us, events done, memory in bytes as the memory watch attributes it)}}, totals as in ReadGuildUsage.
    """

    with_guilds: bool = False  # else "guilds" is empty; they cost a worker some 50 µs each


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePlacement(Message):
    """Remember where the guild is to run, and why; None forgets it: it runs where the configuration says."""

    guild_id: GuildId
    placement: Placement | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlacements(Request):
    """Ok.value: ((guild id, Placement, reason, since when in seconds since the epoch), …) of all guilds with a note."""
