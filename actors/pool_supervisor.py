"""The part of Runtime that keeps the pool of shared workers at the size that is wanted, while everything runs.

It starts members that are missing, one after the other, and tells everybody who is to be there. What else it takes is the router's: it
moves guilds, and says which worker is empty. A worker that is no member is not started again when it dies.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from thespian.actors import ActorExitRequest

from flora.actors.audit_sender import AuditSender
from flora.actors.pool_goal import PoolGoal, RecyclePolicy, title
from flora.actors.supervision import RestartPolicy, Restarts
from flora.actors.supervisor import Child, Supervisor, kill_process
from flora.messages.base import Address, Request
from flora.messages.deployment import DeployActor
from flora.messages.errors import Conflict, FloraError, ShuttingDown, Unavailable
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain
from flora.messages.placement import FIRST_DEDICATED_WORKER, StopWorker
from flora.messages.pool import DrainWorker, OperationEnded, RecycleWorker, ScaleWorkers, UndrainWorker

log = logging.getLogger(__name__)

WORKER_RESTARTS = RestartPolicy(max_restarts=10_000)  # guests can end a worker; that must never end the system
LAST_WORDS_S = 2.0  # for log lines and figures of a worker that is empty
EXIT_LIMIT_S = 5.0  # then it is killed
RECYCLE_LOOK_S = 5.0
SYSTEM = DeployActor(kind="system")


class PoolSupervisor(Supervisor):
    """Starts and ends shared workers. The goal is None until the boot says how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self._goal: PoolGoal | None = None
        self._takes_orders = False  # the boot is over
        self._audit = AuditSender(self)

    def _set_out_with(self, count: int) -> None:
        """The boot's workers. Called before any of them is started."""
        self._goal = PoolGoal(count)
        self.peers = replace(self.peers, pool=self._goal.pool)

    def _take_orders(self) -> None:
        """From now on the pool may change."""
        self._takes_orders = True
        runtime = self.settings.runtime
        policy = RecyclePolicy(max_age_s=runtime.worker_max_age_s, max_rss_mb=runtime.worker_recycle_mb)
        if policy:
            self.after(RECYCLE_LOOK_S, lambda: self._look_at_ages(policy))

    # Orders

    def receiveMsg_ScaleWorkers(self, msg: ScaleWorkers, sender: Address) -> None:
        """An operator wants so many workers."""
        self._order(msg, sender, lambda goal: goal.scale(msg.count, time.time(), force=msg.force))

    def receiveMsg_DrainWorker(self, msg: DrainWorker, sender: Address) -> None:
        """An operator wants a worker without guilds."""
        self._order(msg, sender, lambda goal: goal.drain(msg.worker_id, time.time(), force=msg.force))

    def receiveMsg_UndrainWorker(self, msg: UndrainWorker, sender: Address) -> None:
        """An operator wants guilds there again."""
        self._order(msg, sender, lambda goal: goal.undrain(msg.worker_id, time.time()))

    def receiveMsg_RecycleWorker(self, msg: RecycleWorker, sender: Address) -> None:
        """An operator wants a fresh worker in place of this one."""
        self._order(msg, sender, lambda goal: goal.recycle(msg.worker_id, time.time(), force=msg.force))

    def _order(self, msg: Request, sender: Address, carry_out: Callable[[PoolGoal], int]) -> None:
        if self._draining:
            raise ShuttingDown("the system is going down")
        if self._goal is None or not self._takes_orders:
            raise Unavailable("the system is still starting; try again in a moment")
        number = carry_out(self._goal)
        self.reply_ok(msg, sender, number)
        self._apply()

    def receiveMsg_OperationEnded(self, msg: OperationEnded, sender: Address) -> None:
        """The router says how it stands."""
        if self._goal is None or not self._goal.ended(msg, time.time()):
            return
        operation = self._goal.pool.operation
        assert operation is not None
        log.info("%s: %s", title(operation), msg.text, extra={"action": "pool_operation", "state": msg.state})
        self._tell_pool()

    def _apply(self) -> None:
        assert self._goal is not None
        operation = self._goal.pool.operation
        assert operation is not None
        log.info("%s begins", title(operation), extra={"action": "pool_operation", "members": self._goal.pool.members})
        for name, child in list(self._children.items()):
            if self._is_surplus(child) and child.state != "running":  # it has nothing, or its guilds wait in the router
                self._forget_worker(name)
        self._tell_pool()
        self._start_missing()

    def _tell_pool(self) -> None:
        assert self._goal is not None
        self.peers = replace(self.peers, pool=self._goal.pool)
        self._announce_to_all()

    # Workers that come

    def _start_missing(self) -> None:
        """Starts the first member that is missing, and then the next."""
        if self._goal is None or self._draining or any(self._is_first_start(c) for c in self._children.values()):
            return
        there = {child.worker_id for child in self._children.values()}
        missing = next((worker for worker in self._goal.pool.members if worker not in there), None)
        if missing is None:
            return
        name = f"worker {missing}"
        child = Child(name, self.worker_class, "", missing, restarts=Restarts(WORKER_RESTARTS))
        self._children[name] = child
        self._start_child(child, self._start_missing, lambda error: self._not_started(child, error))

    def _not_started(self, child: Child, error: FloraError) -> None:
        self._restart_failed(child, error)
        self._start_missing()

    @staticmethod
    def _is_first_start(child: Child) -> bool:
        return (
            child.worker_id is not None
            and child.state == "starting"
            and child.dedicated_to is None
            and not child.restarts.total
        )

    def on_child_started(self, child: Child) -> None:
        if self._goal is not None and child.worker_id is not None and child.dedicated_to is None:
            self._goal.came_up(child.worker_id, time.time())
            self.peers = replace(self.peers, pool=self._goal.pool)

    # Workers that go

    def _is_surplus(self, child: Child) -> bool:
        is_shared = child.worker_id is not None and child.dedicated_to is None
        return is_shared and self._goal is not None and not self._goal.wants(child.worker_id or 0)

    def is_wanted(self, child: Child) -> bool:
        """A worker that is no member stays dead."""
        return not self._is_surplus(child)

    def receiveMsg_StopWorker(self, msg: StopWorker, sender: Address) -> None:
        """A worker for one guild is not needed any more; or a shared one is empty, which must be one too many."""
        if msg.worker_id >= FIRST_DEDICATED_WORKER:
            super().receiveMsg_StopWorker(msg, sender)
            return
        if self._draining:
            raise ShuttingDown("the system is going down")
        if self._goal is None or self._goal.wants(msg.worker_id):
            raise Conflict(f"worker {msg.worker_id} is to stay", worker=msg.worker_id)
        name = f"worker {msg.worker_id}"
        if name in self._children:
            self._forget_worker(name)
            self._announce_to_all()
        self.reply_ok(msg, sender)

    def _forget_worker(self, name: str) -> None:
        """From now on it is nobody's; its process hears its last words, and ends."""
        child = self._children.pop(name)
        self._withdraw(child)
        if self._goal is not None and child.worker_id is not None:
            self._goal.is_gone(child.worker_id)
            self.peers = replace(self.peers, pool=self._goal.pool)
        address, facts = child.address, child.facts or {}
        if address is None:
            return
        if child.state != "running":
            self.send(address, ActorExitRequest())
            return
        log.info("%s is not needed any more", name, extra={"action": "worker_stopped"})
        self._leaving.append((address, facts.get("recorder", "")))
        drain = Drain(req_id=ReqId(""), limit_s=LAST_WORDS_S)
        self.ask(address, drain, lambda _: self._end_process(address, facts.get("pid", 0)), LAST_WORDS_S + 1)

    def _end_process(self, address: Address, pid: int) -> None:
        self.send(address, ActorExitRequest())
        self.after(EXIT_LIMIT_S, lambda: self._kill_if_there(address, pid))

    def _kill_if_there(self, address: Address, pid: int) -> None:
        if pid and any(entry[0] == address for entry in self._leaving):
            log.warning("a stopped worker does not end; it is killed", extra={"action": "worker_killed", "pid": pid})
            with suppress(ProcessLookupError):
                kill_process(pid)

    # Workers that are old or large

    def _look_at_ages(self, policy: RecyclePolicy) -> None:
        self.after(RECYCLE_LOOK_S, lambda: self._look_at_ages(policy))
        assert self._goal is not None
        if self._draining:
            return
        running = [c for c in self._children.values() if c.worker_id is not None and c.dedicated_to is None]
        rss = {
            c.worker_id: _resident_bytes(c.facts.get("pid", 0)) for c in running if c.worker_id is not None and c.facts
        }
        if any(child.state != "running" for child in running) or self.peers.router is None:
            return
        picked = policy.pick(self._goal.pool, rss, time.time())
        if picked is not None:
            worker, why = picked
            number = self._goal.recycle(worker, time.time(), automatic=True)
            log.info("worker %d is recycled: %s", worker, why, extra={"action": "worker_recycled"})
            self._audit.record(None, SYSTEM, "workers.recycle", str(worker), {"why": why, "operation": number})
            self._apply()


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
