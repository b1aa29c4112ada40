"""The router: every guild event goes through it, to the worker that owns the guild, in gateway order."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flora.actors import hold_back
from flora.actors.base import FloraActor
from flora.actors.hold_back import HoldBack
from flora.actors.isolate.progress import last_started
from flora.actors.lanes import Lanes, Row, Salvage
from flora.actors.link import WINDOW, Batch, Link
from flora.actors.log_sender import LogSender
from flora.actors.metrics import merged
from flora.actors.routing import GuildRoutes
from flora.actors.wire import refused_packets
from flora.messages.base import Address, Failed, Ok
from flora.messages.deployment import LoadGuild, ReloadGuilds, UnloadGuild
from flora.messages.dispatch import (
    DispatchFrame,
    LoadIsolate,
    UnloadIsolate,
    WorkerExited,
    WorkerFrame,
)
from flora.messages.errors import Unavailable, WorkerGone
from flora.messages.gateway import GatewayControl, GatewayFrame
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.lifecycle import Peers, ReadMetrics, Start
from flora.messages.logs import LogAck

log = logging.getLogger(__name__)

MAX_FRAME_ROWS = 1024
RELOAD_LIMIT_S = 120.0
CONTROL_AGAIN_S = 1.0  # a control frame that the gateway has not acknowledged by then is sent again
RELOAD_AGAIN_S = 1.0  # pause before a reload that failed as a whole (the deployer died, storage is down) is tried again

Subscription = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class WorkerEnd:
    """What the router knows of one worker."""

    address: Address
    link: Link[Row]
    parked: list[tuple[LoadGuild, Address]] = field(default_factory=list)  # loads that came while it was down


class Router(FloraActor):
    """Sends each guild event to the worker that owns the guild.

    Receives   GatewayFrame (gateway), WorkerFrame (workers), LoadGuild, UnloadGuild (deployer), WorkerExited (runtime)
    Sends      DispatchFrame, LoadIsolate, UnloadIsolate (workers), GatewayControl (gateway), ReloadGuilds (deployer)
    State      guild_routes, lanes, subscriptions: memory only. A restarted router learns them from its workers' first frames.
    Supervises nothing.
    Fails      worker gone → what it had started fails once, the rest is sent again in order after the reload;
               backlog full → the gateway waits a moment, then droppable events are shed, counted and told once per burst.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lanes = Lanes()
        self._workers: dict[WorkerId, WorkerEnd] = {}
        self._subscriptions: dict[GuildId, tuple[str, ...]] = {}
        self._told_no_isolate: set[str] = set()
        self._hold_back = HoldBack()
        self._is_holding = False
        self._gateway_is_new = True
        self._replacing = 0  # number of the frame that told the gateway everything
        self._tried_again: set[ReqId] = set()  # restores that a worker's death cut short once
        self._reloading: set[GuildId] = set()  # a reload of theirs is under way
        self._loads_to_confirm: list[tuple[Address, Ok]] = []

    def on_start(self, msg: Start) -> dict[str, Any]:
        self.guild_routes = GuildRoutes(msg.settings.runtime.max_workers)
        self._gateway: Link[Subscription] = Link(self.incarnation, MAX_FRAME_ROWS)
        self._logs = LogSender(self.incarnation)
        self._meet_workers(msg.peers)
        return {}

    # Peers

    def on_peers(self, peers: Peers) -> None:
        self._meet_workers(peers)
        if peers.gateway is not None and peers.gateway != self.peers.gateway:
            self._gateway.take_back()
            self._gateway_is_new = True
            self._gateway.offer_all(self._subscriptions.items())
        if self.peers.deployer is not None and peers.deployer != self.peers.deployer:
            self.give_up_on(self.peers.deployer, Unavailable("the deployer died meanwhile"))
        if peers.log_book != self.peers.log_book:
            again = self._logs.moved(peers.log_book)
            if again is not None:
                self.tell(peers.log_book, again)

    def _meet_workers(self, peers: Peers) -> None:
        for number, address in peers.workers:
            worker = WorkerId(number)
            known = self._workers.get(worker)
            if known is None:
                self._workers[worker] = WorkerEnd(address, Link(self.incarnation, MAX_FRAME_ROWS, window=WINDOW))
            elif known.address != address:
                known.address = address
                self._worker_is_back(worker, known)

    def receiveMsg_WorkerExited(self, msg: WorkerExited, sender: Address) -> None:
        """Sorts out what the dead worker had, and holds its guilds."""
        worker = WorkerId(msg.worker_id)
        end = self._workers.get(worker)
        if end is None:
            return
        address, end.address = end.address, None
        end.link.take_back()
        started = _read_and_remove(msg.recorder)
        for salvage in self._lanes.worker_died(worker, started):
            self._tell_of_death(salvage)
        self.give_up_on(address, WorkerGone("the worker died meanwhile"))

    def _tell_of_death(self, salvage: Salvage) -> None:
        for _, _, name, _ in salvage.failed:
            self._logs.line("error", salvage.guild_id, f"dispatch failed: the worker died while {name} was running")
        if salvage.failed or salvage.kept:
            log.warning(
                "events of a dead worker",
                extra={"guild_id": salvage.guild_id, "failed": len(salvage.failed), "kept": salvage.kept},
            )

    def _worker_is_back(self, worker: WorkerId, end: WorkerEnd) -> None:
        parked, end.parked = end.parked, []
        for request, asker in parked:
            self._load(request, asker, worker, end)
        waiting = {request.guild_id for request, _ in parked if request.restore}
        self._reload(tuple(g for g in self._lanes.of_worker(worker) if self._lanes[g].held and g not in waiting))

    def _reload(self, guilds: tuple[GuildId, ...]) -> None:
        guilds = tuple(g for g in guilds if g in self._lanes and self._lanes[g].held)
        if guilds:
            self._reloading.update(guilds)
            self.ask(
                self.peers.deployer,
                ReloadGuilds(req_id=ReqId(""), guild_ids=guilds),
                lambda reply: self._reloaded(guilds, reply),
                RELOAD_LIMIT_S,
            )

    def _reloaded(self, guilds: tuple[GuildId, ...], reply: Ok | Failed) -> None:
        """Guilds that have no deployment any more, or whose deployment no longer loads, lose their lane."""
        if isinstance(reply, Failed):
            log.error("guilds not reloaded: %s", reply.message, extra={"guilds": len(guilds)})
            self.after(RELOAD_AGAIN_S, lambda: self._reload(guilds))
            return
        self._reloading.difference_update(guilds)
        for guild_id in guilds:
            if guild_id in self._lanes and self._lanes[guild_id].held and guild_id not in self._loading():
                self._forget(guild_id)

    def _loading(self) -> set[GuildId]:
        return {request.guild_id for end in self._workers.values() for request, _ in end.parked}

    # Events

    def receiveMsg_GatewayFrame(self, msg: GatewayFrame, sender: Address) -> None:
        """Takes events in; holds the gateway's acknowledgement back while a backlog is full."""
        if not self._gateway.receive(msg, owe_ack=False):
            return
        for offset, guild_id in enumerate(msg.guild_ids):
            row = (msg.first_seq + offset, guild_id, msg.names[offset], msg.payloads[offset])
            if guild_id == "":
                self._broadcast(row)
            elif self._lanes.admit(row, shed=self._hold_back.shedding):
                self._workers[self._lanes[GuildId(guild_id)].worker].link.offer(row)
            else:
                self._not_sent(guild_id, row[2])
        if self._hold_back.begins(self._lanes.overfull(), time.monotonic()):
            self._is_holding = True
            self.after(hold_back.CHECK_S, self._check_held)
        elif msg.wants_ack:
            self._gateway.release_ack()

    def _broadcast(self, row: Row) -> None:
        for end in self._workers.values():
            if end.address is not None:
                end.link.offer(row)

    def _not_sent(self, guild_id: str, name: str) -> None:
        guild = GuildId(guild_id)
        if guild not in self._lanes:
            if guild_id not in self._told_no_isolate:
                self._told_no_isolate.add(guild_id)
                log.info("event dropped: guild has no script", extra={"guild_id": guild_id, "event": name})
        elif self._lanes[guild].shedding == 1:
            self._logs.line("warn", guild_id, f"events are being dropped: too many are waiting ({name} first)")

    def _check_held(self) -> None:
        if not self._is_holding:
            return
        if self._hold_back.goes_on(self._lanes.overfull(), time.monotonic()):
            self.after(hold_back.CHECK_S, self._check_held)
            return
        self._let_go()

    def _let_go(self) -> None:
        self._is_holding = False
        self._gateway.release_ack()

    def receiveMsg_WorkerFrame(self, msg: WorkerFrame, sender: Address) -> None:
        """Takes in what a worker finished, and what its scripts want to hear."""
        worker, end = self._worker_at(sender)
        if end is None or not end.link.receive(msg):
            return
        for seq, guild_id, _outcome in msg.done:
            self._lanes.done(GuildId(guild_id), seq)
        for guild_id, names in msg.subscriptions:
            self._subscribe(worker, GuildId(guild_id), names)
        for guild_id, why in msg.lost:
            log.error("guild lost its isolate: %s", why, extra={"guild_id": guild_id})
            self._forget(GuildId(guild_id))
        if self._is_holding and not self._lanes.overfull():
            self._let_go()

    def _worker_at(self, address: Address) -> tuple[WorkerId, WorkerEnd | None]:
        for worker, end in self._workers.items():
            if end.address == address:
                return worker, end
        return WorkerId(-1), None

    def _subscribe(self, worker: WorkerId, guild_id: GuildId, names: tuple[str, ...]) -> None:
        if guild_id not in self._lanes:  # only after a restart of this router: the worker knows the guild, we do not
            self.guild_routes.assign(guild_id, worker)
            self._lanes.open(guild_id, worker, held=False)
        self._subscriptions[guild_id] = names
        self._gateway.offer((guild_id, names))

    # Deploys

    def receiveMsg_LoadGuild(self, msg: LoadGuild, sender: Address) -> None:
        """Has the guild's worker build the isolate; the guild's first events wait for it."""
        worker, is_new = self.guild_routes.claim(msg.guild_id)
        self._lanes.open(msg.guild_id, worker, held=is_new)
        end = self._workers[worker]
        asker = msg.reply_to or sender
        if end.address is None:
            end.parked.append((msg, asker))
        else:
            self._load(msg, asker, worker, end)

    def _load(self, msg: LoadGuild, asker: Address, worker: WorkerId, end: WorkerEnd) -> None:
        request = LoadIsolate(
            req_id=ReqId(""), guild_id=msg.guild_id, script=msg.script, source_map=msg.source_map, trace=msg.trace
        )
        limit_s = self.settings.runtime.load_timeout_s + self.settings.runtime.boot_timeout_s
        self.ask(
            end.address, request, lambda r: self._loaded(msg, asker, worker, r), limit_s * 2 + 10 if limit_s else 0
        )

    def _loaded(self, msg: LoadGuild, asker: Address, worker: WorkerId, reply: Ok | Failed) -> None:
        guild_id = msg.guild_id
        if isinstance(reply, Ok):
            self._told_no_isolate.discard(guild_id)
            self._workers[worker].link.offer_all(self._lanes.release(guild_id))
            self._subscribe(worker, guild_id, tuple(reply.value["handlers"]))
            value = {"worker": worker, "replaced": reply.value["replaced"]}
            self._loads_to_confirm.append((asker, Ok(req_id=msg.req_id, value=value, trace=msg.trace)))
            return
        if reply.code == WorkerGone.code and msg.restore and msg.req_id not in self._tried_again:
            # Once more in the next worker. Not a deploy: its script may be what ended this one, and the stored one is reloaded.
            self._tried_again.add(msg.req_id)
            self._workers[worker].parked.append((msg, asker))
            return
        self._tried_again.discard(msg.req_id)
        if self._is_over(msg, reply):
            self._forget(guild_id)
        self.send(asker, Failed(req_id=msg.req_id, code=reply.code, message=reply.message, details=reply.details))

    def _is_over(self, msg: LoadGuild, failed: Failed) -> bool:
        """Whether a failed load leaves the guild with nothing that runs or will be loaded again."""
        if msg.guild_id not in self._lanes or not self._lanes[msg.guild_id].held:
            return False
        if failed.code == WorkerGone.code:
            return msg.restore  # it ended two workers, or had the bad luck to be there
        return msg.guild_id not in self._reloading

    def _confirm_loads(self) -> None:
        """A load is done when the gateway knows what the guild listens to: an event right after it must not be lost."""
        if self._loads_to_confirm and (self.peers.gateway is None or not len(self._gateway)):
            confirmed, self._loads_to_confirm = self._loads_to_confirm, []
            for asker, done in confirmed:
                self.send(asker, done)

    def _forget(self, guild_id: GuildId) -> None:
        self._lanes.close(guild_id)
        self.guild_routes.forget(guild_id)
        if self._subscriptions.pop(guild_id, None) is not None:
            self._gateway.offer((guild_id, ()))

    def receiveMsg_UnloadGuild(self, msg: UnloadGuild, sender: Address) -> None:
        """Stops the guild's isolate; an unknown guild is fine."""
        if msg.guild_id not in self.guild_routes:
            self.reply_ok(msg, sender)
            return
        end = self._workers[self.guild_routes.lookup(msg.guild_id)]
        self._forget(msg.guild_id)
        if end.address is None:
            self.reply_ok(msg, sender)
            return
        asker, req_id = msg.reply_to or sender, msg.req_id
        request = UnloadIsolate(req_id=ReqId(""), guild_id=msg.guild_id)
        self.ask(end.address, request, lambda _: self.send(asker, Ok(req_id=req_id)))

    # Metrics

    def receiveMsg_ReadMetrics(self, msg: ReadMetrics, sender: Address) -> None:
        """Adds up the workers' counters and our own."""
        asker, req_id = msg.reply_to or sender, msg.req_id
        alive = [end for end in self._workers.values() if end.address is not None]
        parts: list[dict[str, Any]] = []
        missing = len(alive)

        def arrived(reply: Ok | Failed) -> None:
            nonlocal missing
            missing -= 1
            if isinstance(reply, Ok):
                parts.append(reply.value)
            if missing == 0:
                self.send(asker, Ok(req_id=req_id, value=merged(parts) | self._own_metrics()))

        for end in alive:
            self.ask(end.address, ReadMetrics(req_id=ReqId("")), arrived, 2.0)
        if not alive:
            self.reply_ok(msg, sender, self._own_metrics())

    def _own_metrics(self) -> dict[str, Any]:
        tally = self._lanes.tally
        return {
            "guild_routes": len(self.guild_routes),
            "events_accepted": tally.accepted,
            "events_done": tally.done,
            "events_shed": tally.shed,
            "events_without_isolate": tally.dropped_no_isolate,
            "events_died": tally.died,
            "packets_refused": refused_packets(),
        }

    # Sending

    def receiveMsg_LogAck(self, msg: LogAck, sender: Address) -> None:
        """The log book has our lines."""
        self._logs.acknowledged(msg)

    def flush(self) -> None:
        """Sends what each link has to say."""
        if not hasattr(self, "_logs"):
            return
        self._confirm_loads()
        for end in self._workers.values():
            if end.address is not None and (batch := end.link.poll()) is not None:
                self.send(end.address, self._dispatch_frame(end.link, batch))
        if self.peers.gateway is not None and (control := self._gateway.poll()) is not None:
            self._send_control(control)
        if self.peers.log_book is not None and (lines := self._logs.poll()) is not None:
            self.send(self.peers.log_book, lines)

    @staticmethod
    def _dispatch_frame(link: Link[Row], batch: Batch[Row]) -> DispatchFrame:
        seqs, guild_ids, names, payloads = zip(*batch.rows, strict=True) if batch.rows else ((), (), (), ())
        return DispatchFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=link.epoch,
            seqs=seqs,
            guild_ids=guild_ids,
            names=names,
            payloads=payloads,
        )

    def _send_control(self, batch: Batch[Subscription]) -> None:
        self.send(self.peers.gateway, self._control_frame(batch))
        if batch.number:
            self.after(CONTROL_AGAIN_S, lambda: self._control_overdue(batch.number))

    def _control_overdue(self, number: int) -> None:
        """A gateway that heard of this router only after its first frame has forgotten that frame, and never acknowledges it."""
        again = self._gateway.resend()
        if again is not None and again.number == number and self.peers.gateway is not None:
            self._send_control(again)

    def _control_frame(self, batch: Batch[Subscription]) -> GatewayControl:
        if self._gateway_is_new and batch.number:
            self._gateway_is_new, self._replacing = False, batch.number
        return GatewayControl(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self._gateway.epoch,
            subscriptions=tuple(batch.rows),
            replaces_all=batch.number != 0 and batch.number == self._replacing,
        )


def _read_and_remove(recorder: str) -> dict[str, int]:
    """What a dead worker had started; its flight recorder is of no use afterwards."""
    if not recorder:
        return {}
    started = last_started(Path(recorder))
    Path(recorder).unlink(missing_ok=True)
    return started
