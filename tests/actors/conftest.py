"""Actors in a system inside the test's own process: real delivery and timers, no processes, everything to be looked at."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from thespian.actors import Actor, ActorSystem

from flora.actors import base
from flora.actors import worker as worker_module
from flora.actors.isolate.progress import Recorder
from flora.actors.router import Router
from flora.messages.base import Address, Failed, Ok
from flora.messages.deployment import LoadGuild, ReloadGuilds, ScriptStored
from flora.messages.dispatch import DispatchFrame, LoadIsolate, WorkerExited, WorkerFrame
from flora.messages.errors import LoadFailed
from flora.messages.gateway import GatewayControl, GatewayFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Peers, PeersChanged, ReadMetrics, Start
from flora.messages.migration import MoveOut, MovingGuild, ThawGuild
from flora.messages.placement import StartWorker, StopWorker
from flora.messages.settings import FetchSettings, RuntimeSettings, SecretsSettings, Settings

_STEP_S = 0.005


def _load_helper(module: str) -> ModuleType:
    """A helper module beside this file: folders of tests are no packages."""
    name = f"flora_tests_actors_{module}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{module}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


RecordedWorker: Any = _load_helper("recorded_worker").RecordedWorker


@dataclass
class Strings:
    """Given to a puppet first: where it puts what it receives."""

    received: list[tuple[Any, Address]]


@dataclass
class Say:
    """To a puppet: send this."""

    to: Address
    message: Any


class Puppet(Actor):  # type: ignore[misc]
    """Plays any actor: keeps what it gets, and sends what it is told to."""

    def receiveMessage(self, msg: Any, sender: Address) -> None:
        match msg:
            case Strings():
                self.received = msg.received
            case Say():
                self.send(msg.to, msg.message)
            case _:
                self.received.append((msg, sender))


class Stage:
    """The actor system of one test."""

    def __init__(self) -> None:
        self.system = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        self._seen: dict[str, list[tuple[Any, Address]]] = {}

    def create(self, actor_class: type) -> Address:
        return self.system.createActor(actor_class)

    def puppet(self) -> Address:
        address = self.create(Puppet)
        received: list[tuple[Any, Address]] = []
        self.system.tell(address, Strings(received))
        self._seen[str(address)] = received
        return address

    def seen_by(self, puppet: Address, kind: type = object) -> list[Any]:
        """What a puppet received of a kind, oldest first."""
        self.pump()
        return [message for message, _ in self._seen[str(puppet)] if isinstance(message, kind)]

    def say(self, puppet: Address, to: Address, message: Any) -> None:
        """Lets a puppet send a message."""
        self.system.tell(puppet, Say(to, message))

    def tell(self, to: Address, message: Any) -> None:
        self.system.tell(to, message)

    def ask(self, to: Address, message: Any, within_s: float = 5.0) -> Any:
        return self.system.ask(to, message, within_s)

    def pump(self) -> None:
        """Delivers what is due; timers too."""
        self.system.listen(_STEP_S)

    def until(self, condition: Callable[[], Any], within_s: float = 5.0) -> Any:
        """Goes on until a condition holds; gives its value."""
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {within_s:g} s"
            self.pump()
        return value


class Scene:
    """A router and everybody around it."""

    def __init__(
        self,
        stage: Any,
        settings: Any,
        *,
        restarted: bool = False,
        dedicated: tuple[int, ...] = (),
        deaths: tuple[WorkerExited, ...] = (),
    ) -> None:
        self.stage = stage
        self.router = stage.create(Router)
        self.gateway, self.deployer, self.caller = stage.puppet(), stage.puppet(), stage.puppet()
        self.runtime = stage.puppet()
        self.dedicated = {number: stage.puppet() for number in dedicated}
        self.workers = [stage.puppet(), stage.puppet()]
        self.peers = Peers(
            runtime=self.runtime,
            gateway=self.gateway,
            deployer=self.deployer,
            workers=(*enumerate(self.workers), *self.dedicated.items()),
        )
        self._gateway_frames = 0
        self._worker_frames: dict[str, int] = {}
        self._next_seq = 1
        self._acknowledged = 0
        self._started = 0
        # As at boot: the workers come after the router. A restarted one finds them at its start, or knows of their deaths.
        peers = self.peers if restarted and not deaths else replace(self.peers, workers=())
        start = Start(
            req_id=ReqId("start"), settings=settings, peers=peers, name="router", again=restarted, deaths=deaths
        )
        assert isinstance(stage.ask(self.router, start), Ok)
        if not deaths:
            self.workers_are_there()

    def workers_are_there(self) -> None:
        """Everybody is told where the workers are."""
        self.stage.tell(self.router, PeersChanged(peers=self.peers))

    def load(self, guild_id: GuildId, req_id: str = "load", *, restore: bool = False, **more: Any) -> None:
        request = LoadGuild(
            req_id=ReqId(req_id), guild_id=guild_id, script="", source_map=None, restore=restore, **more
        )
        self.stage.say(self.caller, self.router, request)

    def loads_at(self, worker: Any) -> list[LoadIsolate]:
        return self.stage.seen_by(worker, LoadIsolate)

    def finish_load(self, worker: Any, handlers: tuple[str, ...] = ("messageCreate",)) -> None:
        request = self.loads_at(worker)[-1]
        value = {"replaced": False, "handlers": handlers, "heard": 0}
        self.stage.say(worker, self.router, Ok(req_id=request.req_id, value=value))
        self.acknowledge_controls()

    def fail_load(self, worker: Any, code: str = LoadFailed.code) -> None:
        request = self.loads_at(worker)[-1]
        self.stage.say(worker, self.router, Failed(req_id=request.req_id, code=code, message="no"))
        self.acknowledge_controls()

    def stored(self, guild_id: GuildId) -> None:
        """The deployer has stored what was loaded."""
        self.stage.say(self.deployer, self.router, ScriptStored(guild_id=guild_id))

    def leaves(self, worker: Any, number: int = 1, heard: int = 0) -> MoveOut:
        """A worker hands over the guild that it was asked for as the `number`th; gives the request."""
        request = self.stage.until(lambda: self.stage.seen_by(worker, MoveOut)[number - 1 :])[0]
        moving = MovingGuild(script="script", source_map=None, jobs=(), heard=heard, quiesce_us=7)
        self.stage.say(worker, self.router, Ok(req_id=request.req_id, value=moving))
        return request

    def thaws(self, worker: Any, number: int = 1, heard: int = 0) -> ThawGuild:
        """A guild goes on where it was frozen; gives the request."""
        request = self.stage.until(lambda: self.stage.seen_by(worker, ThawGuild)[number - 1 :])[0]
        value = {"handlers": ("messageCreate",), "heard": heard}
        self.stage.say(worker, self.router, Ok(req_id=request.req_id, value=value))
        return request

    def arrives(self, worker: Any, number: int = 1) -> None:
        """A worker finishes the `number`th load that it was asked for."""
        self.stage.until(lambda: len(self.loads_at(worker)) >= number)
        self.finish_load(worker)

    def acknowledge_controls(self) -> None:
        """The gateway takes in what the router has sent it."""
        while (controls := self.stage.seen_by(self.gateway, GatewayControl)) and controls[
            -1
        ].number > self._acknowledged:
            self._acknowledged = controls[-1].number
            ack = GatewayFrame(
                number=0,
                ack=self._acknowledged,
                epoch="g",
                first_seq=0,
                guild_ids=(),
                names=(),
                payloads=(),
                received_us=(),
            )
            self.stage.say(self.gateway, self.router, ack)

    def events(self, *guild_ids: str, name: str = "messageCreate", positions: tuple[Any, ...] = ()) -> list[int]:
        """One frame of the gateway with an event per guild id; gives their numbers."""
        self._gateway_frames += 1
        first = self._next_seq
        self._next_seq += len(guild_ids)
        frame = GatewayFrame(
            number=self._gateway_frames, ack=self._acknowledged, epoch="g", first_seq=first, guild_ids=guild_ids,
            names=(name,) * len(guild_ids), payloads=("{}",) * len(guild_ids), received_us=(0,) * len(guild_ids),
            positions=positions,
        )  # fmt: skip
        self.stage.say(self.gateway, self.router, frame)
        return list(range(first, self._next_seq))

    def worker_says(self, worker: Any, ack: int, **what: Any) -> None:
        number = self._worker_frames.get(str(worker), 0) + bool(what)
        self._worker_frames[str(worker)] = number
        frame = WorkerFrame(number=number if what else 0, ack=ack, epoch=f"w{worker}", **what)
        self.stage.say(worker, self.router, frame)

    def sent_to(self, worker: Any) -> list[int]:
        """Numbers of the events a worker was sent, in order; acknowledges them."""
        frames: list[DispatchFrame] = []
        while len(found := [f for f in self.stage.seen_by(worker, DispatchFrame) if f.number]) > len(frames):
            frames = found
            self.worker_says(worker, ack=frames[-1].number)
        return [seq for frame in frames for seq in frame.seqs]

    def replies(self) -> list[Any]:
        return self.stage.seen_by(self.caller, Ok) + self.stage.seen_by(self.caller, Failed)

    def metrics(self) -> dict[str, Any]:
        reader = self.stage.puppet()
        self.stage.say(reader, self.router, ReadMetrics(req_id=ReqId("m")))
        for worker in (*self.workers, *self.dedicated.values()):
            for request in self.stage.seen_by(worker, ReadMetrics)[-1:]:
                self.stage.say(worker, self.router, Ok(req_id=request.req_id, value={"isolate_count": 1}))
        return dict(self.stage.until(lambda: self.stage.seen_by(reader, Ok))[0].value)

    def worker_dies(self, worker_id: int = 0, recorder: str = "", **how: Any) -> None:
        left = tuple(entry for entry in self.peers.workers if entry[0] != worker_id)
        self.peers = replace(self.peers, workers=left)
        self.stage.tell(self.router, WorkerExited(worker_id=worker_id, recorder=recorder, **how))

    def worker_returns(self) -> Any:
        self.workers[0] = self.stage.puppet()
        self.meet(0, self.workers[0])
        return self.workers[0]

    def meet(self, worker_id: int, address: Any) -> None:
        """Runtime says where a worker is."""
        others = tuple(entry for entry in self.peers.workers if entry[0] != worker_id)
        self.change_peers(workers=(*others, (worker_id, address)))

    def start_worker(self) -> tuple[int, Any]:
        """Runtime starts the dedicated worker that it was asked for last; gives its number and address."""
        request = self.stage.until(lambda: self.stage.seen_by(self.runtime, StartWorker)[self._started :])[0]
        self._started += 1
        worker = self.dedicated[request.worker_id] = self.stage.puppet()
        self.meet(request.worker_id, worker)
        self.stage.say(self.runtime, self.router, Ok(req_id=request.req_id))
        return request.worker_id, worker

    def stopped(self) -> list[int]:
        """Numbers of the dedicated workers that Runtime was told to end."""
        return [request.worker_id for request in self.stage.seen_by(self.runtime, StopWorker)]

    def reloads(self) -> list[tuple[GuildId, ...]]:
        """What the deployer was asked to load again, oldest first."""
        return [request.guild_ids for request in self.stage.seen_by(self.deployer, ReloadGuilds)]

    def ask(self, request: Any) -> Any:
        """Asks the router something; gives the answer."""
        asker = self.stage.puppet()
        self.stage.say(asker, self.router, request)
        return self.stage.until(lambda: self.stage.seen_by(asker))[0]

    def change_peers(self, **what: Any) -> None:
        self.peers = replace(self.peers, **what)
        self.stage.tell(self.router, PeersChanged(peers=self.peers))


class Timers:
    """Stands for an actor's `after`: (delay, function) of each timer that was set."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay_s: float, function: Callable[[], None]) -> int:
        self.set.append((delay_s, function))
        return len(self.set)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(base, "setproctitle", lambda title: None)  # the process is pytest's
    monkeypatch.setattr(base, "configure_logging", lambda *_: None)
    made = Stage()
    yield made
    made.system.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, runtime=RuntimeSettings(max_workers=2))


