"""Any interleaving of a guild's moves with everything else: the real router, workers and a deployer that are played, and a simple model.

What the model says: each event of the guild runs once, in order; each request is answered once; in the end the guild is active in one
worker, with the script that was deployed last, and nothing of it is left anywhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from thespian.actors import ActorAddress, WakeupMessage

from flora.actors import router as router_module
from flora.actors.router import Router
from flora.actors.routing import default_worker
from flora.actors.worker_reports import RouterReports
from flora.messages.base import Failed, Ok
from flora.messages.cron import ListCronJobs
from flora.messages.deployment import LoadGuild, ReloadGuilds, ScriptStored
from flora.messages.dispatch import DispatchFrame, LoadIsolate, UnloadIsolate, WorkerExited
from flora.messages.errors import LoadFailed, NotFound, TimedOut, Unavailable
from flora.messages.gateway import GatewayControl, GatewayFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvCall, KvGetKey
from flora.messages.lifecycle import Peers, PeersChanged, Start
from flora.messages.migration import DropFrozen, MigrateGuild, MoveOut, MovingGuild, ThawGuild
from flora.messages.placement import ReadPlacements
from flora.messages.secrets import GiveSecrets, GuildSecrets
from flora.messages.settings import RuntimeSettings, Settings, TraceSettings

WORKERS = 3
G = next(GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), WORKERS) == 0)
SHORT_S = 1.5  # timers up to that length stand for "a moment later", longer ones for limits
ROUNDS_OF_PEACE = 10
GATEWAY, DEPLOYER, CLIENT, RUNTIME = (ActorAddress(name) for name in ("gateway", "deployer", "client", "runtime"))


class PlayedRouter(Router):
    """A router without an actor system around it: what it sends and its timers are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: deque[tuple[Any, Any]] = deque()
        self.timers: list[tuple[float, int]] = []
        self._myRef = self

    def actor_send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def wakeupAfter(self, period: timedelta, payload: Any = None) -> None:  # noqa: N802 - the library's name
        self.timers.append((period.total_seconds(), payload))


@dataclass
class PlayedWorker:
    """What a worker does with one guild, step by step."""

    number: int
    life: int = 0
    alive: bool = True
    inbox: deque[Any] = field(default_factory=deque)
    outbox: deque[Any] = field(default_factory=deque)
    serving: str | None = None  # the script
    loading: LoadIsolate | None = None
    leaving: MoveOut | None = None
    frozen: tuple[int, str] | None = None
    rows: deque[int] = field(default_factory=deque)  # events that have come and not begun
    begun: int = 0
    heard: int = 0
    heard_by_guild: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reports = RouterReports(f"w{self.number}-{self.life}", lambda delay_s, function: 0)

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(f"w{self.number}-{self.life}")

    def ok(self, request: Any, value: Any = None) -> None:
        self.outbox.append(Ok(req_id=request.req_id, value=value))

    def failed(self, request: Any, error: Any) -> None:
        self.outbox.append(error.as_failed(request.req_id))

    def changed(self) -> None:
        if self.leaving is not None:
            self.failed(self.leaving, NotFound("guild runtime not loaded on worker"))
        self.leaving = self.frozen = None

    def take(self) -> None:
        """Handles the next message."""
        match self.inbox.popleft():
            case DispatchFrame() as msg:
                for frame in self.reports.link.receive(msg):
                    self.take_rows(frame)
            case MoveOut() as msg if self.serving is None:
                self.failed(msg, NotFound("guild runtime not loaded on worker"))
            case MoveOut() as msg:
                self.leaving = msg
            case ThawGuild() as msg:
                self.thaw(msg)
            case DropFrozen(epoch=epoch):
                if self.frozen is not None and self.frozen[0] == epoch:
                    self.frozen = None
            case LoadIsolate() as msg:
                self.supersede()
                self.loading = msg
            case UnloadIsolate() as msg:
                self.changed()
                self.supersede()
                self.serving = None
                self.ok(msg)
            case GiveSecrets() | KvCall() | ListCronJobs() as msg:
                self.ok(msg, True)
            case msg if hasattr(msg, "req_id"):
                self.failed(msg, Unavailable("not played"))

    def take_rows(self, frame: DispatchFrame) -> None:
        for seq, guild_id in zip(frame.seqs, frame.guild_ids, strict=True):
            if guild_id:
                assert self.serving is not None, f"event {seq} came to worker {self.number}, which has no isolate"
                self.rows.append(seq)
                continue
            self.heard = seq
            if self.serving is not None:
                self.heard_by_guild.append(seq)

    def thaw(self, msg: ThawGuild) -> None:
        if self.leaving is not None:
            self.failed(self.leaving, Unavailable("the move has been given up"))
            self.leaving = None
        if self.frozen is not None and self.frozen[0] == msg.epoch:
            self.serving, self.frozen = self.frozen[1], None
        if self.serving is None:
            self.failed(msg, NotFound("guild runtime not loaded on worker"))
        else:
            self.ok(msg, {"handlers": ("messageCreate", "ready"), "heard": self.heard})

    def supersede(self) -> None:
        if self.loading is not None:
            self.failed(self.loading, Unavailable("a newer script was to be loaded instead"))
            self.loading = None

    def run_one(self) -> int:
        seq = self.rows.popleft()
        self.begun = seq
        self.reports.done(seq, G, "ok")
        return seq

    def comes_to_rest(self) -> None:
        assert self.leaving is not None
        assert self.serving is not None
        msg, script = self.leaving, self.serving
        self.frozen, self.serving, self.leaving = (msg.epoch, script), None, None
        self.ok(msg, MovingGuild(script=script, source_map=None, jobs=(), heard=self.heard))

    def load_ends(self, *, well: bool) -> None:
        assert self.loading is not None
        msg, self.loading = self.loading, None
        if not well:
            self.failed(msg, LoadFailed("no"))
            return
        replaced = self.serving is not None
        self.changed()
        self.serving = msg.script
        self.reports.subscribed(G, ("messageCreate", "ready"))
        self.ok(msg, {"replaced": replaced, "handlers": ("messageCreate", "ready"), "heard": self.heard})


