"""The router's part that moves a guild from one worker to another: it loses nothing, and nothing overtakes.

    WAITING     a deployment of the guild, or a load, comes to its end; its gate is still open
    RESTING     the gate is closed; its worker ends the events that it has
    LEAVING     its worker freezes the isolate, closes the guild's stores, hands over script, secrets and cron jobs (worker_moves.py)
    ARRIVING    the target builds an isolate from that; the deployer is not asked: it may itself be waiting in the gate
    RETURNING   the target refused or died: the frozen isolate goes on where it was

Then what waited is replayed (gate.py, router_line.py). Where both refuse, or the source dies before it has handed the guild over, the guild
is loaded from its deployment. What happens meanwhile (a deploy, an undeploy, quarantine, deaths) ends the move if it must (`forget`), and
what its workers still answer is put right: an isolate that nobody wants is unloaded, one that stays frozen is dropped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from flora.actors.base import FloraActor
from flora.actors.gate import Gates
from flora.actors.move import Move, MoveTally, Stage
from flora.actors.router_line import Line
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Failed, Ok
from flora.messages.dispatch import LoadIsolate, UnloadIsolate
from flora.messages.errors import (
    Conflict,
    FloraError,
    NotFound,
    ShuttingDown,
    TimedOut,
    Unavailable,
    WorkerGone,
    error_from,
)
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.migration import DropFrozen, MoveOut, MovingGuild, ThawGuild
from flora.messages.trace import current_trace

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.02
WAIT_LIMIT_S = 60.0  # for a deployment or load to come to its end
REST_MARGIN_S = 1.0  # beyond the longest an event may take
REST_LIMIT_S = 30.0  # where events have no limit
HAND_OVER_MARGIN_S = 30.0  # beyond the quiesce limit: stores are closed, and the disk may be slow
THAW_LIMIT_S = 10.0

Moved = Callable[[str | None], None]
"""Called at the end of a move: None, or why the guild stayed where it was."""


class MovePlaces(Protocol):
    """What moves ask of whoever decides where guilds run, see router_places.py."""

    def arrived(self, guild_id: GuildId) -> None:
        """A guild serves where it was moved to."""

    def rebuild(self, guild_id: GuildId, why: str) -> None:
        """A guild is nowhere, its lane is held: it has to be loaded from its deployment."""

    def is_loading(self, guild_id: GuildId) -> bool:
        """A script of the guild is being loaded."""

    def stores_move_to(self, guild_id: GuildId, worker: WorkerId) -> None:
        """This worker is to have the guild's key-value stores."""


