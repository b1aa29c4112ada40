"""The root of the actor tree: boots everything in order, restarts what dies, and ends it all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from thespian.actors import ActorExitRequest

from flora.actors.base import DEFERRED, FloraActor
from flora.actors.compiler import Compiler
from flora.actors.cron import Cron
from flora.actors.deployer import Deployer
from flora.actors.gateway import Gateway
from flora.actors.http_frontend import HttpFrontend
from flora.actors.log_book import LogBook
from flora.actors.pool_supervisor import WORKER_RESTARTS, PoolSupervisor
from flora.actors.preparer import Preparer
from flora.actors.router import Router
from flora.actors.shutdown import Shutdown, phases
from flora.actors.supervision import RestartPolicy, Restarts
from flora.actors.supervisor import START_LIMIT_S, Child
from flora.actors.worker import Worker
from flora.messages.base import Address, Failed, Message, Ok
from flora.messages.deployment import BringUpGuilds, RestoreDeployments, RestoreProgress
from flora.messages.errors import FloraError, Unavailable, error_from
from flora.messages.gateway import GatewayFailed, GatewayReady, OpenGateway
from flora.messages.ids import ReqId
from flora.messages.lifecycle import (
    BootProgress,
    DescribeSystem,
    Drain,
    FatalError,
    PrepareStorage,
    Start,
    SystemStage,
)

log = logging.getLogger(__name__)

READY_LIMIT_S = 10.0
BRING_UP_LIMIT_S = 20.0
RESTORE_TRIES = 3  # the deployer may die meanwhile
RESTORE_AGAIN_S = 1.0
PROGRESS_LINE_EVERY_S = 2.0  # for a person; a restore that is over before says only how it ended
Step = Callable[[Callable[[], None]], None]


class Runtime(PoolSupervisor):
    """Boots, supervises and ends every other actor.

    Receives   Start, Drain (launcher), GatewayReady, FatalError (children), DescribeSystem (front-end),
               ScaleWorkers, DrainWorker, UndrainWorker, RecycleWorker (front-end), StartWorker, StopWorker, ReplaceWorker,
               OperationEnded (router)
    Sends      Start, PeersChanged, Drain (children), RestoreDeployments (deployer), BootProgress, FatalError (launcher)
    State      its children and their recent deaths; which shared workers there are to be (pool_supervisor.py)
    Supervises all of them, each under a RestartPolicy; one that flaps ends the system with a clear error. A worker for one guild is
               started when the router says so, and never ends the system.
    Fails      while booting: the launcher gets `Failed` with the reason. Has no threads, because it forks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stage = "starting"
        self._ready = False
        self._gateway_open = False
        self._storage_ready = False
        self._steps = 0
        self._boot_progress: dict[str, int] = {}
        self._preparer: Address | None = None
        self._restore_tries = 0
        self._progress_line_s = 0.0
        self._gateway_ready: GatewayReady | None = None
        self._when_gateway_is_ready: Callable[[], None] | None = None

    # Boot

    def on_start(self, msg: Start) -> object:
        self._boot_request = msg
        self.peers = replace(msg.peers, runtime=self.myAddress)
        workers = range(msg.settings.runtime.max_workers)
        self._set_out_with(len(workers))
        steps: list[tuple[str, Step]] = [
            ("http", self._open_http),  # first: whoever asks hears that flora lives, and how far it is
            ("database", self._prepare("database")),
            ("cache", self._prepare("cache")),
            ("log book", self._start_step("log book", LogBook, "log_book")),
            ("router", self._start_step("router", Router, "router")),
            *((f"worker {n}", self._start_step(f"worker {n}", Worker, "", n)) for n in workers),
            ("compiler", self._start_step("compiler", Compiler, "compiler")),
            ("deployer", self._start_step("deployer", Deployer, "deployer")),
            ("discord REST", self._start_step("gateway", Gateway, "gateway")),  # scripts register commands as they load
            ("deployments", self._restore),
            ("gateway", self._open_gateway),
            ("cron", self._start_step("cron", Cron, "cron")),
            ("guilds", self._bring_up_guilds),
        ]
        self._run(steps)
        return DEFERRED

    def _run(self, steps: list[tuple[str, Step]]) -> None:
        if self._draining:
            return
        self._steps = self._steps or len(steps)
        if not steps:
            self._booted()
            return
        (stage, step), rest = steps[0], steps[1:]
        self._boot_progress = {"step": self._steps - len(rest), "steps": self._steps}
        self._enter(stage)
        log.info("booting: %s", stage)
        try:
            step(lambda: self._run(rest))
        except FloraError as exc:
            self._boot_failed(exc)

    def _booted(self) -> None:
        self._ready = True
        self._take_orders()
        self._enter("ready")
        facts = {name: child.facts for name, child in self._children.items()}
        self._to_launcher(Ok(req_id=self._boot_request.req_id, value=facts))

    def _enter(self, stage: str) -> None:
        self._stage = stage
        self._tell_stage()

    def _tell_stage(self) -> None:
        stage = SystemStage(
            stage=self._stage,
            ready=self._ready,
            storage_ready=self._storage_ready,
            progress=() if self._ready or self._draining else tuple(self._boot_progress.items()),
        )
        if self.peers.http is not None:  # else it is told when it has started
            self.tell(self.peers.http, stage)

    def _boot_failed(self, error: FloraError) -> None:
        self._stage = f"failed at {self._stage}"
        self._to_launcher(error.as_failed(self._boot_request.req_id))

    def _to_launcher(self, message: Message) -> None:
        self.send(self._boot_request.reply_to, message)

    def _progress(self, text: str) -> None:
        self._to_launcher(BootProgress(text=text))

    def _prepare(self, what: str) -> Step:
        """Waiting is left to another process: this one must hear its children and the launcher at any time."""

        def step(then: Callable[[], None]) -> None:
            if self._preparer is None:
                self._preparer = self.createActor(Preparer)
                start = Start(req_id=ReqId(""), settings=self.settings, peers=self.peers, name="preparer")
                self.ask(self._preparer, start, lambda _: None, START_LIMIT_S)
            request = PrepareStorage(req_id=ReqId(""), what=what)
            self.ask(self._preparer, request, lambda reply: self._prepared(what, reply, then), limit_s=0)

        return step

    def _prepared(self, what: str, reply: Ok | Failed, then: Callable[[], None]) -> None:
        if isinstance(reply, Failed):
            self._boot_failed(error_from(reply))
            return
        if what == "cache":
            self._storage_ready = True
            self.send(self._preparer, ActorExitRequest())
        then()

    def _open_http(self, then: Callable[[], None]) -> None:
        def opened() -> None:
            facts = self._children["http"].facts
            self._progress(f"listening on {facts['address']} port {facts['port']}; starting")
            then()

        self._start_step("http", HttpFrontend, "http")(opened)

    def _start_step(self, name: str, actor_class: type[FloraActor], peer: str, worker_id: int | None = None) -> Step:
        def step(then: Callable[[], None]) -> None:
            restarts = Restarts(RestartPolicy() if worker_id is None else WORKER_RESTARTS)
            child = self._children[name] = Child(name, actor_class, peer, worker_id, restarts=restarts)
            self._start_child(child, then, self._boot_failed)

        return step

    def _open_gateway(self, then: Callable[[], None]) -> None:
        self._gateway_open = True
        self.tell(self.peers.gateway, OpenGateway())
        then()

    def _bring_up_guilds(self, then: Callable[[], None]) -> None:
        """Waits for READY and for the scripts of new guilds: who sees the ready line is to get an answer."""
        self._when_gateway_is_ready = then
        if self._gateway_ready is not None:
            self._gateway_became_ready()
        else:
            self.after(READY_LIMIT_S, self._stop_waiting_for_ready)

    def _gateway_became_ready(self) -> None:
        then, ready = self._when_gateway_is_ready, self._gateway_ready
        if then is None or ready is None:
            return
        self._when_gateway_is_ready = None
        request = BringUpGuilds(req_id=ReqId(""), guild_ids=ready.guild_ids)
        self.ask(self.peers.deployer, request, lambda _: then(), BRING_UP_LIMIT_S)

    def _stop_waiting_for_ready(self) -> None:
        then, self._when_gateway_is_ready = self._when_gateway_is_ready, None
        if then is not None:
            self._progress("Discord does not say READY yet; events follow when it does")
            then()

    def _restore(self, then: Callable[[], None]) -> None:
        def restored(reply: Ok | Failed) -> None:
            if isinstance(reply, Ok):
                self._progress(_restored_text(reply.value))
                then()
            elif self._restore_tries < RESTORE_TRIES:  # the deployer died; another takes its place
                log.warning("restoring again: %s", reply.message)
                self.after(RESTORE_AGAIN_S, lambda: self._restore(then))
            else:
                self._boot_failed(Unavailable(f"deployments could not be restored: {reply.message}"))

        if self.peers.deployer is None:  # being restarted
            self.after(RESTORE_AGAIN_S, lambda: self._restore(then))
            return
        self._restore_tries += 1
        self._progress_line_s = time.monotonic()
        self.ask(self.peers.deployer, RestoreDeployments(req_id=ReqId("")), restored, limit_s=0)

    def receiveMsg_RestoreProgress(self, msg: RestoreProgress, sender: Address) -> None:
        """How far the restore is: for /api/ready, and now and then a line for a person."""
        if self._ready or self._draining:
            return
        self._boot_progress |= {"deployments": msg.total, "restored": msg.restored, "failed": msg.failed}
        self._tell_stage()
        if time.monotonic() - self._progress_line_s >= PROGRESS_LINE_EVERY_S:
            self._progress_line_s = time.monotonic()
            self._progress(f"restoring deployments: {msg.restored + msg.failed} of {msg.total}")

    def on_child_started(self, child: Child) -> None:
        super().on_child_started(child)
        if child.actor_class is Gateway and self._gateway_open:
            self.send(child.address, OpenGateway())
        if child.actor_class is HttpFrontend:  # "any free port" means the same one after a restart
            self.settings = replace(self.settings, api=replace(self.settings.api, port=child.facts["port"]))

    def on_child_announced(self, child: Child) -> None:
        if child.actor_class is HttpFrontend:
            self._tell_stage()

    def _fatal(self, text: str) -> None:
        log.critical("%s", text, extra={"action": "fatal"})
        self._to_launcher(FatalError(text=text))

    def receiveMsg_GatewayReady(self, msg: GatewayReady, sender: Address) -> None:
        """Every shard is READY: events flow."""
        self._progress(f"the gateway is ready (bot {msg.bot_user_id}, {len(msg.guild_ids)} guilds)")
        self._gateway_ready = msg
        self._gateway_became_ready()

    def receiveMsg_GatewayFailed(self, msg: GatewayFailed, sender: Address) -> None:
        """Discord refuses for good: only a person can repair that."""
        self._fatal(msg.message)

    def receiveMsg_FatalError(self, msg: FatalError, sender: Address) -> None:
        """An actor says that going on makes no sense."""
        self._fatal(msg.text)

    def receiveMsg_DescribeSystem(self, msg: DescribeSystem, sender: Address) -> None:
        """Who lives, and how often each was restarted."""
        actors = {c.name: {"state": c.state, "restarts": c.restarts.total} for c in self._children.values()}
        self.reply_ok(msg, sender, {"ready": self._ready, "stage": self._stage, "actors": actors})

    # End

    def on_stop(self) -> None:
        """The children end with us; none of them is to be started again."""
        self._draining = self._stopped = True

    def on_drain(self, msg: Drain) -> object:
        """Ends the system's work in order; see `shutdown.py`. Answered when all is done or the limit is over."""
        if self._draining:
            return None
        self._draining, self._ready = True, False
        self._enter("stopping")
        runtime = self.settings.runtime
        plan = phases(msg.limit_s, runtime.migration_timeout_ms / 1000)
        Shutdown(plan, self._running_as, self.ask, lambda said: self.reply_ok(msg, None, said)).begin()
        return DEFERRED

    def _running_as(self, role: str) -> list[tuple[str, Address]]:
        return [
            (child.name, child.address)
            for child in self._children.values()
            if child.state == "running" and (child.name == role or (role == "workers" and child.worker_id is not None))
        ]


def _restored_text(outcome: Mapping[str, Any]) -> str:
    """One line for a person."""
    text = f"restored {outcome['restored']} deployments"
    if outcome["failed"]:
        text += f", {len(outcome['failed'])} failed"
    if outcome["still_loading"]:
        text += f", {len(outcome['still_loading'])} still loading"
    return text
