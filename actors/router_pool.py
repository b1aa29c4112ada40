"""The router's part that makes the pool of shared workers what Runtime wants it to be; `pool_plan.py` decides what that takes.

Guilds leave by `Moves.start`. Those of a worker that died and is not to come back are loaded elsewhere; so are those that are moved by
force: their isolate is ended, and what they had under way fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flora.actors.base import FloraActor
from flora.actors.placement import is_dedicated
from flora.actors.pool_plan import End, Move, PoolPlan, Resettle, Stop
from flora.actors.router_balance import Balance
from flora.actors.router_gateway import GatewayEnd
from flora.actors.router_loads import Loads
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.actors.router_views import rfc3339
from flora.actors.router_wedges import Wedges
from flora.messages.base import Address, Failed, Ok, Request
from flora.messages.dispatch import UnloadIsolate
from flora.messages.errors import WorkerGone
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.placement import StopWorker
from flora.messages.pool import OperationEnded, Pool, PoolOperation

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1  # while there is anything to do
UNLOAD_LIMIT_S = 5.0
FORGET_LIMIT_S = 10.0


class PoolKeeper:
    """Empties, fills and ends shared workers. `shell` is the router."""

    def __init__(
        self,
        shell: FloraActor,
        state: RouterState,
        places: Places,
        loads: Loads,
        wedges: Wedges,
        balance: Balance,
        gateway: GatewayEnd,
        may_act: Callable[[], bool],
    ) -> None:
        """may_act: False while a router that was restarted still finds out who has what, and when the system goes down."""
        self._shell = shell
        self._gateway = gateway
        self._emptied: dict[
            WorkerId, tuple[int, float]
        ] = {}  # number of the next event when it was seen to be empty, when
        self._may_act = may_act
        self._state = state
        self._places = places
        self._loads = loads
        self._wedges = wedges
        self.spread = balance.spread
        self._plan = PoolPlan()
        self._timer = 0
        self._is_looking = False
        balance.busy.append(lambda: self._plan.is_running)

    # What is wanted

    def take(self, pool: Pool) -> None:
        """The pool as Runtime wants it, or workers that came or went; known ones have been met."""
        self._plan.take(pool)
        self.note_open()
        self._arm()

    def note_open(self) -> None:
        """Lets first loads go to those workers only that take guilds."""
        if self._plan.pool.version:
            known = [worker for worker in self._state.workers if not is_dedicated(worker)]
            members = map(WorkerId, self._plan.pool.members)
            self._state.routes.open_to([worker for worker in known if self._plan.is_open(worker)] or known or members)

    def worker_died(self) -> None:
        """The lanes of its guilds are held, and whoever waited for it knows."""
        self._look()

    # Looks

    def _arm(self) -> None:
        if not self._timer and self._plan.is_active(_Sight(self)):
            self._timer = self._shell.after(LOOK_EVERY_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = 0
        self._look()

    def _look(self) -> None:
        if self._is_looking:  # a move that is refused at once
            return
        if self._may_act():
            self._is_looking = True
            self._emptied = {
                worker: seq for worker, seq in self._emptied.items() if not self._state.lanes.of_worker(worker)
            }
            try:
                for action in self._plan.look(time.monotonic(), _Sight(self), time.time()):
                    self._do(action)
            finally:
                self._is_looking = False
        self._arm()

    def _do(self, action: Move | Resettle | Stop | End) -> None:
        match action:
            case Move(by_force=True):
                self._force(action.guild_id, action.target)
            case Move():
                self._places.moves.start(action.guild_id, action.target, lambda why: self._moved(action.guild_id, why))
            case Resettle():
                self._resettle(action.targets)
            case Stop():
                self._stop(action.worker)
            case End():
                self._tell_end(action)

    def _moved(self, guild_id: GuildId, why: str | None) -> None:
        self._plan.ended(guild_id, why, time.monotonic())
        self._look()

    def is_forgotten(self, worker: WorkerId) -> bool:
        """No event that an empty worker has had will come again: only the worker can tell a router's successor that it had it.

        Where some event of anybody waits for long, that is not waited for: the router would have to die just then.
        """
        seq, since_s = self._emptied.setdefault(worker, (self._gateway.next_seq, time.monotonic()))
        return self._gateway.has_told(seq) or time.monotonic() - since_s >= FORGET_LIMIT_S

    def _stop(self, worker: WorkerId) -> None:
        address = self._state.workers[worker].address
        request = StopWorker(req_id=ReqId(""), worker_id=worker)
        self._shell.ask(self._shell.peers.runtime, request, lambda reply: self._stopped(worker, address, reply))

    def _stopped(self, worker: WorkerId, address: Address, reply: Ok | Failed) -> None:
        if isinstance(reply, Failed):
            self._plan.not_stopped(worker)
            return
        end = self._state.workers.get(worker)
        if end is None or end.address not in (None, address):  # told twice; or another one has its number already
            return
        end.address = None
        self._wedges.worker_died(worker)
        if address is not None:
            self._shell.give_up_on(address, WorkerGone("the worker was stopped"))
        if self._state.lanes.of_worker(
            worker
        ):  # must not be; if it is, they are loaded elsewhere, and it is stopped again
            log.error("worker %d was ended with guilds", worker, extra={"action": "bug"})
            self._state.lanes.worker_died(worker, {})
            self._plan.not_stopped(worker)
        else:
            del self._state.workers[worker]
            self._places.deaths.pop(worker, None)
            self.note_open()
        self._look()

    def _tell_end(self, end: End) -> None:
        operation = self._plan.pool.operation
        if operation is not None:
            told = OperationEnded(number=operation.number, state=end.state, text=end.text, moved=len(self._plan.moved))
            self._shell.tell(self._shell.peers.runtime, told)

    # Guilds that cannot be moved as usual

    def _resettle(self, targets: Mapping[GuildId, WorkerId]) -> None:
        """Their worker is dead: their lanes are held, with nothing under way."""
        sources = {self._state.lanes[guild_id].worker for guild_id in targets}
        for guild_id, target in targets.items():
            self._lead_to(guild_id, target)
        for source in sources:
            end = self._state.workers[source]
            parked, end.parked = end.parked, []
            for request, asker in parked:
                self._loads.load(request, asker)
        self._loads.reload(tuple(targets))

    def _lead_to(self, guild_id: GuildId, target: WorkerId) -> None:
        log.info(
            "guild starts elsewhere",
            extra={"action": "guild_resettled", "guild_id": guild_id, "source": self._state.lanes[guild_id].worker, "target": target},
        )  # fmt: skip
        self._state.lanes.move(guild_id, target)
        self._state.routes.assign(guild_id, target)

    def _force(self, guild_id: GuildId, target: WorkerId) -> None:
        """Ends a guild's isolate, and has its deployment loaded at the target."""
        lane = self._state.lanes[guild_id]
        source = lane.worker
        self._state.lanes.hold(guild_id)

        def unloaded(reply: Ok | Failed) -> None:
            lane = self._state.lanes.get(guild_id)
            if lane is None or lane.worker != source:
                self._moved(guild_id, "it was unloaded, or went elsewhere, meanwhile")
                return
            if isinstance(reply, Failed) and self._state.workers[source].address is not None:
                self._state.workers[source].link.offer_all(self._state.lanes.release(guild_id))
                self._moved(guild_id, f"its isolate could not be ended: {reply.message}")
                return
            failed = self._state.lanes.give_up(guild_id)
            self._places.tell(guild_id, "warn", _forced_text(target, len(failed)))
            self._lead_to(guild_id, target)
            self._loads.reload((guild_id,))
            self._moved(guild_id, None)

        request = UnloadIsolate(req_id=ReqId(""), guild_id=guild_id)
        self._shell.ask(self._state.workers[source].address, request, unloaded, UNLOAD_LIMIT_S)

    # For people

    def describe(self, request: Request, asker: Address) -> None:
        """Answers DescribePool."""
        pool = self._plan.pool
        operation = None if pool.operation is None else self._facts(pool.operation)
        value = {"members": list(pool.members), "drained": list(pool.drained), "operation": operation}
        self._shell.reply_ok(request, asker, value)

    def _facts(self, operation: PoolOperation) -> dict[str, Any]:
        sight = _Sight(self)
        is_running = operation.ended_s is None
        return {
            "number": operation.number,
            "kind": operation.kind.value,
            "target": operation.target,
            "automatic": operation.automatic,
            "force": operation.force,
            "state": operation.state.value,
            "began_at": rfc3339(operation.began_s),
            "ended_at": None if operation.ended_s is None else rfc3339(operation.ended_s),
            "text": operation.text,
            "moved": len(self._plan.moved) if is_running else max(operation.moved, len(self._plan.moved)),
            "moving": len(self._plan.moving),
            "left": self._plan.left(sight),
            "loading": self._plan.loading(sight),
            "starting": list(self._plan.starting(sight)),
            "waiting": [
                {"guild_id": guild_id, "worker": hitch.worker, "why": hitch.why, "tries": hitch.tries}
                for guild_id, hitch in self._plan.hitches.items()
            ],
        }

    def worker_state(self, worker: WorkerId) -> dict[str, Any]:
        """What `DescribeWorkers` says of a worker beyond its figures."""
        pool = self._plan.pool
        since_s = dict(pool.up_since).get(worker)
        kind, operation = "active", pool.operation
        if is_dedicated(worker) or not pool.version:
            pass
        elif worker not in pool.members:
            is_recycled = operation is not None and operation.heir is not None and operation.target == worker
            kind = "recycling" if is_recycled else "leaving"
        elif worker in pool.drained:
            kind = "draining" if self._state.lanes.of_worker(worker) else "drained"
        return {"pool_state": kind, "age_s": None if since_s is None else round(max(0.0, time.time() - since_s), 1)}


