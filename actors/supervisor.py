"""Keeps children alive: starts them, tells everybody where they are, starts them again when they die, each under its policy."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thespian.actors import ActorExitRequest

from flora.actors.base import FloraActor
from flora.actors.library_fixes import exit_code_of
from flora.actors.supervision import RestartPolicy, Restarts
from flora.actors.tracing import now_us
from flora.actors.worker import Worker
from flora.actors.worker_exits import WorkerEnd, end_of, exited, set_aside
from flora.messages.base import Address, Failed, Ok, TraceContext
from flora.messages.dispatch import WorkerExited
from flora.messages.errors import FloraError, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import (
    Peers,
    PeersChanged,
    Start,
)
from flora.messages.metrics import Labels
from flora.messages.placement import ReplaceWorker, StartWorker, StopWorker
from flora.messages.series import counted
from flora.messages.trace import current_trace, new_span_id, new_trace_id, working_on
from flora.storage.trace_record import TraceRecord

log = logging.getLogger(__name__)

START_LIMIT_S = 30.0
DEATH_KEPT_S = 60.0  # so long a router that dies may take what it knew of a worker's death along
DEDICATED = "dedicated worker"  # all of them, in what is counted


@dataclass(slots=True)
class Child:
    """One actor that this one keeps alive."""

    name: str
    actor_class: type[FloraActor]
    peer: str  # field of Peers; "" for workers
    worker_id: int | None = None
    address: Address | None = None
    state: str = "new"  # new, starting, running, waiting, failed, stopped
    restarts: Restarts = field(default_factory=lambda: Restarts(RestartPolicy()))
    facts: Any = None
    dedicated_to: GuildId | None = None  # the router decides when such a worker is started again
    end: WorkerEnd | None = None  # what we know already about the end that it is about to come to
    death: str = ""  # how it ended last


class Supervisor(FloraActor):
    """The half of Runtime that looks after its children. What they are for is known to the other half."""

    worker_class: type[FloraActor] = Worker
    forks = True

    def __init__(self) -> None:
        super().__init__()
        self._children: dict[str, Child] = {}
        self._draining = False  # nobody is started again
        self._stopped = False
        self._rng = random.Random()
        self._deaths: Counter[Labels] = Counter()  # (actor, how it ended)
        self._untold: list[WorkerExited] = []  # deaths of workers while there was no router
        self._lately: deque[WorkerExited] = deque()  # all deaths of workers within DEATH_KEPT_S
        self._leaving: list[tuple[Address, str]] = []  # with flight recorder: shared workers that were told to end

    # Hooks

    def on_child_started(self, child: Child) -> None:
        """It serves; nobody has been told yet."""

    def on_child_announced(self, child: Child) -> None:
        """It serves, and everybody has been told."""

    def is_wanted(self, child: Child) -> bool:
        """Whether a child that died is to be started again."""
        return True

    def _fatal(self, text: str) -> None:
        """Going on makes no sense."""
        raise NotImplementedError

    def metrics(self) -> dict[str, Any]:
        return {"series": {"restarts": counted(self._deaths)}}

    # Children

    def _start_child(self, child: Child, then: Callable[[], None], failed: Callable[[FloraError], None]) -> None:
        child.state, began_us = "starting", now_us()
        child.address = self.createActor(child.actor_class)
        start = Start(
            req_id=ReqId(""),
            settings=self.settings,
            peers=self.peers,
            name=child.name,
            worker_id=child.worker_id,
            dedicated_to=child.dedicated_to,
            again=child.restarts.total > 0,
            deaths=tuple(self._lately) if child.peer == "router" else (),
        )

        def started(reply: Ok | Failed) -> None:
            if self._children.get(child.name) is not child:  # stopped meanwhile: it is on its way out
                failed(Unavailable(f"{child.name} was stopped while it started"))
                return
            if isinstance(reply, Failed):
                child.state = "failed"
                failed(Unavailable(f"{child.name} did not start: {reply.message}", code_of_cause=reply.code))
                return
            child.state, child.facts = "running", reply.value
            self._trace_start(child, began_us)
            self.on_child_started(child)
            self._announce(child)
            self.on_child_announced(child)
            then()

        self.ask(child.address, start, started, START_LIMIT_S)

    def _announce(self, child: Child) -> None:
        if child.worker_id is None:
            self.peers = _with_peer(self.peers, child.peer, child.address)
        else:
            others = tuple(entry for entry in self.peers.workers if entry[0] != child.worker_id)
            self.peers = replace(
                self.peers, workers=tuple(sorted((*others, (child.worker_id, child.address)), key=lambda e: e[0]))
            )
        if child.peer == "router":
            untold, self._untold = self._untold, []
            for missed in untold:
                self.send(child.address, missed)
        self._announce_to_all()

    def _announce_to_all(self) -> None:
        for other in self._children.values():
            if other.state == "running" and other.address is not None:
                self.send(other.address, PeersChanged(peers=self.peers))

    def _withdraw(self, child: Child) -> None:
        """Nobody is to talk to a dead actor: what others have for it waits with them for its successor."""
        if child.worker_id is None:
            self.peers = _with_peer(self.peers, child.peer, None)
        else:
            self.peers = replace(self.peers, workers=tuple(e for e in self.peers.workers if e[0] != child.worker_id))

    def on_child_exited(self, address: Address) -> None:
        child = next((c for c in self._children.values() if c.address == address), None)
        for gone in [entry for entry in self._leaving if entry[0] == address]:
            self._leaving.remove(gone)
            if gone[1]:  # it was empty: nobody will ask what it did
                Path(gone[1]).unlink(missing_ok=True)
        if child is None or self._draining:
            if child is not None:
                child.state = "stopped"
                if child.worker_id is not None and not self._stopped:  # nobody need wait for its events any more
                    self._tell_router_of_end(child, address, self._end_of(child))
            self.give_up_on(address, Unavailable("it died"))
            return
        trace, at_us = TraceContext(trace_id=new_trace_id(), span_id=new_span_id(), sampled=True), now_us()
        with working_on(trace):  # whatever is done about it belongs together
            self._child_died(child, address)
        self._trace_death(child, trace, at_us)

    def _trace_start(self, child: Child, began_us: int) -> None:
        trace = current_trace.get()
        if trace is not None:  # else it is the boot, or somebody wanted one more
            self._keep_record(
                TraceRecord(
                    trace=trace.trace_id,
                    span=new_span_id(),
                    parent=trace.span_id,
                    process=child.name,
                    name="process.start",
                    kind="message",
                    at_us=began_us,
                    took_us=max(0, now_us() - began_us),
                    guild_id=child.dedicated_to or "",
                )
            )

    def _trace_death(self, child: Child, trace: TraceContext, at_us: int) -> None:
        self._keep_record(
            TraceRecord(
                trace=trace.trace_id,
                span=trace.span_id,
                process=child.name,
                name="process.end",
                kind="message",
                at_us=at_us,
                outcome="died",
                guild_id=child.dedicated_to or "",
                event=child.name,
                why=child.death,
            )
        )

    def _child_died(self, child: Child, address: Address) -> None:
        child.death = "its process ended"
        end = self._end_of(child)
        log.error("%s died", child.name, extra={"action": "child_died"})
        self._deaths[child.name if child.dedicated_to is None else DEDICATED, end.kind] += 1
        was_starting = child.state == "starting"
        child.address = None
        self._withdraw(child)
        if was_starting:  # whoever waits for its start decides: the boot ends, a restart is tried again
            self.give_up_on(address, Unavailable("it died"))
            return
        self.give_up_on(address, Unavailable(f"{child.name} died"))
        if child.worker_id is not None:
            self._tell_router_of_end(child, address, end)
        if not self.is_wanted(child):
            self._children.pop(child.name, None)
        self._announce_to_all()
        if not self.is_wanted(child):
            log.info("%s is not started again: it was to go", child.name, extra={"action": "worker_stopped"})
        elif child.dedicated_to is None:
            self._restart_later(child)
        else:
            child.state = "waiting"

    @staticmethod
    def _end_of(child: Child) -> WorkerEnd:
        facts, known, child.end = child.facts or {}, child.end, None
        return known or end_of(exit_code_of(facts.get("pid", 0)), facts.get("recorder", ""))

    def _tell_router_of_end(self, child: Child, address: Address, end: WorkerEnd) -> None:
        assert child.worker_id is not None
        recorder = set_aside((child.facts or {}).get("recorder", ""))
        log.error("%s ended: %s", child.name, end.text, extra={"action": "worker_ended", "guilty": end.guilty})
        child.death = f"its process ended: {end.text}"
        message = exited(child.worker_id, recorder, end, address)
        self._lately.append(message)
        self.after(DEATH_KEPT_S, self._forget_death)
        if self.peers.router is None:
            self._untold.append(message)
        self.tell(self.peers.router, message)

    def _forget_death(self) -> None:
        recorder = self._lately.popleft().recorder
        if recorder:
            Path(recorder).unlink(missing_ok=True)

    def _restart_later(self, child: Child) -> None:
        if self._children.get(child.name) is not child:
            return  # stopped meanwhile
        delay_s = child.restarts.died(time.monotonic(), self._rng)
        if delay_s is None:
            child.state = "failed"
            self._fatal(
                f"{child.name} died {child.restarts.policy.max_restarts + 1} times within a minute; see its log"
            )
            return
        child.state = "waiting"
        if delay_s:
            self.after(delay_s, lambda: self._restart(child))
        else:
            self._restart(child)

    def _restart(self, child: Child) -> None:
        if not self._draining and self._children.get(child.name) is child:
            log.warning("restarting %s", child.name, extra={"restarts": child.restarts.total})
            self._start_child(child, lambda: None, lambda error: self._restart_failed(child, error))

    def _restart_failed(self, child: Child, error: FloraError) -> None:
        log.error("%s", error, extra={"action": "restart_failed"})
        if child.address is not None:
            self.send(child.address, ActorExitRequest())
            child.address = None
        self._restart_later(child)

    # Workers for one guild alone; and workers that are to be replaced

    def receiveMsg_StartWorker(self, msg: StartWorker, sender: Address) -> None:
        """The router wants a worker for one guild, for the first time or again after its end. It is its policy, not ours."""
        name = f"worker for guild {msg.guild_id}"
        child = self._children.get(name)
        if self._draining or (child is not None and child.state == "starting"):
            self.reply_failed(msg, sender, Unavailable(f"{name} cannot be started now"))
            return
        if child is not None and child.worker_id != msg.worker_id:
            self._stop_dedicated(name)  # of a router that is gone; its successor numbers anew
            child = None
        if child is not None and child.state == "running":
            self.reply_ok(msg, sender)
            return
        if child is None:
            child = self._children[name] = Child(name, self.worker_class, "", msg.worker_id, dedicated_to=msg.guild_id)
        else:
            child.restarts.total += 1
        asker = msg.reply_to or sender
        self._start_child(
            child, lambda: self.reply_ok(msg, asker), lambda error: self._dedicated_failed(msg, asker, child, error)
        )

    def _dedicated_failed(self, msg: StartWorker, asker: Address, child: Child, error: FloraError) -> None:
        if self._children.get(child.name) is child:
            del self._children[child.name]
            if child.address is not None:
                self.send(child.address, ActorExitRequest())
        self.reply_failed(msg, asker, error)

    def receiveMsg_StopWorker(self, msg: StopWorker, sender: Address) -> None:
        """A worker for one guild is not needed any more."""
        for name, child in list(self._children.items()):
            if child.worker_id == msg.worker_id and child.dedicated_to is not None:
                self._stop_dedicated(name)
        self.reply_ok(msg, sender)

    def _stop_dedicated(self, name: str) -> None:
        child = self._children.pop(name)  # its end is no news then
        self._withdraw(child)
        if child.address is not None:
            log.info("%s is not needed any more", name, extra={"action": "worker_stopped"})
            self.send(child.address, ActorExitRequest())
        self._announce_to_all()

    def receiveMsg_ReplaceWorker(self, msg: ReplaceWorker, sender: Address) -> None:
        """Something in a worker cannot be ended but with it. Its own thread is well, but is asked nothing more."""
        for child in self._children.values():
            if child.worker_id == msg.worker_id and child.state == "running":
                child.end = WorkerEnd(cause=msg.why, replaced=True)
                log.warning("replacing %s: %s", child.name, msg.why, extra={"action": "worker_replaced"})
                kill_process(child.facts["pid"])


def kill_process(pid: int) -> None:
    """`kill -9` of a child."""
    os.kill(pid, signal.SIGKILL)


def _with_peer(peers: Peers, name: str, address: Address | None) -> Peers:
    changed: dict[str, Any] = {name: address}
    return replace(peers, **changed)
