"""Moves of guilds from worker to worker.

Front-end → router   MigrateGuild → Ok | Failed, at the end of the move; DescribeMoves → Ok.
Router → source      MoveOut → Ok(MovingGuild) | Failed: let the guild come to rest, freeze its isolate, close its stores, hand it over.
Router → target      LoadIsolate with what was handed over.
Router → source      DropFrozen: it serves elsewhere. ThawGuild → Ok | Failed: it does not, and goes on where it was.

Each move has a number, its epoch: what comes late of an earlier one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.messages.base import Message, Request
from flora.messages.cron import CronJobState
from flora.messages.ids import GuildId
from flora.messages.secrets import NO_SECRETS, GuildSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateGuild(Request):
    """Move a guild to another worker, now. Answered when it serves there, or stays where it was.

    `target` is a worker of the pool, modulo their number; None: the router chooses one. The worker it is in already: Ok, nothing happens.

    Ok.value: {"source": worker, "target": worker, "paused_us": how long its events waited, "queued": how many events and requests did}.
    Failed: NOT_FOUND (no script runs), CONFLICT (it is being moved already, or has a worker of its own), TIMED_OUT (it does not come to
    rest), BAD_REQUEST (a target that is none), or why the target does not load it.
    """

    guild_id: GuildId
    target: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeMoves(Request):
    """Ok.value: moves under way, then the last 50 that ended, newest first: [{"guild_id", "source", "target", "state": "waiting" |
    "draining" | "moving" | "replaying" | "moved" | "failed", "why": str | None, "at": RFC 3339 of its begin, "took_us", "paused_us",
    "quiesce_us": how long the guild took to come to rest, "queued"}, …].
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingGuild:
    """All that a worker needs to go on with a guild. Script globals and timers stay behind."""

    script: str = field(repr=False)
    source_map: str | None = field(repr=False)
    jobs: tuple[CronJobState, ...]  # none of them is running
    secrets: GuildSecrets = field(default=NO_SECRETS, repr=False)
    heard: int = 0  # number of the last event of no guild that its isolate has received
    quiesce_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOut(Request):
    """Ok.value: a MovingGuild; its isolate is frozen and its stores are closed. Failed: it serves as before.

    NOT_FOUND (`guild runtime not loaded on worker`), TIMED_OUT (`migration_quiesce timed out`).
    """

    guild_id: GuildId
    epoch: int
    limit_s: float  # 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawGuild(Request):
    """The guild goes on in the isolate that was frozen for this move. Ok.value: {"handlers", "heard": as in MovingGuild}.

    Failed: NOT_FOUND (that isolate is gone).
    """

    guild_id: GuildId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFrozen(Message):
    """The guild serves elsewhere: its frozen isolate is to end."""

    guild_id: GuildId
    epoch: int