class _Sight:
    """One look at workers and guilds; see `pool_plan.Sight`."""

    def __init__(self, keeper: PoolKeeper) -> None:
        self._keeper = keeper
        self._state, self._moves = keeper._state, keeper._places.moves
        self._guilds: dict[WorkerId, list[GuildId]] | None = None

    def workers(self) -> Mapping[WorkerId, bool]:
        return {w: end.address is not None for w, end in self._state.workers.items() if not is_dedicated(w)}

    def guilds_on(self, worker: WorkerId) -> Sequence[GuildId]:
        if self._guilds is None:
            self._guilds = {}
            for guild_id in self._state.lanes:
                self._guilds.setdefault(self._state.lanes[guild_id].worker, []).append(guild_id)
        return self._guilds.get(worker, [])

    def is_moving(self, guild_id: GuildId) -> bool:
        return guild_id in self._moves

    def is_movable(self, guild_id: GuildId) -> bool:
        lane = self._state.lanes.get(guild_id)
        return lane is not None and not lane.held and guild_id not in self._moves

    def is_quiet(self, worker: WorkerId) -> bool:
        end = self._state.workers[worker]
        if end.parked or (end.address is not None and not end.knows_us):  # else it has yet to say which guilds it has
            return False
        if any(worker in (move.source, move.target) for move in self._moves.under_way()):
            return False
        return self._keeper.is_forgotten(worker)

    def spread(self, guilds: Sequence[GuildId], onto: Sequence[WorkerId]) -> Mapping[GuildId, WorkerId]:
        return self._keeper.spread(guilds, onto)


def _forced_text(target: WorkerId, failed: int) -> str:
    lost = "" if not failed else f"; {failed} of its events that were under way have failed"
    return f"the script was ended and is started again in worker {target}, by an operator's word{lost}"