class MoveMachine(RuleBasedStateMachine):
    """One guild, three workers; every rule is one step of somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = patch.object(router_module, "_read", self.recorder)
        self.patch.start()
        self.router = PlayedRouter()
        self.workers = [PlayedWorker(number) for number in range(WORKERS)]
        self.dead: list[PlayedWorker] = []
        self.wishes: dict[str, int] = {}  # requests of the client → how often they were answered
        self.deployer_asks: deque[Any] = deque()  # ReloadGuilds that wait for the guild's turn
        self.turn: tuple[str, Any] | None = None  # what the deployer does with the guild now
        self.stored = "v0"
        self.expected: list[int] = []  # events
        self.ran: list[int] = []  # in the order in which they ran, wherever
        self.broadcasts: list[int] = []
        self.seq = 1
        self.frames = 0
        self.asked = 0
        self.version = 0
        self.was_lost = False  # at some time it was nowhere, or a worker died
        self.given_up = False  # it could not be loaded again, which is no fault of moves
        self.dying: PlayedWorker | None = None

    def recorder(self, path: str) -> tuple[dict[str, int], dict[str, float]]:
        assert self.dying is not None
        return ({G: self.dying.begun} if self.dying.begun else {}), {}

    @initialize()
    def boot(self) -> None:
        settings_ = Settings(
            data_dir=Path("/nowhere"), trace=TraceSettings(enabled=False), runtime=RuntimeSettings(max_workers=WORKERS)
        )
        router, peers = self.router, self.peers(None)
        router.settings, router.peers = settings_, peers
        router.on_start(Start(req_id=ReqId("start"), settings=settings_, peers=peers, name="router"))
        self.tell(RUNTIME, PeersChanged(peers=self.peers()))
        self.begin_load("v0", restore=True)
        self.flush()
        self.settle()
        self.router.timers.clear()

    def teardown(self) -> None:
        try:
            self.settle()
            self.check_the_end()
        finally:
            self.patch.stop()

    # Plumbing

    def peers(self, workers: Any = ()) -> Peers:
        alive = () if workers is None else tuple((w.number, w.address) for w in self.workers if w.alive)
        return Peers(runtime=RUNTIME, gateway=GATEWAY, deployer=DEPLOYER, workers=alive)

    def tell(self, sender: Any, message: Any) -> None:
        """Lets the router handle a message; what it sends is delivered into mailboxes."""
        self.router.receiveMessage(message, sender)
        while self.router.sent:
            self.deliver(*self.router.sent.popleft())

    def deliver(self, to: Any, message: Any) -> None:
        if to == GATEWAY and isinstance(message, GatewayControl) and message.number:
            self.router.sent.append((None, message))  # acknowledged below, after what is already under way
        elif to is None:
            ack = self.gateway_frame((), ack=message.number)
            self.router.receiveMessage(ack, GATEWAY)
        elif to == DEPLOYER:
            self.deployer_hears(message)
        elif to == CLIENT and str(message.req_id) in self.wishes:
            self.wishes[str(message.req_id)] += 1
        for worker in self.workers:
            if worker.alive and worker.address == to:
                worker.inbox.append(message)

    def gateway_frame(self, rows: tuple[tuple[str, str], ...], ack: int = 0) -> GatewayFrame:
        self.frames += bool(rows)
        first, self.seq = self.seq, self.seq + len(rows)
        return GatewayFrame(
            number=self.frames if rows else 0,
            ack=ack,
            epoch="g",
            first_seq=first,
            guild_ids=tuple(row[0] for row in rows),
            names=tuple(row[1] for row in rows),
            payloads=("{}",) * len(rows),
            received_us=(0,) * len(rows),
        )

    def deployer_hears(self, message: Any) -> None:
        match message:
            case ReadPlacements():
                self.router.receiveMessage(Ok(req_id=message.req_id, value=()), DEPLOYER)
            case ReloadGuilds():
                self.was_lost = True
                self.deployer_asks.append(message)
                self.next_turn()
            case Ok() | Failed() if self.turn is not None and message.req_id == self.turn[0]:
                self.load_answered(message)

    def begin_load(self, script: str, *, restore: bool, of: Any = None) -> None:
        self.asked += 1
        self.turn = (ReqId(f"load {self.asked}"), of if of is not None else script)
        load = LoadGuild(req_id=self.turn[0], guild_id=G, script=script, source_map=None, restore=restore)
        self.router.receiveMessage(load, DEPLOYER)

    def load_answered(self, reply: Ok | Failed) -> None:
        assert self.turn is not None
        _, of = self.turn
        self.turn = None
        if isinstance(of, ReloadGuilds):
            failed = {} if isinstance(reply, Ok) else {G: reply.message}
            self.given_up = self.given_up or bool(failed)
            self.router.receiveMessage(Ok(req_id=of.req_id, value={"failed": failed}), DEPLOYER)
        elif isinstance(reply, Failed) and reply.code == TimedOut.code and of != self.stored:
            self.begin_load(self.stored, restore=True)  # nobody knows what runs
        elif isinstance(reply, Ok):
            self.stored = of
            self.router.receiveMessage(ScriptStored(guild_id=G), DEPLOYER)
        self.next_turn()

    def next_turn(self) -> None:
        if self.turn is None and self.deployer_asks:
            self.begin_load(self.stored, restore=True, of=self.deployer_asks.popleft())

    def running(self, *, where: str) -> list[PlayedWorker]:
        return [worker for worker in self.workers if worker.alive and getattr(worker, where)]

    # Rules: what comes from outside

    @rule(count=st.integers(1, 3))
    def events(self, count: int) -> None:
        self.expected += range(self.seq, self.seq + count)
        self.tell(GATEWAY, self.gateway_frame(((G, "messageCreate"),) * count))

    @rule()
    def ready(self) -> None:
        self.broadcasts.append(self.seq)
        self.tell(GATEWAY, self.gateway_frame((("", "ready"),)))

    @precondition(lambda self: self.turn is None)
    @rule()
    def deploy(self) -> None:
        self.version += 1
        self.begin_load(f"v{self.version}", restore=False)
        self.flush()

    def flush(self) -> None:
        while self.router.sent:
            self.deliver(*self.router.sent.popleft())

    @rule(kind=st.sampled_from(["secrets", "kv", "cron"]))
    def request(self, kind: str) -> None:
        req_id = self.wish(kind)
        match kind:
            case "secrets":
                self.tell(CLIENT, GiveSecrets(req_id=req_id, guild_id=G, secrets=GuildSecrets(version=1)))
            case "kv":
                self.tell(CLIENT, KvCall(req_id=req_id, guild_id=G, operation=KvGetKey(store="s", key="k")))
            case "cron":
                self.tell(CLIENT, ListCronJobs(req_id=req_id, guild_id=G))

    @rule(to=st.integers(0, WORKERS - 1))
    def migrate(self, to: int) -> None:
        self.tell(CLIENT, MigrateGuild(req_id=self.wish("move"), guild_id=G, target=to))

    def wish(self, kind: str) -> ReqId:
        name = f"{kind} {len(self.wishes)}"
        self.wishes[name] = 0
        return ReqId(name)

    # Rules: what workers do

    @rule(number=st.integers(0, WORKERS - 1), count=st.integers(1, 4))
    def worker_reads(self, number: int, count: int) -> None:
        worker = self.workers[number]
        for _ in range(min(count, len(worker.inbox)) if worker.alive else 0):
            worker.take()

    @rule(number=st.integers(0, WORKERS - 1))
    def worker_speaks(self, number: int) -> None:
        worker = self.workers[number]
        if worker.alive and (worker.reports.link.waiting or worker.reports.link.owes_ack):
            worker.reports._must_report = True
            if (frame := worker.reports.poll()) is not None:
                self.tell(worker.address, frame)
        if worker.alive and worker.outbox:
            self.tell(worker.address, worker.outbox.popleft())

    @rule(number=st.integers(0, WORKERS - 1))
    def worker_runs(self, number: int) -> None:
        worker = self.workers[number]
        if worker.alive and worker.rows and worker.serving is not None:
            self.ran.append(worker.run_one())

    @rule(number=st.integers(0, WORKERS - 1), well=st.booleans())
    def worker_decides(self, number: int, well: bool) -> None:
        worker = self.workers[number]
        if worker.leaving is not None and well and not worker.rows:
            worker.comes_to_rest()
        elif worker.leaving is not None and not well:
            worker.failed(worker.leaving, TimedOut("migration_quiesce timed out"))
            worker.leaving = None
        elif worker.loading is not None:
            worker.load_ends(well=well)

    @rule(number=st.integers(0, WORKERS - 1))
    def worker_dies(self, number: int) -> None:
        worker = self.workers[number]
        if not worker.alive:
            return
        self.was_lost = True
        worker.alive, worker.serving, worker.frozen, worker.leaving, worker.loading = False, None, None, None, None
        worker.inbox.clear()
        worker.outbox.clear()
        worker.rows.clear()
        self.dead.append(worker)
        self.dying = worker
        self.tell(RUNTIME, WorkerExited(worker_id=number, recorder="its recorder", address=worker.address, signal=9))

    @rule(number=st.integers(0, WORKERS - 1))
    def worker_returns(self, number: int) -> None:
        worker = self.workers[number]
        if not worker.alive:
            self.workers[number] = PlayedWorker(number, worker.life + 1)
            self.tell(RUNTIME, PeersChanged(peers=self.peers()))

    @precondition(lambda self: self.turn is None and not self.deployer_asks)  # limits of loads are not ours to try
    @rule(which=st.integers(0, 200))
    def time_passes(self, which: int) -> None:
        timers = self.router.timers
        if timers:
            _, payload = timers.pop(which % len(timers))
            self.tell(None, WakeupMessage(timedelta(0), payload))

    # What always holds

    @invariant()
    def no_event_runs_twice_or_early(self) -> None:
        assert self.ran == sorted(set(self.ran))

    @invariant()
    def no_request_is_answered_twice(self) -> None:
        assert all(count <= 1 for count in self.wishes.values())

    # The end

    def settle(self) -> None:
        """Everybody comes back and does what there is to do, well; no limit passes but the shortest."""
        idle_rounds = 0
        for _ in range(200):
            for number in range(WORKERS):
                self.worker_returns(number)
            busy = self.router.sent or any(
                w.inbox or w.outbox or w.rows or w.leaving or w.loading for w in self.workers
            )
            self.flush()
            for worker in self.workers:
                self.worker_reads(worker.number, 10)
                while worker.rows and worker.serving is not None:
                    self.ran.append(worker.run_one())
                self.worker_decides(worker.number, well=True)
                self.worker_speaks(worker.number)
            due = [timer for timer in self.router.timers if timer[0] <= SHORT_S]
            self.router.timers = [timer for timer in self.router.timers if timer[0] > SHORT_S]
            for _, payload in due:
                self.tell(None, WakeupMessage(timedelta(0), payload))
            idle_rounds = 0 if busy else idle_rounds + 1
            if idle_rounds > ROUNDS_OF_PEACE:
                return

    def check_the_end(self) -> None:
        assert self.wishes == dict.fromkeys(self.wishes, 1)
        if self.given_up:
            return
        individually = [seq for seq in self.ran if seq in self.broadcasts]
        assert [seq for seq in self.ran if seq not in self.broadcasts] == self.expected
        serving = [worker.number for worker in self.workers if worker.serving is not None]
        assert serving == [self.router._state.lanes[G].worker]
        assert [worker.number for worker in self.workers if worker.frozen or worker.loading or worker.leaving] == []
        assert self.workers[serving[0]].serving == self.stored
        assert (len(self.router._moves), self.turn, list(self.deployer_asks)) == (0, None, [])
        heard = sorted(individually + [s for w in (*self.dead, *self.workers) for s in w.heard_by_guild])
        assert len(heard) == len(set(heard))
        if not self.was_lost:
            assert heard == self.broadcasts


MoveMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
test_given_any_interleaving_when_a_guild_moves_then_nothing_is_lost_doubled_or_reordered = pytest.mark.scenario("T43")(
    MoveMachine.TestCase
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the router says meanwhile is of no interest."""
    with caplog.at_level("CRITICAL"):
        yield
