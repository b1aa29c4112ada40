"""Runtime's care for its children, with children that tests can end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from thespian.actors import ActorExitRequest

from flora.actors import supervisor as supervisor_module
from flora.actors.base import DEFERRED, FloraActor
from flora.actors.runtime import Runtime
from flora.actors.supervision import RestartPolicy, Restarts
from flora.actors.supervisor import Child
from flora.actors.tracing import TRACES_FOLDER
from flora.messages.base import Failed, Ok, TraceContext
from flora.messages.deployment import RestoreDeployments
from flora.messages.dispatch import WorkerExited
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import BootProgress, DescribeSystem, Drain, FatalError, Peers, PeersChanged, Start
from flora.messages.placement import FIRST_DEDICATED_WORKER, ReplaceWorker, StartWorker, StopWorker
from flora.storage.backoff import Backoff
from flora.storage.trace_files import TraceReader


class Kid(FloraActor):
    """A child that remembers, for the test, that it was started and what it was told."""

    started: ClassVar[list[Any]] = []
    told: ClassVar[list[tuple[str, Any]]] = []
    died_under: ClassVar[list[TraceContext | None]] = []  # the traces of deaths that it was told of
    starts: ClassVar[list[Start]] = []
    facts: ClassVar[dict[str, Any]] = {"recorder": "r", "port": 1, "pid": 0}
    behaviours: ClassVar[list[str]] = []  # of the next starts: "ok", "silent", "refuse"

    def on_start(self, msg: Start) -> Any:
        Kid.started.append(self.myAddress)
        Kid.starts.append(msg)
        behaviour = Kid.behaviours.pop(0) if Kid.behaviours else "ok"
        if behaviour == "refuse":
            raise ValueError("cannot")
        return DEFERRED if behaviour == "silent" else Kid.facts

    def on_peers(self, peers: Peers) -> None:
        Kid.told.append((self.name, PeersChanged(peers=peers)))

    def receiveMsg_WorkerExited(self, msg: WorkerExited, sender: Any) -> None:
        Kid.died_under.append(msg.trace)
        Kid.told.append((self.name, replace(msg, trace=None)))

    def receiveMsg_RestoreDeployments(self, msg: RestoreDeployments, sender: Any) -> None:
        Kid.told.append((self.name, msg))
        if len(Kid.started) > 1:
            self.reply_ok(msg, sender, {"restored": 1, "failed": {}, "still_loading": []})


class RestoringRuntime(Runtime):
    """Runtime with a deployer that has something to restore."""

    def on_start(self, msg: Start) -> object:
        self._boot_request = msg
        self._run([("deployer", self._kid), ("deployments", self._restore)])
        return DEFERRED

    def _kid(self, then):
        child = self._children["deployer"] = Child("deployer", Kid, "deployer")
        self._start_child(child, then, self._boot_failed)


class SmallRuntime(Runtime):
    """Runtime with two children and no outside world."""

    worker_class = Kid
    policy: ClassVar[RestartPolicy] = RestartPolicy(backoff=Backoff(first_s=0.01, cap_s=0.02), max_restarts=3)

    def __init__(self) -> None:
        super().__init__()
        self._rng = random.Random(1)

    def on_start(self, msg: Start) -> object:
        self._boot_request = msg
        self._run([("router", self._kid("router", "router")), ("worker 0", self._kid("worker 0", "", 0))])
        return DEFERRED

    def _kid(self, name: str, peer: str, worker_id: int | None = None):
        def step(then):
            child = Child(name, Kid, peer, worker_id, restarts=Restarts(self.policy))
            self._children[name] = child
            self._start_child(child, then, self._boot_failed)

        return step


@pytest.fixture(autouse=True)
def fresh_kids() -> Iterator[None]:
    Kid.started, Kid.told, Kid.behaviours, Kid.died_under, Kid.starts = [], [], [], [], []
    yield
    Kid.started, Kid.told, Kid.behaviours, Kid.died_under, Kid.starts = [], [], [], [], []


@pytest.fixture
def boot(stage, settings):
    launcher = stage.puppet()
    runtime = stage.create(SmallRuntime)
    stage.say(launcher, runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))
    return runtime, launcher


def describe(stage, runtime) -> dict[str, Any]:
    return dict(stage.ask(runtime, DescribeSystem(req_id=ReqId("d"))).value["actors"])


def end(stage, address) -> None:
    stage.tell(address, ActorExitRequest())


def test_given_a_boot_then_children_start_one_after_another_and_the_launcher_hears_it(stage, boot):
    runtime, launcher = boot

    reply = stage.until(lambda: stage.seen_by(launcher, Ok))[0]

    assert (reply.req_id, list(reply.value)) == ("boot", ["router", "worker 0"])
    assert {name: facts["state"] for name, facts in describe(stage, runtime).items()} == {
        "router": "running",
        "worker 0": "running",
    }


def test_given_a_deployer_that_dies_while_it_restores_then_its_successor_is_asked_again(
    stage, settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flora.actors.runtime.RESTORE_AGAIN_S", 0.01)
    launcher, runtime = stage.puppet(), stage.create(RestoringRuntime)
    stage.say(launcher, runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))
    stage.until(lambda: Kid.told and isinstance(Kid.told[-1][1], RestoreDeployments))

    end(stage, Kid.started[0])

    stage.until(lambda: stage.seen_by(launcher, Ok))
    assert [progress.text for progress in stage.seen_by(launcher, BootProgress)] == ["restored 1 deployments"]


def test_given_a_dead_worker_then_the_router_is_told_with_its_recorder_and_then_of_its_successor(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.told.clear()

    end(stage, Kid.started[1])
    stage.until(lambda: len(Kid.started) == 3)
    stage.until(lambda: describe(stage, runtime)["worker 0"] == {"state": "running", "restarts": 1})

    to_router = [message for name, message in Kid.told if name == "router"]
    assert to_router[0] == WorkerExited(worker_id=0, recorder="r", address=Kid.started[1])
    assert to_router[1].peers.workers == (), "nobody is to talk to the dead one"
    assert to_router[-1].peers.workers == ((0, Kid.started[2]),)


def test_given_a_worker_and_then_the_router_that_die_then_the_next_router_hears_of_that_death_with_its_start(
    stage, settings, tmp_path, monkeypatch
):
    recorder = tmp_path / "worker-0-ab.recorder"
    recorder.write_bytes(b"")
    monkeypatch.setattr(Kid, "facts", {"recorder": str(recorder), "port": 1, "pid": 0})
    monkeypatch.setattr("flora.actors.supervisor.DEATH_KEPT_S", 0.5)
    launcher, runtime = stage.puppet(), stage.create(SmallRuntime)
    stage.say(launcher, runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))
    stage.until(lambda: stage.seen_by(launcher, Ok))
    dead = Kid.started[1]

    end(stage, dead)
    stage.until(lambda: len(Kid.started) == 3)
    end(stage, Kid.started[0])
    stage.until(lambda: len(Kid.started) == 4)

    kept = tmp_path / "worker-0-ab.recorder.ended"
    assert [(start.name, start.again) for start in Kid.starts[::3]] == [("router", False), ("router", True)]
    assert [replace(death, trace=None) for death in Kid.starts[3].deaths] == [
        WorkerExited(worker_id=0, recorder=str(kept), address=dead)
    ]
    assert not recorder.exists(), "it must not be taken for that of a worker that lives"
    stage.until(lambda: not kept.exists())


def test_given_a_child_that_dies_then_that_begins_a_trace_to_which_belongs_what_is_done_about_it(stage, boot, settings):
    stage.until(lambda: stage.seen_by(boot[1], Ok))

    end(stage, Kid.started[1])
    stage.until(lambda: Kid.died_under)

    records = list(TraceReader(settings.data_dir / TRACES_FOLDER).records())
    (death,) = (record for record in records if record.name == "process.end")
    assert (death.process, death.event, death.outcome) == ("worker 0", "worker 0", "died")
    assert death.why.startswith("its process ended: ")
    (trace,) = Kid.died_under
    assert trace is not None
    assert (trace.trace_id, trace.span_id) == (death.trace, death.span)


def test_given_a_worker_that_dies_while_there_is_no_router_then_the_next_router_is_told(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.behaviours = ["silent"]
    end(stage, Kid.started[0])
    stage.until(lambda: len(Kid.started) == 3)
    Kid.told.clear()

    end(stage, Kid.started[1])
    stage.until(lambda: describe(stage, runtime)["worker 0"] == {"state": "running", "restarts": 1})
    end(stage, Kid.started[2])
    stage.until(lambda: describe(stage, runtime)["router"]["state"] == "running")

    to_router = stage.until(lambda: [message for name, message in Kid.told if name == "router"])
    assert to_router[0] == WorkerExited(worker_id=0, recorder="r", address=Kid.started[1])
    assert to_router[-1].peers.router == Kid.started[-1]


@pytest.mark.scenario("T05")
def test_given_a_child_that_cannot_start_when_booting_then_the_boot_ends_with_the_reason(stage, settings):
    Kid.behaviours = ["ok", "refuse"]
    launcher, runtime = stage.puppet(), stage.create(SmallRuntime)

    stage.say(launcher, runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))

    failed = stage.until(lambda: stage.seen_by(launcher, Failed))[0]
    assert failed.req_id == "boot"
    assert failed.message.startswith("worker 0 did not start: ")


def test_given_a_child_that_dies_while_it_starts_when_booting_then_the_boot_ends_at_once(stage, settings):
    Kid.behaviours = ["ok", "silent"]
    launcher, runtime = stage.puppet(), stage.create(SmallRuntime)
    stage.say(launcher, runtime, Start(req_id=ReqId("boot"), settings=settings, peers=Peers(), name="runtime"))
    stage.until(lambda: len(Kid.started) == 2)

    end(stage, Kid.started[1])

    failed = stage.until(lambda: stage.seen_by(launcher, Failed))[0]
    assert failed.message == "worker 0 did not start: it died"
    assert len(Kid.started) == 2


def test_given_a_child_that_dies_while_it_restarts_then_it_is_tried_again_and_the_new_one_stays(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.behaviours = ["silent"]
    end(stage, Kid.started[1])
    stage.until(lambda: len(Kid.started) == 3)

    end(stage, Kid.started[2])

    stage.until(lambda: len(Kid.started) == 4)
    stage.until(lambda: describe(stage, runtime)["worker 0"]["state"] == "running")
    assert describe(stage, runtime)["worker 0"]["restarts"] == 2


def test_given_a_child_that_flaps_then_the_system_ends_with_an_error_that_names_it(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))

    for count in range(3, 6):
        end(stage, Kid.started[-1])
        stage.until(lambda expected=count: len(Kid.started) == expected)
        stage.until(lambda: describe(stage, runtime)["worker 0"]["state"] == "running")
    end(stage, Kid.started[-1])

    fatal = stage.until(lambda: stage.seen_by(launcher, FatalError))[0]
    assert fatal.text.startswith("worker 0 died 4 times within a minute")
    assert describe(stage, runtime)["worker 0"]["state"] == "failed"


def test_given_a_drain_then_nobody_is_started_again(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))

    stage.say(launcher, runtime, Drain(req_id=ReqId("end"), limit_s=1.0))
    stage.until(lambda: [ok for ok in stage.seen_by(launcher, Ok) if ok.req_id == "end"])
    end(stage, Kid.started[0])
    end(stage, Kid.started[1])

    stage.until(lambda: {f["state"] for f in describe(stage, runtime).values()} == {"stopped"})
    assert len(Kid.started) == 2


D = FIRST_DEDICATED_WORKER


def start_dedicated(stage, runtime) -> Any:
    return stage.ask(runtime, StartWorker(req_id=ReqId("s"), worker_id=D, guild_id=GuildId("7")))


def test_given_a_worker_that_is_wanted_for_one_guild_then_it_is_started_and_everybody_knows_where(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.told.clear()

    assert isinstance(start_dedicated(stage, runtime), Ok)

    assert describe(stage, runtime)["worker for guild 7"] == {"state": "running", "restarts": 0}
    told = [message.peers.workers for name, message in Kid.told if name == "router"]
    assert told == [((0, Kid.started[1]), (D, Kid.started[2]))]
    assert isinstance(start_dedicated(stage, runtime), Ok), "asked twice, started once"
    assert len(Kid.started) == 3


def test_given_a_dedicated_worker_that_dies_then_the_router_hears_it_and_decides_when_it_is_started_again(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    start_dedicated(stage, runtime)
    Kid.told.clear()

    end(stage, Kid.started[2])
    stage.until(lambda: Kid.told)

    assert Kid.told[0] == ("router", WorkerExited(worker_id=D, recorder="r", address=Kid.started[2]))
    assert Kid.told[1][1].peers.workers == ((0, Kid.started[1]),)
    assert describe(stage, runtime)["worker for guild 7"] == {"state": "waiting", "restarts": 0}
    assert isinstance(start_dedicated(stage, runtime), Ok)
    assert describe(stage, runtime)["worker for guild 7"] == {"state": "running", "restarts": 1}


def test_given_a_dedicated_worker_that_cannot_start_then_the_router_hears_why_and_the_system_goes_on(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.behaviours = ["refuse"]

    refused = start_dedicated(stage, runtime)

    assert isinstance(refused, Failed)
    assert "worker for guild 7 did not start" in refused.message
    assert "worker for guild 7" not in describe(stage, runtime)


def test_given_a_dedicated_worker_that_is_stopped_then_its_end_is_no_death(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    start_dedicated(stage, runtime)
    Kid.told.clear()

    assert isinstance(stage.ask(runtime, StopWorker(req_id=ReqId("e"), worker_id=D)), Ok)
    assert isinstance(stage.ask(runtime, StopWorker(req_id=ReqId("e"), worker_id=D)), Ok), "an unknown one is fine"

    assert "worker for guild 7" not in describe(stage, runtime)
    assert [type(message) for _, message in Kid.told] == [PeersChanged, PeersChanged]
    assert Kid.told[-1][1].peers.workers == ((0, Kid.started[1]),)


def test_given_a_dedicated_worker_that_is_stopped_while_it_starts_then_nobody_is_told_of_it(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    Kid.behaviours = ["silent"]
    asker = stage.puppet()
    stage.say(asker, runtime, StartWorker(req_id=ReqId("s"), worker_id=D, guild_id=GuildId("7")))
    stage.until(lambda: len(Kid.started) == 3)

    assert isinstance(stage.ask(runtime, StopWorker(req_id=ReqId("e"), worker_id=D)), Ok)

    failed = stage.until(lambda: stage.seen_by(asker, Failed))[0]
    assert failed.message == "worker for guild 7 was stopped while it started"
    assert "worker for guild 7" not in describe(stage, runtime)
    assert isinstance(start_dedicated(stage, runtime), Ok), "and it can be started again"


def test_given_a_new_router_that_numbers_anew_then_the_guilds_old_worker_makes_way(stage, boot):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    start_dedicated(stage, runtime)
    Kid.told.clear()

    assert isinstance(stage.ask(runtime, StartWorker(req_id=ReqId("s"), worker_id=D + 5, guild_id=GuildId("7"))), Ok)

    told = [message.peers.workers for name, message in Kid.told if name == "router"]
    assert told[-1] == ((0, Kid.started[1]), (D + 5, Kid.started[3]))
    assert describe(stage, runtime)["worker for guild 7"]["state"] == "running"


def test_given_a_worker_that_is_to_be_replaced_then_its_death_is_explained_by_that(stage, boot, monkeypatch):
    runtime, launcher = boot
    stage.until(lambda: stage.seen_by(launcher, Ok))
    killed = []
    monkeypatch.setattr(supervisor_module, "kill_process", killed.append)
    Kid.told.clear()

    stage.tell(runtime, ReplaceWorker(worker_id=0, why="an isolate does not end"))
    stage.until(lambda: killed)
    end(stage, Kid.started[1])
    stage.until(lambda: Kid.told)

    assert Kid.told[0] == (
        "router",
        WorkerExited(worker_id=0, recorder="r", address=Kid.started[1], cause="an isolate does not end"),
    )
