"""The router's part that finds out, after a restart, where everything is; `recovery.py` decides what that means.

Until every living worker has reported and the deployer has said which guilds are to run, nothing goes out: frames of the gateway
and requests wait here. Then guilds that run nowhere are loaded again, and the gateway's events are taken in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flora.actors.base import FloraActor
from flora.actors.isolate.progress import last_started, read_recorder
from flora.actors.lanes import Row
from flora.actors.recovery import RECOVERY_LIMIT_S, Fate, Recovery
from flora.actors.router_claims import Claims
from flora.actors.router_loads import Loads
from flora.actors.router_state import RouterState
from flora.messages.base import Failed, Ok
from flora.messages.deployment import ListWantedGuilds
from flora.messages.dispatch import WorkerFrame, WorkerReport
from flora.messages.gateway import GatewayFrame
from flora.messages.ids import GuildId, ReqId, WorkerId

log = logging.getLogger(__name__)


class RouterRecovery:
    """From a restart until the gateway has sent everything again. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, loads: Loads, claims: Claims) -> None:
        self._shell = shell
        self._state = state
        self._loads = loads
        self._claims = claims
        self._known = Recovery(state.workers)
        self._wanted: tuple[GuildId, ...] | None = None
        self._frames: list[GatewayFrame] = []
        self._requests: list[Callable[[], None]] = []
        self._go_on: Callable[[list[GatewayFrame]], None]
        self.waiting = True
        self._is_finishing = False  # all have reported; guilds that were caught between two workers are asked to go on

    def begin(self, go_on: Callable[[list[GatewayFrame]], None]) -> None:
        """Starts it.

        Args:
            go_on: Called once, with the gateway's frames that came meanwhile, when events may be taken.
        """
        self._go_on = go_on
        self._shell.after(RECOVERY_LIMIT_S, self._out_of_time)
        if self._shell.peers.deployer is None:
            self._wanted = ()
        else:
            request = ListWantedGuilds(req_id=ReqId(""))
            self._shell.ask(self._shell.peers.deployer, request, self._told_wanted, RECOVERY_LIMIT_S)

    # What is learned

    def _told_wanted(self, reply: Ok | Failed) -> None:
        self._wanted = tuple(reply.value) if isinstance(reply, Ok) else ()
        self._look()

    def reported(self, worker: WorkerId, msg: WorkerReport) -> None:
        """A worker says what it has."""
        self._claims.reported(worker, msg)
        if not self.waiting:
            self._claims.settle_frozen()
        self._known.reported(worker, msg.received, msg.unfinished)
        self._look()

    def died_before(self, recorder: str) -> None:
        """A worker's life ended before this router's began; its recorder says what it had started."""
        if recorder:
            self._known.died_before(last_started(read_recorder(Path(recorder))))

    def worker_died(self, worker: WorkerId, started: dict[str, int]) -> None:
        """A worker died after this router had started."""
        self._known.worker_died(worker, started)
        self._look()

    def done(self, msg: WorkerFrame) -> None:
        """A worker finished events, some of which the gateway may not have sent again yet."""
        for seq, guild_id, _ in msg.done:
            self._known.done(GuildId(guild_id), seq)

    def _out_of_time(self) -> None:
        if self.waiting:
            log.error("recovery goes on without everybody's answer", extra={"action": "recovery_late"})
            self._finish()

    def _look(self) -> None:
        if self.waiting and self._known.complete and self._wanted is not None:
            self._finish()

    def _finish(self) -> None:
        if not self._is_finishing:
            self._is_finishing = True
            self._claims.settle_frozen(self._go)

    def _go(self) -> None:
        self.waiting = False
        lost = tuple(guild_id for guild_id in self._wanted or () if guild_id not in self._state.lanes)
        for guild_id in lost:
            worker, _ = self._state.routes.claim(guild_id)
            if worker not in self._state.workers:  # it is being started again
                self._state.meet(worker, None)
            self._state.lanes.open(guild_id, worker, held=True)
            self._state.listen_to_all(guild_id)
        log.warning(
            "the router knows its guilds again",
            extra={"guilds": len(self._state.lanes), "reloading": len(lost), "action": "recovered"},
        )
        frames, self._frames = self._frames, []
        self._go_on(frames)
        requests, self._requests = self._requests, []
        for request in requests:
            request()
        self._loads.reload(lost)

    # What waits

    def later(self, request: Callable[[], None]) -> None:
        """Keeps a request until the recovery is over."""
        self._requests.append(request)

    def keep(self, frame: GatewayFrame) -> None:
        """Keeps a frame until the recovery is over."""
        self._frames.append(frame)

    # Events that come again

    def concerns(self, frame: GatewayFrame) -> bool:
        """Whether the frame may hold events that a worker has received; later ones do not either if this one does not."""
        return frame.first_seq <= self._known.highest

    def take(self, row: Row) -> bool:
        """Looks at an event of a guild that may have been sent before. True: it is new and goes the usual way."""
        guild_id = GuildId(row[1])
        fate = self._known.fate(guild_id, row[0])
        if fate is Fate.UNDER_WAY and guild_id in self._state.lanes:
            self._state.lanes.adopt(row)
        return fate is Fate.NEW

    def has_heard(self, worker: WorkerId, seq: int) -> bool:
        """Whether a worker has received an event of no guild."""
        return self._known.has_heard(worker, seq)
