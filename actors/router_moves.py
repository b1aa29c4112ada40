"""The router's part that moves a healthy guild from one worker to another: it loses no event and none is reordered.

    hold the lane → wait until nothing of the guild is under way → load it on the target → release the lane → unload it where it was

When the target does not load it, or the guild does not come to rest in time, it stays where it was. Script globals do not survive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from flora.actors.base import FloraActor
from flora.actors.router_state import RouterState
from flora.messages.base import Address
from flora.messages.dispatch import UnloadIsolate
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.kv import ReleaseKv

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.02
REST_MARGIN_S = 1.0  # beyond the longest an event may take
REST_LIMIT_S = 30.0  # where events have no limit

Moved = Callable[[str | None], None]
"""Called at the end of a move: None, or why the guild stayed where it was."""


@dataclass(slots=True)
class Move:
    """One guild under way."""

    guild_id: GuildId
    source: WorkerId
    source_address: Address
    target: WorkerId
    then: Moved
    deadline_s: float
    loading: bool = False


class Moves:
    """Moves under way. `reload` has the deployer load guilds' stored scripts again."""

    def __init__(self, shell: FloraActor, state: RouterState, reload: Callable[[tuple[GuildId, ...]], None]) -> None:
        self._shell = shell
        self._state = state
        self._reload = reload
        self._moves: dict[GuildId, Move] = {}

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self._moves

    def holds(self, guild_id: GuildId) -> bool:
        """The lane must stay held although the guild has just been loaded: it is about to leave."""
        move = self._moves.get(guild_id)
        return move is not None and not move.loading

    def start(self, guild_id: GuildId, target: WorkerId, then: Moved) -> None:
        """Begins a move. The guild has an open lane, and the target's worker runs."""
        source = self._state.lanes[guild_id].worker
        limit_s = self._shell.settings.runtime.dispatch_timeout_s
        limit_s = limit_s + REST_MARGIN_S if limit_s else REST_LIMIT_S
        address = self._state.workers[source].address
        move = Move(guild_id, source, address, target, then, time.monotonic() + limit_s)
        self._moves[guild_id] = move
        self._state.lanes.hold(guild_id)
        self._look(move)

    def _look(self, move: Move) -> None:
        if self._moves.get(move.guild_id) is not move:
            return
        lane = self._state.lanes[move.guild_id]
        if not lane.unfinished:
            move.loading = True
            # Before it is loaded elsewhere, not when it has been: a script may use its stores while it loads.
            self._shell.tell(move.source_address, ReleaseKv(req_id=ReqId(""), guild_id=move.guild_id))
            self._lead_to(move, move.target)
            self._reload((move.guild_id,))
        elif time.monotonic() < move.deadline_s:
            self._shell.after(LOOK_EVERY_S, lambda: self._look(move))
        else:
            self._end(move, f"{len(lane.unfinished)} of its events do not come to an end")
            self._release(move)

    def _lead_to(self, move: Move, worker: WorkerId) -> None:
        self._state.lanes.move(move.guild_id, worker)
        self._state.routes.assign(move.guild_id, worker)

    def _release(self, move: Move) -> None:
        rows = self._state.lanes.release(move.guild_id)
        self._state.workers[self._state.lanes[move.guild_id].worker].link.offer_all(rows)

    def loaded(self, guild_id: GuildId) -> None:
        """The guild was loaded where it leads to; its lane has been released unless `holds` says no."""
        move = self._moves.get(guild_id)
        if move is None or not move.loading:
            return
        end = self._state.workers.get(move.source)
        if end is not None and end.address is not None and end.address == move.source_address:
            request = UnloadIsolate(req_id=ReqId(""), guild_id=guild_id)
            self._shell.ask(end.address, request, lambda _: self._end(move, None))
        else:
            self._end(move, None)

    def failed(self, guild_id: GuildId, why: str) -> bool:
        """The target did not load the guild: it goes on where it was. False: there is no such move.

        Where the source has died meanwhile, too, it is loaded there again.
        """
        move = self._moves.get(guild_id)
        if move is None or not move.loading:
            return False
        lane = self._state.lanes[guild_id]
        lane.held = True
        if lane.unfinished:  # it was loaded and lost again: what was sent is sorted out by the target's death
            return False
        self._lead_to(move, move.source)
        self._end(move, why)
        end = self._state.workers.get(move.source)
        if end is not None and end.address is not None and end.address == move.source_address:
            self._release(move)
        else:
            self._reload((guild_id,))
        return True

    def abort(self, guild_id: GuildId, why: str) -> None:
        """The target is gone: the guild goes on where it was."""
        if self.failed(guild_id, why):
            return
        move = self._moves.get(guild_id)
        if move is not None:
            self._end(move, why)
            self._release(move)

    def target_of(self, guild_id: GuildId) -> WorkerId | None:
        """Where a guild under way is going."""
        move = self._moves.get(guild_id)
        return move.target if move is not None else None

    def source_of(self, guild_id: GuildId) -> WorkerId | None:
        """Where a guild under way comes from."""
        move = self._moves.get(guild_id)
        return move.source if move is not None else None

    def forget(self, guild_id: GuildId, why: str) -> None:
        """The move, if there is one, has lost its sense: whoever calls this knows what becomes of the guild."""
        move = self._moves.get(guild_id)
        if move is not None:
            self._end(move, why)

    def _end(self, move: Move, why: str | None) -> None:
        if self._moves.get(move.guild_id) is move:
            del self._moves[move.guild_id]
            log.info(
                "guild moved" if why is None else "guild not moved: %s",
                *(() if why is None else (why,)),
                extra={"action": "guild_moved" if why is None else "guild_not_moved", "guild_id": move.guild_id,
                       "source": move.source, "target": move.target},
            )  # fmt: skip
            move.then(why)
