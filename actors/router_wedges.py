"""The router's part for isolates that do not end: their guilds go elsewhere at once, their worker goes when its patience is over."""

from __future__ import annotations

import logging
import time

from flora.actors.base import FloraActor
from flora.actors.placement import is_dedicated
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.messages.ids import GuildId, WorkerId
from flora.messages.placement import ReplaceWorker

log = logging.getLogger(__name__)

WEDGE_PATIENCE_S = 20.0  # an isolate that does not end within that time takes its worker with it
LOOK_EVERY_S = 0.05
REST_MARGIN_S = 1.0  # beyond the longest an event may take


class Wedges:
    """Isolates that V8 does not let go of, worker by worker. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, places: Places) -> None:
        self._shell = shell
        self._state = state
        self._places = places
        self._stuck: dict[WorkerId, set[GuildId]] = {}
        self._replacing: set[WorkerId] = set()

    def reported(self, worker: WorkerId, guild_id: GuildId, why: str) -> None:
        """A worker's isolate does not end (`why` is not empty), or has ended after all.

        What the worker has not reported done has not started and will not: it waits for the guild's next isolate.
        """
        stuck = self._stuck.setdefault(worker, set())
        if not why:
            stuck.discard(guild_id)
            return
        if guild_id not in stuck:
            stuck.add(guild_id)
            self._shell.after(WEDGE_PATIENCE_S, lambda: self._overdue(worker, guild_id, why))
        lane = self._state.lanes.get(guild_id)
        if lane is None or lane.worker != worker:
            return
        self._state.lanes.take_back(guild_id)
        if is_dedicated(worker):
            self._replace(worker, f"its script could not be ended: {why}")
        else:
            self._places.quarantine(guild_id, f"the script could not be ended: {why}")

    def worker_died(self, worker: WorkerId) -> None:
        """That ends everything."""
        self._stuck.pop(worker, None)
        self._replacing.discard(worker)

    def _overdue(self, worker: WorkerId, guild_id: GuildId, why: str) -> None:
        if guild_id in self._stuck.get(worker, ()):
            self._replace(worker, f"an isolate of guild {guild_id} does not end: {why}")

    def _replace(self, worker: WorkerId, why: str) -> None:
        """Ends a worker when what runs in it has come to its end: its guilds lose nothing."""
        if worker in self._replacing:
            return
        self._replacing.add(worker)
        for guild_id in self._state.lanes.of_worker(worker):
            self._state.lanes.hold(guild_id)
        limit_s = self._shell.settings.runtime.dispatch_timeout_s + REST_MARGIN_S
        self._replace_when_done(worker, why, time.monotonic() + limit_s)

    def _replace_when_done(self, worker: WorkerId, why: str, deadline_s: float) -> None:
        if worker not in self._replacing:
            return  # it has died meanwhile
        if self._state.lanes.backlog_of(worker) and time.monotonic() < deadline_s:
            self._shell.after(LOOK_EVERY_S, lambda: self._replace_when_done(worker, why, deadline_s))
            return
        self._shell.tell(self._shell.peers.runtime, ReplaceWorker(worker_id=worker, why=why))