class Moves:
    """Moves under way. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, places: MovePlaces) -> None:
        self._shell = shell
        self._state = state
        self._places = places
        self.gates = Gates(
            first_epoch=time.time_ns()
        )  # a worker may still have something frozen for a router before this one
        self.line = Line(shell, state, self.gates, self._opened)
        self.tally = MoveTally()
        self.on_end: Callable[[Move], None] = lambda move: None  # for whoever writes traces
        self._moves: dict[GuildId, Move] = {}
        self._replaying: dict[GuildId, Move] = {}
        self._resting = 0
        self._is_ending = False
        state.on_forget = lambda guild_id: self.forget(guild_id, "guild runtime not loaded on worker")

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self._moves or guild_id in self.gates

    def __len__(self) -> int:
        return len(self._moves.keys() | set(self.gates))

    def under_way(self) -> list[Move]:
        """Moves that have not ended, and those whose replay has not."""
        return [*self._moves.values(), *self._replaying.values()]

    # The beginning

    def start(self, guild_id: GuildId, target: WorkerId, then: Moved) -> None:
        """Begins a move; `then` is called exactly once."""
        self.begin(guild_id, target, lambda move: then(move.why))

    def begin(self, guild_id: GuildId, target: WorkerId, then: Callable[[Move], None]) -> None:
        """Begins a move. `then` is called exactly once, with what has become of it."""
        lane = self._state.lanes.get(guild_id)
        source = lane.worker if lane is not None else self._state.routes.lookup(guild_id)
        move = Move(guild_id, source, target, time.monotonic(), time.time_ns() // 1000, then)
        move.trace = current_trace.get()
        move.error = self._refusal(guild_id)
        if move.error is not None or source == target:
            then(move)
            return
        self._moves[guild_id] = move
        self._wait(move)

    def _refusal(self, guild_id: GuildId) -> FloraError | None:
        if guild_id in self:
            return Conflict("guild migration already in progress", guild_id=guild_id)
        if guild_id not in self._state.lanes:
            return NotFound("guild runtime not loaded on worker", guild_id=guild_id)
        if self._is_ending:
            return ShuttingDown("flora is going down; no guild is moved any more")
        return None

    def _is(self, move: Move, stage: Stage) -> bool:
        """Whether the move is still under way, and there."""
        return self._moves.get(move.guild_id) is move and move.stage is stage

    def _wait(self, move: Move) -> None:
        if not self._is(move, Stage.WAITING):
            return
        why_not = self._not_yet(move)
        if why_not is None:
            self._close(move)
        elif time.monotonic() < move.begun_s + WAIT_LIMIT_S and not self._is_ending:
            self._shell.after(LOOK_EVERY_S, lambda: self._wait(move))
        else:
            self._stay(move, Unavailable(why_not, guild_id=move.guild_id))

    def _not_yet(self, move: Move) -> str | None:
        guild_id, lane = move.guild_id, self._state.lanes[move.guild_id]
        if guild_id in self._state.unstored:
            return "a deployment of the guild has not come to its end"
        if lane.held or self._places.is_loading(guild_id):
            return "the guild's script is being loaded"
        for worker in (lane.worker, move.target):
            end = self._state.workers.get(worker)
            if end is None or end.address is None or not end.knows_us:
                return f"worker {worker} does not run"
        return None

    def _close(self, move: Move) -> None:
        """From here on everything that is addressed to the guild waits."""
        lane = self._state.lanes[move.guild_id]
        move.source = lane.worker
        source = self._state.workers[move.source]
        move.source_address, move.heard = source.address, source.heard
        if move.source == move.target:  # it was brought there meanwhile
            self._end(move)
            return
        move.epoch, move.closed_s, move.stage = self.gates.close(move.guild_id), time.monotonic(), Stage.RESTING
        self._state.lanes.gate(move.guild_id)
        if not lane.unfinished:
            self._take_out(move)
            return
        self._resting += 1
        runtime = self._shell.settings.runtime
        if runtime.migration_timeout_ms:
            limit_s = runtime.dispatch_timeout_s + REST_MARGIN_S if runtime.dispatch_timeout_s else REST_LIMIT_S
            self._shell.after(limit_s, lambda: self._rest_is_over(move))

    def look(self) -> None:
        """Events have come to their end: guilds that have none left can go. Called for every frame of a worker, so it looks twice."""
        if not self._resting:
            return
        for move in [move for move in self._moves.values() if move.stage is Stage.RESTING]:
            if not self._state.lanes[move.guild_id].unfinished:
                self._take_out(move)
        self._resting = sum(move.stage is Stage.RESTING for move in self._moves.values())

    def _rest_is_over(self, move: Move) -> None:
        if self._is(move, Stage.RESTING):
            self._stay(move, TimedOut("migration_quiesce timed out", guild_id=move.guild_id))

    # From worker to worker

    def _take_out(self, move: Move) -> None:
        move.stage = Stage.LEAVING
        limit_s = self._shell.settings.runtime.migration_timeout_ms / 1000
        request = MoveOut(req_id=ReqId(""), guild_id=move.guild_id, epoch=move.epoch, limit_s=limit_s)
        self._shell.ask(
            move.source_address,
            request,
            lambda reply: self._handed_over(move, reply),
            limit_s + HAND_OVER_MARGIN_S if limit_s else 0,
        )

    def _handed_over(self, move: Move, reply: Ok | Failed) -> None:
        if not self._is(move, Stage.LEAVING):
            if isinstance(reply, Ok):
                self._drop_frozen(move)
        elif isinstance(reply, Ok):
            move.guild = reply.value
            move.quiesce_us = reply.value.quiesce_us
            self.gates.leaves(move.guild_id, move.epoch)
            self._bring_in(move, reply.value)
        elif reply.code == WorkerGone.code:
            self._lose(move, error_from(reply))
        elif reply.details.get("request") == MoveOut.__name__:  # no answer: it may yet be frozen
            self._return(move, error_from(reply))
        else:
            self._stay(move, error_from(reply))

    def _bring_in(self, move: Move, guild: MovingGuild) -> None:
        move.stage = Stage.ARRIVING
        end = self._state.workers.get(move.target)
        if end is None or end.address is None:
            self._return(move, WorkerGone(f"worker {move.target} died meanwhile", guild_id=move.guild_id))
            return
        self._places.stores_move_to(move.guild_id, move.target)
        request = LoadIsolate(
            req_id=ReqId(""),
            guild_id=move.guild_id,
            script=guild.script,
            source_map=guild.source_map,
            secrets=guild.secrets,
            restore=True,
            jobs=guild.jobs,
        )
        address = end.address
        limit_s = load_limit_s(self._shell)
        self._shell.ask(address, request, lambda reply: self._brought_in(move, address, reply), limit_s)

    def _brought_in(self, move: Move, address: Address, reply: Ok | Failed) -> None:
        guild_id = move.guild_id
        if not self._is(move, Stage.ARRIVING):
            lane = self._state.lanes.get(guild_id)
            if isinstance(reply, Ok) and (lane is None or lane.worker != move.target):
                self._unload(move, address)
            return
        if isinstance(reply, Failed):
            self._unload(move, address)  # it may have come to nothing, or not be over
            self._return(move, error_from(reply))
            return
        self._state.lanes.move(guild_id, move.target)
        self._state.lanes.release(guild_id)  # its gate is closed: nothing goes yet
        self._state.routes.assign(guild_id, move.target)
        self._state.subscribe(move.target, guild_id, tuple(reply.value["handlers"]))
        self._drop_frozen(move)
        self._places.arrived(guild_id)
        self._serves(move, reply.value["heard"])

    def _unload(self, move: Move, address: Address) -> None:
        if self._lives_at(move.target, address):
            self._shell.tell(address, UnloadIsolate(req_id=ReqId(""), guild_id=move.guild_id))

    def _drop_frozen(self, move: Move) -> None:
        if self._lives_at(move.source, move.source_address):
            self._shell.tell(move.source_address, DropFrozen(guild_id=move.guild_id, epoch=move.epoch))

    def _lives_at(self, worker: WorkerId, address: Address) -> bool:
        end = self._state.workers.get(worker)
        return end is not None and address is not None and end.address == address

    # Back

    def _return(self, move: Move, error: FloraError) -> None:
        """The target does not have it: it goes on where it was."""
        move.error, move.stage = error, Stage.RETURNING
        self.gates.leaves(move.guild_id, move.epoch)
        if not self._lives_at(move.source, move.source_address):
            self._returned(move, WorkerGone("the worker died meanwhile").as_failed(ReqId("")))
            return
        self._places.stores_move_to(move.guild_id, move.source)
        request = ThawGuild(req_id=ReqId(""), guild_id=move.guild_id, epoch=move.epoch)
        self._shell.ask(move.source_address, request, lambda reply: self._returned(move, reply), THAW_LIMIT_S)

    def _returned(self, move: Move, reply: Ok | Failed) -> None:
        if not self._is(move, Stage.RETURNING):
            return
        if isinstance(reply, Ok):
            self._state.subscribe(move.source, move.guild_id, tuple(reply.value["handlers"]))
            self._serves(move, reply.value["heard"])
            return
        error = f"migration failed and rollback failed: {move.why}; rollback: {reply.message}"
        self._lose(move, Unavailable(error, guild_id=move.guild_id))

    # The end

    def _serves(self, move: Move, heard: int) -> None:
        """The guild serves, there or where it was; events of no guild that it could not hear are given to it."""
        if move.guild is not None:
            upto = max(heard, self._state.workers[self._state.lanes[move.guild_id].worker].heard)
            missed = self._state.broadcasts_between(max(move.guild.heard, move.heard), upto)
            self._state.lanes.insert(
                move.guild_id, [(seq, move.guild_id, name, payload) for seq, _, name, payload in missed]
            )
        self._end(move)

    def _stay(self, move: Move, error: FloraError) -> None:
        """The guild has not left."""
        move.error = error
        self.tally.timed_out += isinstance(error, TimedOut)
        self._end(move)

    def _lose(self, move: Move, error: FloraError) -> None:
        """Nobody has the guild any more, or not for long: it is loaded from its deployment."""
        move.error = error
        self._note(move)
        self.line.scatter(move.guild_id)
        self._drop_frozen(move)
        self._places.rebuild(move.guild_id, str(error))
        move.then(move)

    def forget(self, guild_id: GuildId, why: str) -> None:
        """The move, if there is one, has lost its sense: whoever calls this knows what becomes of the guild. Its lane is held."""
        move = self._moves.get(guild_id)
        if move is not None:
            move.error = Unavailable(why, guild_id=guild_id)
            if move.stage in (Stage.ARRIVING, Stage.RETURNING):
                self._drop_frozen(move)
            self._note(move)
        self.line.scatter(guild_id)
        self._replaying.pop(guild_id, None)
        if move is not None:
            move.then(move)

    def _end(self, move: Move) -> None:
        """The guild serves: what waited goes to it."""
        self._note(move)
        if self.gates.replays(move.guild_id, move.epoch):
            self._replaying[move.guild_id] = move
            move.stage = Stage.REPLAYING
            self.line.replay(move.guild_id)
        move.then(move)

    def _opened(self, guild_id: GuildId) -> None:
        move = self._replaying.pop(guild_id, None)
        if move is not None:
            move.stage = _ended(move)

    def _note(self, move: Move) -> None:
        now_s = time.monotonic()
        lane = self._state.lanes.get(move.guild_id)
        move.queued = (len(lane.waiting) if lane is not None else 0) + self.gates.waiting(move.guild_id)
        move.took_us = int((now_s - move.begun_s) * 1e6)
        move.paused_us = int((now_s - move.closed_s) * 1e6) if move.closed_s is not None else 0
        del self._moves[move.guild_id]
        move.stage = _ended(move)
        move.guild = None  # its script and secrets are not to be kept
        self.tally.note(move)
        extra = {"guild_id": move.guild_id, "source": move.source, "target": move.target, "paused_us": move.paused_us}
        if move.error is None:
            log.info("guild moved", extra={"action": "guild_moved", "queued": move.queued, **extra})
        else:
            log.warning("guild not moved: %s", move.why, extra={"action": "guild_not_moved", **extra})
            self._state.logs.line("warn", move.guild_id, f"the script was not moved to another process: {move.why}")
        self.on_end(move)

    # Deaths and the end of all

    def worker_died(self, worker: WorkerId) -> None:
        """What had been asked of it is answered with its death; here is what only waited."""
        for move in tuple(self._moves.values()):
            if move.stage not in (Stage.WAITING, Stage.RESTING) or worker not in (move.source, move.target):
                continue
            gone = WorkerGone(f"worker {worker} died meanwhile", guild_id=move.guild_id)
            if worker == move.source:
                self._lose(move, gone)
            else:
                self._stay(move, gone)
        for guild_id in self.gates:
            lane = self._state.lanes.get(guild_id)
            if guild_id not in self._moves and (lane is None or lane.worker == worker):
                self.line.scatter(guild_id)
                self._opened(guild_id)

    def is_held_by_a_move(self, guild_id: GuildId) -> bool:
        """The guild's lane may be held because its worker died, but its move will bring it to serve, or say that it is lost."""
        move = self._moves.get(guild_id)
        return move is not None and move.stage in (Stage.LEAVING, Stage.ARRIVING, Stage.RETURNING)

    def arriving_at(self, worker: WorkerId) -> list[GuildId]:
        """Guilds that are being loaded in a worker, and do not belong there yet."""
        return [m.guild_id for m in self._moves.values() if m.target == worker and m.stage is Stage.ARRIVING]

    def end(self) -> None:
        """The system goes down: no more moves; those under way come to their end."""
        self._is_ending = True


def load_limit_s(shell: FloraActor) -> float:
    """How long a worker may take to answer a load; 0: as long as it wants."""
    runtime = shell.settings.runtime
    limit_s = runtime.load_timeout_s + runtime.boot_timeout_s
    return limit_s * 2 + 10 if limit_s else 0


def _ended(move: Move) -> Stage:
    return Stage.MOVED if move.error is None else Stage.FAILED