@pytest.fixture
def make_scene(stage: Stage, settings: Settings) -> Callable[..., Scene]:
    """Makes a router and everybody around it; fields of the runtime's settings can be given."""

    def make(
        *,
        restarted: bool = False,
        dedicated: tuple[int, ...] = (),
        deaths: tuple[WorkerExited, ...] = (),
        **runtime: Any,
    ) -> Scene:
        changed = replace(settings, runtime=replace(settings.runtime, **runtime))
        return Scene(stage, changed, restarted=restarted, dedicated=dedicated, deaths=deaths)

    return make


@pytest.fixture
def recorder(tmp_path: Path):
    """Writes a dead worker's flight recorder: guilds that were inside V8, for how long, and what they had started."""

    def write(**busy: tuple[float, int]) -> str:
        path = tmp_path / "dead.recorder"
        made = Recorder(path)
        for number, (guild_id, (since_s, started)) in enumerate(busy.items(), 1):
            made.claim(guild_id, number, started).busy(since_s)
        made.close()
        return str(path)

    return write


@pytest.fixture
def begin_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Begins workers as recorded_worker.py has them, with settings of the runtime and others; ends them after the test."""
    monkeypatch.setattr(worker_module, "limit_process", lambda start: None)  # the process is pytest's
    begun: list[Any] = []

    def begin(worker: Any, runtime: dict[str, Any], **settings: Any) -> Any:
        limits = {"load_timeout_s": 20.0, "max_workers": 64} | runtime
        begun.append(worker)
        worker.begin(Settings(data_dir=tmp_path, runtime=RuntimeSettings(**limits), **settings))
        return worker

    yield begin
    for each in begun:
        each.end()


@pytest.fixture
def make_worker(begin_worker: Callable[..., Any]) -> Callable[..., Any]:
    """Makes workers; each gets settings of its runtime by name."""

    def make(*, fetch: FetchSettings | None = None, secrets: SecretsSettings | None = None, **runtime: Any) -> Any:
        limits = {"dispatch_timeout_s": 0.3} | runtime
        others = {"fetch": fetch or FetchSettings(), "secrets": secrets or SecretsSettings()}
        return begin_worker(RecordedWorker(), limits, **others)

    return make
