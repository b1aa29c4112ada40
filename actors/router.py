"""The router: every guild event goes through it, to the worker that owns the guild, in gateway order.

Here: events and frames. `router_desk.py` takes in what others ask of it, `router_requests.py` takes that to the guilds.
`router_state.py` is what its parts share, `router_loads.py` what loads and unloads guilds, `router_places.py` what decides where they run,
`router_moves.py` what moves them, `router_balance.py` what keeps the load even, `router_pool.py` what empties and fills workers when the
pool changes, `router_views.py` what describes them.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from flora.actors import hold_back
from flora.actors.base import DEFERRED
from flora.actors.hold_back import HoldBack
from flora.actors.isolate.progress import busy_for_s, last_started, read_recorder
from flora.actors.lanes import Row
from flora.actors.link import Batch, Link
from flora.actors.placement import is_dedicated
from flora.actors.queue_wait import QueueWait
from flora.actors.router_balance import Balance
from flora.actors.router_claims import Claims
from flora.actors.router_cron import CronCalls
from flora.actors.router_desk import RouterDesk
from flora.actors.router_gateway import GatewayEnd
from flora.actors.router_kv import KvCalls
from flora.actors.router_loads import Loads
from flora.actors.router_metrics import RouterMetrics
from flora.actors.router_migrate import Migrations
from flora.actors.router_moves import Moves
from flora.actors.router_places import Places
from flora.actors.router_pool import PoolKeeper
from flora.actors.router_recovery import RouterRecovery
from flora.actors.router_requests import GuildRequests
from flora.actors.router_secrets import SecretPasser
from flora.actors.router_state import RouterState
from flora.actors.router_tracing import RouterHops
from flora.actors.router_views import Views
from flora.actors.router_wedges import Wedges
from flora.messages.base import Address, Failed, Ok, Reply
from flora.messages.dispatch import DispatchFrame, WorkerExited, WorkerFrame, WorkerReport
from flora.messages.errors import Unavailable, WorkerGone
from flora.messages.gateway import GatewayFrame, NotePositions, NoteSession, ResumePoint
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.lifecycle import Drain, Peers, ReadMetrics, Start
from flora.messages.logs import LogAck
from flora.messages.placement import (
    ReadPlacements,
)
from flora.messages.trace import current_trace, working_on

log = logging.getLogger(__name__)

DRAIN_LOOKS, DRAIN_LOOK_S = 2, 0.05


class Router(RouterDesk):
    """Sends each guild event to the worker that owns the guild.

    Receives   GatewayFrame (gateway), WorkerFrame (workers), LoadGuild, UnloadGuild, GiveSecrets (deployer), WorkerExited (runtime),
               MigrateGuild, DescribeMoves, PlaceGuild, DescribeGuild, DescribeGuilds, DescribeWorkers, DescribePool, KvCall,
               ListCronJobs, RunCronJob (front-end)
    Sends      DispatchFrame, LoadIsolate, UnloadIsolate, MoveOut, ThawGuild, DropFrozen, KvCall, ReleaseKv, ReadLoad (workers),
               GatewayControl (gateway), ReloadGuilds, NotePlacement (deployer), StartWorker, StopWorker, ReplaceWorker,
               OperationEnded (runtime)
    State      guild_routes, lanes, subscriptions: memory only. A restarted router learns them from its workers, see router_recovery.
    Supervises nothing.
    Fails      worker gone → what it had started fails once, the rest is sent again in order after the reload;
               backlog full → the gateway waits a moment, then droppable events are shed, counted and told once per burst.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loads: Loads
        self._places: Places
        self._wedges: Wedges
        self._balance: Balance
        self._moves: Moves
        self._metrics: RouterMetrics
        self._waits = QueueWait()
        self._hold_back = HoldBack()
        self._is_holding = False
        self._is_draining = False
        self._gateway: GatewayEnd
        self._claims: Claims
        self._event_hops: RouterHops | None = None  # where tracing is on

    def on_start(self, msg: Start) -> dict[str, Any]:
        self._state = RouterState(self.incarnation, msg.settings.runtime.max_workers)
        self._event_hops = (
            RouterHops(self.tracer, self._state.lanes, self._state.why_held) if self.tracer.enabled else None
        )
        if self._event_hops is not None:
            self._state.on_lost = self._event_hops.lost
        self._loads = Loads(self, self._state)
        self._places = Places(self, self._state, self._loads)
        self._wedges = Wedges(self, self._state, self._places)
        self._balance = Balance(self, self._state, self._places)
        self._places.choose = self._balance.choose
        self._gateway = GatewayEnd(self, self._state)
        self._pool = PoolKeeper(
            *(self, self._state, self._places, self._loads, self._wedges, self._balance, self._gateway),
            may_act=lambda: self._recovering is None and not self._is_draining,
        )
        self._views = Views(self, self._state, self._places, self._balance, self._pool)
        self._balance.dedicate = self._views.pins.dedicate
        self._balance.busy += [lambda: self._recovering is not None, lambda: self._is_draining]
        self._metrics = RouterMetrics(self, self._state, self._places, self._views, self._waits, self._balance)
        self._loads.kv = KvCalls(self, self._state)
        self._moves = self._places.moves
        self._migrations = Migrations(self, self._state, self._places, self._balance)
        secrets, cron = SecretPasser(self, self._state), CronCalls(self, self._state)
        self._requests = GuildRequests(self._moves.line, self._loads, secrets, self._loads.kv, cron)
        self._claims = Claims(self, self._state, self._loads)
        self._meet_workers(msg.peers)
        self._pool.take(msg.peers.pool)
        self._ask_for_placements(msg.peers)
        if msg.again or msg.peers.workers:
            for end in self._state.workers.values():
                end.knows_us = False
            self._recovery = RouterRecovery(self, self._state, self._loads, self._claims)
            for death in msg.deaths:
                self._recovery.died_before(death.recorder)
            self._recovery.begin(self._recovered)
        return {}

    def _recovered(self, frames: list[GatewayFrame]) -> None:
        for frame in frames:
            self._take(frame)

    # Peers

    def on_peers(self, peers: Peers) -> None:
        self._meet_workers(peers)
        self._pool.take(peers.pool)
        self._gateway.meet(peers.gateway)
        if self.peers.deployer is not None and peers.deployer != self.peers.deployer:
            self.give_up_on(self.peers.deployer, Unavailable("the deployer died meanwhile"))
            self._moves.gates.forget_asker(self.peers.deployer)
        if peers.deployer != self.peers.deployer:
            self._ask_for_placements(peers)
        if peers.log_book != self.peers.log_book:
            again = self._state.logs.moved(peers.log_book)
            if again is not None:
                self.tell(peers.log_book, again)

    def _ask_for_placements(self, peers: Peers) -> None:
        def told(reply: Ok | Failed) -> None:
            if isinstance(reply, Ok):
                self._places.remember(reply.value)

        if peers.deployer is not None:
            self.ask(peers.deployer, ReadPlacements(req_id=ReqId("")), told)

    def _meet_workers(self, peers: Peers) -> None:
        for number, address in peers.workers:
            worker = WorkerId(number)
            known = self._state.workers.get(worker)
            if known is None:
                self._state.meet(worker, address)
            elif known.address != address:
                known.address, known.knows_us, known.heard = address, True, self._state.last_broadcast
                with working_on(known.death):
                    self._places.worker_is_back(worker, known)

    def receiveMsg_WorkerExited(self, msg: WorkerExited, sender: Address) -> None:
        """Sorts out what the dead worker had, and holds its guilds."""
        worker = WorkerId(msg.worker_id)
        end = self._state.workers.get(worker)
        if end is None or (
            msg.address is not None and msg.address != end.address
        ):  # a life of it that this router never met
            if self._recovery is not None:
                self._recovery.died_before(msg.recorder)
            return
        address, end.address = end.address, None
        end.death = current_trace.get()
        end.link.take_back()
        started, busy_s = _read(msg.recorder)
        if self._recovery is not None:
            self._recovery.worker_died(worker, started)
        salvages = self._state.lanes.worker_died(worker, started)
        self._wedges.worker_died(worker)
        verdict = self._places.worker_exited(worker, msg, busy_s)
        for salvage in salvages:
            self._loads.tell_of_death(salvage, verdict)
        if self._event_hops is not None:
            self._event_hops.worker_died(worker, salvages, verdict.told)
        self.give_up_on(address, WorkerGone("the worker died meanwhile"))
        self._pool.worker_died()

    # Events

    def receiveMsg_GatewayFrame(self, msg: GatewayFrame, sender: Address) -> None:
        """Takes events in; holds the gateway's acknowledgement back while a backlog is full."""
        for frame in self._gateway.receive(msg, sender):
            if self._recovering is not None:
                self._recovering.keep(frame)
            else:
                self._take(frame)

    def receiveMsg_ResumePoint(self, msg: ResumePoint, sender: Address) -> None:
        """A new gateway asks where to go on."""
        if self._recovering is not None:
            self._recovering.later(lambda: self.receiveMsg_ResumePoint(msg, sender))
        else:
            self.reply_ok(msg, sender, self._gateway.resume_point(sender))

    def receiveMsg_NoteSession(self, msg: NoteSession, sender: Address) -> None:
        """Kept for the next gateway."""
        self._gateway.note_session(msg, sender)

    def receiveMsg_NotePositions(self, msg: NotePositions, sender: Address) -> None:
        """Kept for the next gateway."""
        self._gateway.note_positions(msg, sender)

    def _take(self, msg: GatewayFrame) -> None:
        again = self._recovery
        if again is not None and not again.concerns(msg):
            again = self._recovery = None
        lanes, workers, hops = self._state.lanes, self._state.workers, self._event_hops
        if hops is not None:
            hops.came(msg)
        self._waits.took(msg.first_seq, msg.received_us)
        for offset, guild_id in enumerate(msg.guild_ids):
            row = (msg.first_seq + offset, guild_id, msg.names[offset], msg.payloads[offset])
            if guild_id == "":
                self._broadcast(row)
            elif again is not None and not again.take(row):
                pass
            elif lanes.admit(row, shed=self._hold_back.shedding):
                workers[lanes[GuildId(guild_id)].worker].link.offer(row)
            else:
                self._state.tell_not_sent(guild_id, row[2], self.tracer.event_trace(row[0]))
                if hops is not None:
                    hops.not_sent(row)
        self._gateway.taken(msg)
        if self._hold_back.begins(lanes.overfull(), time.monotonic()):
            self._is_holding = True
            self.after(hold_back.CHECK_S, self._check_held)
        elif msg.wants_ack:
            self._state.gateway.release_ack()

    def _broadcast(self, row: Row) -> None:
        for worker, end in self._state.workers.items():
            heard = self._recovery is not None and self._recovery.has_heard(worker, row[0])
            if end.address is not None and not heard:
                end.link.offer(row)
        self._state.note_broadcast(row)
        self._gateway.broadcast(row[0])

    def _check_held(self) -> None:
        if not self._is_holding:
            return
        if self._hold_back.goes_on(self._state.lanes.overfull(), time.monotonic()):
            self.after(hold_back.CHECK_S, self._check_held)
            return
        self._let_go()

    def _let_go(self) -> None:
        self._is_holding = False
        self._state.gateway.release_ack()

    def receiveMsg_WorkerFrame(self, msg: WorkerFrame, sender: Address) -> None:
        """Takes in what a worker finished, and what its scripts want to hear."""
        worker, end = self._state.worker_at(sender, msg.epoch)
        if end is None:
            self.ignore(msg, "it is of a worker that is gone")
            return
        for frame in end.link.receive(msg):
            self._take_report(worker, frame)

    def _take_report(self, worker: WorkerId, msg: WorkerFrame) -> None:
        lanes = self._state.lanes
        for seq, guild_id, _outcome in msg.done:
            lanes.done(GuildId(guild_id), seq, worker)
        if msg.traced and self._event_hops is not None:
            self._event_hops.ended(worker, msg.traced)
        self._moves.look()
        if is_dedicated(worker):
            self._places.outcomes(worker, msg.done)
        if self._recovery is not None:
            self._recovery.done(msg)
        for guild_id, names in msg.subscriptions:
            self._state.subscribe(worker, GuildId(guild_id), names)
        for guild_id, why in msg.lost:
            log.error("guild lost its isolate: %s", why, extra={"guild_id": guild_id})
            self._places.lost(worker, GuildId(guild_id), why)
        for guild_id, why in msg.wedged:
            self._wedges.reported(worker, GuildId(guild_id), why)
        if self._is_holding and not lanes.overfull():
            self._let_go()

    def receiveMsg_WorkerReport(self, msg: WorkerReport, sender: Address) -> None:
        """This router was restarted: what a worker has."""
        worker, end = self._state.worker_at(sender)
        if end is None:
            return
        end.knows_us = True
        if self._recovery is not None:
            self._recovery.reported(worker, msg)
        else:  # it comes too late for its events, not for its guilds
            self._claims.reported(worker, msg)
            self._claims.settle_frozen()

    # Metrics

    def receiveMsg_ReadMetrics(self, msg: ReadMetrics, sender: Address) -> None:
        """Adds up the workers' counters and our own."""
        self._metrics.read(msg, msg.reply_to or sender)

    def metrics(self) -> dict[str, Any]:
        return self._metrics.own()

    # End

    def on_drain(self, msg: Drain) -> object:
        """Waits until every accepted event is done. Guilds of a worker that is gone are not waited for: nobody restarts it now."""
        self._is_draining = True
        self._moves.end()
        self._drain_until(time.monotonic() + msg.limit_s, msg, idle_looks=0)
        return DEFERRED

    def _drain_until(self, deadline_s: float, msg: Drain, idle_looks: int) -> None:
        lanes, workers = self._state.lanes, self._state.workers
        alive = {worker for worker, end in workers.items() if end.address is not None}
        # Two looks: the gateway's last frame may still be under way at the first.
        idle_looks = 0 if lanes.waiting_for(alive) or self._moves else idle_looks + 1
        if idle_looks < DRAIN_LOOKS and time.monotonic() < deadline_s:
            self.after(DRAIN_LOOK_S, lambda: self._drain_until(deadline_s, msg, idle_looks))
        else:
            self.reply_ok(msg, None, {"abandoned": lanes.waiting_for(workers)})

    # Sending

    def send(self, to: Address, message: Any) -> None:
        """An answer may be what others wait for while their guild moves."""
        super().send(to, message)
        if isinstance(message, Reply) and hasattr(self, "_moves") and self._moves.gates:
            self._moves.line.answered(message.req_id)

    def receiveMsg_LogAck(self, msg: LogAck, sender: Address) -> None:
        """The log book has our lines."""
        self._state.logs.acknowledged(msg)

    def flush(self) -> None:
        """Sends what each link has to say."""
        if not hasattr(self, "_state"):
            return
        self._moves.line.flush()
        self._loads.confirm()
        for worker, end in self._state.workers.items():
            if end.address is not None and end.knows_us and (batch := end.link.poll()) is not None:
                if batch.rows:
                    self._waits.sent(batch.rows, time.time_ns() // 1000)
                self.send(end.address, self._dispatch_frame(worker, end.link, batch))
        if self._recovering is None:  # before, it could only name some of the guilds
            self._gateway.flush()
        if self.peers.log_book is not None and (lines := self._state.logs.poll()) is not None:
            self.send(self.peers.log_book, lines)

    def _dispatch_frame(self, worker: WorkerId, link: Link[Row], batch: Batch[Row]) -> DispatchFrame:
        seqs, guild_ids, names, payloads = zip(*batch.rows, strict=True) if batch.rows else ((), (), (), ())
        stamps = self._event_hops.stamps(worker, seqs) if self._event_hops is not None and seqs else {}
        return DispatchFrame(
            number=batch.number,
            ack=batch.ack,
            after=batch.after,
            wants_ack=batch.wants_ack,
            epoch=link.epoch,
            seqs=seqs,
            guild_ids=guild_ids,
            names=names,
            payloads=payloads,
            **stamps,
        )


def _read(recorder: str) -> tuple[dict[str, int], dict[str, float]]:
    """What a dead worker had started, and who was inside V8 for how long. Its flight recorder stays: this router may die, too."""
    if not recorder:
        return {}, {}
    entries = read_recorder(Path(recorder))
    return last_started(entries), busy_for_s(entries, time.monotonic())
