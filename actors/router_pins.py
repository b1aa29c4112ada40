"""The router's part that carries out an operator's word on where a guild runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from flora.actors.base import FloraActor
from flora.actors.placement import Home, Stage
from flora.actors.router_places import START_LIMIT_S, Places
from flora.actors.router_state import RouterState
from flora.messages.base import Failed, Ok
from flora.messages.ids import GuildId, ReqId
from flora.messages.placement import Placement, StartWorker

PINNED = "pinned by an operator"

Placed = Callable[[str | None], None]
"""Called when it is done: None, or why the guild stays where it was."""


class Pins:
    """Pins guilds to workers of their own, and to the pool. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, places: Places) -> None:
        self._shell = shell
        self._state = state
        self._places = places

    def dedicate(self, guild_id: GuildId, then: Placed, why: str = PINNED) -> None:
        """Gives a guild a worker of its own, for good."""
        home = self._places.home(guild_id)
        if home is not None:
            home.placement, home.reason, home.since_s, home.probation = Placement.DEDICATED, why, time.time(), 0
        if (
            home is not None or guild_id not in self._state.lanes
        ):  # without a lane it has failed: its next deployment goes there
            self._places.note(guild_id, Placement.DEDICATED, why)
            then(None)
            return
        home = self._places.homes.add(guild_id, Placement.DEDICATED, why, time.time(), self._state.workers)
        self._state.meet(home.worker, None)
        request = StartWorker(req_id=ReqId(""), worker_id=home.worker, guild_id=guild_id)
        self._shell.ask(
            self._shell.peers.runtime, request, lambda reply: self._started(home, reply, then), START_LIMIT_S
        )

    def _started(self, home: Home, reply: Ok | Failed, then: Placed) -> None:
        guild_id = home.guild_id

        def moved(why: str | None) -> None:
            if why is None:
                self._places.note(guild_id, Placement.DEDICATED, home.reason)
                self._places.tell(guild_id, "info", f"the script now runs in a process of its own ({home.reason})")
            else:
                self._places.drop_unused(home)
            then(why)

        if isinstance(reply, Failed):
            moved(reply.message)
        elif self._places.homes.get(guild_id) is not home or guild_id not in self._state.lanes:
            moved("its script ended meanwhile")
        else:
            home.stage = Stage.LOADING
            self._places.moves.start(guild_id, home.worker, moved)

    def share(self, guild_id: GuildId, then: Placed) -> None:
        """Lets a guild run in the pool from now on."""

        def moved(why: str | None) -> None:
            if why is None:
                self._note_shared(guild_id)
                self._places.tell(guild_id, "info", "the script now runs beside others (by an operator's word)")
            then(why)

        home = self._places.home(guild_id)
        if home is None:
            self._note_shared(guild_id)
            then(None)
        elif home.stage is Stage.FAILED:
            self._places.homes.remove(guild_id)
            self._places.failed[guild_id] = (home.reason, home.since_s)
            moved(None)
        elif home.stage is Stage.SERVING:
            self._places.to_pool(home, moved)
        else:
            then("its script does not serve now")

    def _note_shared(self, guild_id: GuildId) -> None:
        """Where the pool is the default nothing needs to be remembered."""
        if self._shell.settings.runtime.placement is Placement.SHARED:
            self._places.note(guild_id, None, "")
        else:
            self._places.note(guild_id, Placement.SHARED, PINNED)
