"""One move of a guild from worker to worker, and what is remembered of moves. No messages; times are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from flora.messages.base import Address, TraceContext
from flora.messages.errors import FloraError
from flora.messages.ids import GuildId, WorkerId
from flora.messages.metrics import Labels, Sample
from flora.messages.migration import MovingGuild
from flora.messages.series import Histogram, alone, counted

KEPT_MOVES = 50


class Stage(Enum):
    """Where a move is; the value is what people see."""

    WAITING = "waiting"  # a deployment or load is to end first; nothing of the guild waits for the move yet
    RESTING = "draining"  # its worker still has events of it
    LEAVING = "draining "  # its worker brings it to rest, freezes it and hands it over
    ARRIVING = "moving"  # the target builds its isolate
    RETURNING = "moving "  # the target does not: it is to go on where it was
    REPLAYING = "replaying"  # it serves, and what waited goes to it
    MOVED = "moved"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Move:
    """One move, from the wish to its end."""

    guild_id: GuildId
    source: WorkerId
    target: WorkerId
    begun_s: float  # monotonic
    begun_at_us: int  # since the epoch
    then: Callable[[Move], None]  # called when the guild serves there, or stays, or is lost to this move
    trace: TraceContext | None = None  # what wanted it
    source_address: Address = None
    epoch: int = 0
    heard: int = 0  # events of no guild up to this number were before the source's time
    stage: Stage = Stage.WAITING
    closed_s: float | None = None  # when its gate was closed, monotonic
    guild: MovingGuild | None = None  # what the source handed over
    error: FloraError | None = None  # why it stays where it was
    took_us: int = 0
    paused_us: int = 0
    quiesce_us: int = 0
    queued: int = 0  # events and requests that waited

    @property
    def why(self) -> str | None:
        """Why it stays where it was; None: it has moved, or may yet."""
        return None if self.error is None else str(self.error)

    def facts(self) -> dict[str, Any]:
        """As described at DescribeMoves."""
        return {
            "guild_id": self.guild_id,
            "source": self.source,
            "target": self.target,
            "state": self.stage.value.strip(),
            "why": self.why,
            "at": datetime.fromtimestamp(self.begun_at_us / 1e6, UTC).isoformat(timespec="microseconds"),
            "took_us": self.took_us,
            "paused_us": self.paused_us,
            "quiesce_us": self.quiesce_us,
            "queued": self.queued,
        }


@dataclass(slots=True)
class MoveTally:
    """Counters and the last moves."""

    moved: int = 0
    failed: int = 0
    timed_out: int = 0  # failed because the guild did not come to rest
    last_quiesce_us: int = 0
    pauses: Histogram = field(default_factory=lambda: Histogram("move_pause"))
    ended: deque[Move] = field(default_factory=lambda: deque(maxlen=KEPT_MOVES))  # newest first

    def note(self, move: Move) -> None:
        """A move has ended; one whose gate was never closed paused nothing."""
        self.ended.appendleft(move)
        if move.error is None:
            self.moved += 1
            self.last_quiesce_us = move.quiesce_us
        else:
            self.failed += 1
        if move.closed_s is not None:
            self.pauses.add(move.paused_us)

    def describe(self, under_way: Iterable[Move]) -> list[dict[str, Any]]:
        """As described at DescribeMoves."""
        return [move.facts() for move in (*under_way, *self.ended)]

    def figures(self, under_way: int) -> dict[str, Any]:
        """For ReadMetrics."""
        return {
            "migration_success": self.moved,
            "migration_timeout": self.timed_out,
            "migration_failed": self.failed,
            "migration_quiesce_duration_us": self.last_quiesce_us,
            "migrations_under_way": under_way,
        }

    def samples(self) -> dict[str, dict[Labels, Sample]]:
        """For ReadMetrics, what has labels."""
        outcomes = {"moved": self.moved, "timed_out": self.timed_out, "failed": self.failed - self.timed_out}
        return {"moves": counted(outcomes), "move_pause": alone(self.pauses.sample())}
