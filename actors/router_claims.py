"""The router's part that goes by what workers say they have, after the router was restarted: each guild is to be active in one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flora.actors.base import FloraActor
from flora.actors.router_loads import Loads
from flora.actors.router_state import RouterState
from flora.messages.base import Failed, Ok
from flora.messages.dispatch import UnloadIsolate, WorkerReport
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.migration import DropFrozen, ThawGuild

log = logging.getLogger(__name__)

THAW_LIMIT_S = 3.0  # everything waits for it; then the guild is loaded from its deployment


class Claims:
    """Guilds that workers report. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, loads: Loads) -> None:
        self._shell = shell
        self._state = state
        self._loads = loads
        self._frozen: list[tuple[WorkerId, GuildId, int]] = []

    def reported(self, worker: WorkerId, msg: WorkerReport) -> None:
        """A worker has these guilds. One that is known to be elsewhere by now has no business there."""
        for name, names in msg.guilds:
            guild_id = GuildId(name)
            self._state.subscribe(worker, guild_id, names)
            if self._state.lanes[guild_id].worker != worker:
                log.warning("a guild ran in two workers", extra={"guild_id": guild_id, "worker": worker})
                address = self._state.workers[worker].address
                self._shell.tell(address, UnloadIsolate(req_id=ReqId(""), guild_id=guild_id))
        self._frozen.extend((worker, GuildId(guild_id), epoch) for guild_id, epoch in msg.frozen)

    def settle_frozen(self, then: Callable[[], None] = lambda: None) -> None:
        """All have reported who will: guilds that a router's death caught between two workers go on where they are frozen.

        Args:
            then: Called when each of them does, or cannot. Before, the gateway must not be told who listens to what: it would
                drop the events of those that are not named.
        """
        frozen, self._frozen = self._frozen, []
        missing = 1

        def one_less() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                then()

        for worker, guild_id, epoch in frozen:
            address = self._state.workers[worker].address
            if address is None:
                continue
            if guild_id in self._state.lanes:
                self._shell.tell(address, DropFrozen(guild_id=guild_id, epoch=epoch))
            else:
                missing += 1
                self._thaw(worker, guild_id, epoch, one_less)
        one_less()

    def _thaw(self, worker: WorkerId, guild_id: GuildId, epoch: int, then: Callable[[], None]) -> None:
        self._state.routes.assign(guild_id, worker)
        self._state.lanes.open(guild_id, worker, held=True)

        def answered(reply: Ok | Failed) -> None:
            go_on(reply)
            then()

        def go_on(reply: Ok | Failed) -> None:
            lane = self._state.lanes.get(guild_id)
            if lane is None or lane.worker != worker or not lane.held:
                return  # it has been loaded or unloaded meanwhile
            if isinstance(reply, Failed):
                if self._state.workers[worker].address is not None:  # else it is loaded when its worker is back
                    self._loads.reload((guild_id,))
                return
            self._state.subscribe(worker, guild_id, tuple(reply.value["handlers"]))
            self._state.workers[worker].link.offer_all(self._state.lanes.release(guild_id))
            log.warning("a guild goes on where it was to leave", extra={"action": "thawed", "guild_id": guild_id})

        request = ThawGuild(req_id=ReqId(""), guild_id=guild_id, epoch=epoch)
        self._shell.ask(self._state.workers[worker].address, request, answered, THAW_LIMIT_S)
