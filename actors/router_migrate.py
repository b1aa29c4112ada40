"""The router's part that answers who wants a guild moved, or wants to know about moves, and writes each of them down."""

from __future__ import annotations

from flora.actors.base import FloraActor
from flora.actors.move import Move
from flora.actors.placement import is_dedicated
from flora.actors.router_balance import Balance
from flora.actors.router_moves import Moves
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.messages.base import Address
from flora.messages.errors import BadRequest, Conflict, FloraError, NotFound
from flora.messages.ids import GuildId, WorkerId
from flora.messages.migration import DescribeMoves, MigrateGuild
from flora.messages.trace import new_trace_id
from flora.storage.trace_record import OK


class Migrations:
    """Answers MigrateGuild and DescribeMoves. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, places: Places, balance: Balance) -> None:
        self._shell = shell
        self._state = state
        self._places = places
        self._balance = balance
        self._moves: Moves = places.moves
        self._moves.on_end = self._write_down

    def migrate(self, msg: MigrateGuild, asker: Address) -> None:
        """Answered when the guild serves on the target, or stays where it was."""
        try:
            target = self._target_of(msg)
        except FloraError as refused:
            self._shell.reply_failed(msg, asker, refused)
            return

        def ended(move: Move) -> None:
            if move.error is not None:
                self._shell.reply_failed(msg, asker, move.error)
                return
            value = {
                "source": move.source,
                "target": move.target,
                "paused_us": move.paused_us,
                "queued": move.queued,
            }
            self._shell.reply_ok(msg, asker, value)

        self._moves.begin(msg.guild_id, target, ended)

    def _target_of(self, msg: MigrateGuild) -> WorkerId:
        guild_id, target = msg.guild_id, msg.target
        lane = self._state.lanes.get(guild_id)
        if lane is None:
            raise NotFound("guild runtime not loaded on worker", guild_id=guild_id)
        if target == lane.worker:
            return lane.worker
        if target is not None and (target < 0 or is_dedicated(WorkerId(target))):
            raise BadRequest(f"{target} is no worker of the pool", guild_id=guild_id)
        if self._places.home(guild_id) is not None:
            raise Conflict("the guild has a worker of its own; place it among the shared ones first", guild_id=guild_id)
        if target is None:
            return self._choose(guild_id, lane.worker)
        takers = self._state.routes.open
        if target in self._state.workers and target not in takers:
            raise Conflict(f"worker {target} is to have no guilds; `flora workers` says why", guild_id=guild_id)
        return WorkerId(target) if target in takers else takers[target % len(takers)]

    def _choose(self, guild_id: GuildId, source: WorkerId) -> WorkerId:
        """The worker of the pool that has most to spare; the one it is in if there is no other."""
        workers = self._state.workers
        others = [
            worker
            for worker in self._balance.members()
            if worker != source and worker in workers and workers[worker].address is not None
        ]
        return self._balance.spread((guild_id,), others).get(guild_id, source) if others else source

    def _write_down(self, move: Move) -> None:
        """A record of each move: beside what wanted it, or in a trace of its own."""
        trace = move.trace
        facts = {"source": move.source, "target": move.target, "paused_us": move.paused_us, "queued": move.queued}
        self._shell.tracer.hop(
            trace.trace_id if trace is not None else new_trace_id(),
            "router.move",
            kind="move",
            at_us=move.begun_at_us,
            took_us=move.took_us,
            parent=trace.span_id if trace is not None else "",
            outcome=OK if move.error is None else move.error.code,
            guild_id=move.guild_id,
            why=move.why or "",
            attrs={**facts, "quiesce_us": move.quiesce_us},
        )

    def describe(self, msg: DescribeMoves, asker: Address) -> None:
        """Moves under way and the last ones."""
        self._shell.reply_ok(msg, asker, self._moves.tally.describe(self._moves.under_way()))
