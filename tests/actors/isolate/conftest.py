"""A running engine for tests, and the preludes it can be tested with."""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from flora.actors.isolate.completions import CallbackPort, CompletionPort, default_port
from flora.actors.isolate.engine import Closed, Engine, Fault, Isolate, Opened, Output
from flora.actors.isolate.host import IsolateHost
from flora.actors.isolate.opening import IsolateSpec
from flora.actors.isolate.session import IsolateSession
from flora.messages.isolate import IsolateClosed, IsolateLoaded, IsolateReport, IsolateUsage
from flora.messages.settings import RuntimeSettings, Settings

REPOSITORY = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in_prelude.js")
GUESTS = REPOSITORY / "tests" / "guests"
SESSION_LIMIT_S = 0.3


@dataclass
class Talk:
    """One isolate of a test, and what it has said."""

    engine: Engine
    isolate: Isolate
    said: list[Output] = field(default_factory=list)
    seq: int = 0

    def hear(self, within_s: float = 5.0) -> Output:
        """The next thing it says."""
        deadline = time.monotonic() + within_s
        while not self.said:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{self.isolate} said nothing within {within_s} s"
            self.engine.collect(left_s)
        return self.said.pop(0)

    def hears_nothing(self, for_s: float) -> bool:
        """Whether it stays silent for so long."""
        deadline = time.monotonic() + for_s
        while not self.said and (left_s := deadline - time.monotonic()) > 0:
            self.engine.collect(left_s)
        return not self.said

    def answer(self, within_s: float = 5.0) -> dict[str, Any]:
        """The next thing it says, which must be output of the prelude."""
        output = self.hear(within_s)
        assert isinstance(output, bytes), output
        return dict(orjson.loads(output))

    def fault(self, within_s: float = 5.0) -> Fault:
        """The next fault; output of the prelude before it is passed over."""
        while True:
            output = self.hear(within_s)
            if isinstance(output, Fault):
                return output
            assert isinstance(output, bytes), output

    def send(self, *contents: str) -> None:
        """One dispatch with a message event per text."""
        events = [[self.seq + k + 1, "messageCreate", {"content": text}] for k, text in enumerate(contents)]
        self.seq += len(contents)
        self.isolate.dispatch(orjson.dumps({"t": time.time() * 1000, "e": events}))

    def load(self, script: str) -> dict[str, Any]:
        """Load a script that must succeed, and start listening to events."""
        self.isolate.load(script, "file:///guild/1/bundle.js")
        loaded = self.answer()
        assert loaded["d"][0][:2] == [0, "ok"], loaded
        self.isolate.dispatch(b'{"c":[["extract"]]}')
        self.answer()
        return loaded

    def load_guest(self, name: str) -> None:
        """Load one of tests/guests."""
        self.load((GUESTS / f"{name}.js").read_text())

    def works(self) -> bool:
        """Whether it answers an ordinary event."""
        self.send("hello")
        answer = self.answer()
        return answer["d"][0][:2] == [self.seq, "ok"] and answer["l"][0][1] == "fine"


class EngineHost:
    """An engine and its isolates."""

    def __init__(self, recorder_path: Path, port: CompletionPort, prelude: str, sdk: str | None) -> None:
        self.engine = Engine(self._on_output, recorder_path=recorder_path, port=port)
        self.recorder_path = recorder_path
        self._prelude, self._sdk = prelude, sdk
        self._talks: dict[Isolate, Talk] = {}

    def _on_output(self, isolate: Isolate, output: Output) -> None:
        self._talks[isolate].said.append(output)

    def begin(self, name: str = "1", heap_limit_mb: int = 64, **changes: Any) -> Talk:
        """An isolate that is still opening."""
        fields = {"prelude": self._prelude, "sdk": self._sdk, "boot": {"guildId": name}, "boot_limit_s": 5.0}
        isolate = self.engine.open(IsolateSpec(name=name, heap_limit_mb=heap_limit_mb, **(fields | changes)))
        talk = self._talks[isolate] = Talk(self.engine, isolate)
        return talk

    def open(self, name: str = "1", heap_limit_mb: int = 64, **changes: Any) -> Talk:
        """An isolate that is booted and idle."""
        talk = self.begin(name, heap_limit_mb, **changes)
        opened = talk.hear()
        assert isinstance(opened, Opened), opened
        return talk

    def close(self, talk: Talk) -> Closed:
        """Close it and hear how that ended."""
        talk.isolate.close()
        while not isinstance(output := talk.hear(), Closed):
            pass
        return output


def _ports() -> dict[str, Callable[[], CompletionPort]]:
    return {"eventfd": default_port, "callback": CallbackPort}


def built_sdk() -> tuple[str, str] | None:
    """Prelude and SDK as built, if they are."""
    dist = REPOSITORY / "sdk" / "dist"
    if not (dist / "prelude.js").exists() or not (dist / "sdk.js").exists():
        return None
    return (dist / "prelude.js").read_text(), (dist / "sdk.js").read_text()


def _hosted(host: EngineHost) -> Iterator[EngineHost]:
    yield host
    closed = host.engine.close_all(5.0)
    assert closed, "an isolate is still open; the interpreter would hang at exit"


@pytest.fixture(params=["eventfd", "callback"])
def any_port_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineHost]:
    """An engine with the stand-in prelude, once per way of completion."""
    yield from _hosted(EngineHost(tmp_path / "recorder", _ports()[request.param](), STAND_IN.read_text(), None))


@pytest.fixture
def engine_host(tmp_path: Path) -> Iterator[EngineHost]:
    """An engine with the stand-in prelude: what it does depends on no other part."""
    yield from _hosted(EngineHost(tmp_path / "recorder", default_port(), STAND_IN.read_text(), None))


@pytest.fixture
def real_host(tmp_path: Path, needs_built_sdk: tuple[str, str]) -> Iterator[EngineHost]:
    """An engine with the prelude and SDK that guilds get."""
    yield from _hosted(EngineHost(tmp_path / "recorder", default_port(), *needs_built_sdk))


@pytest.fixture(params=["stand-in", "real"])
def any_prelude_host(request: pytest.FixtureRequest) -> EngineHost:
    """Both, one after the other."""
    name = "engine_host" if request.param == "stand-in" else "real_host"
    host: EngineHost = request.getfixturevalue(name)
    return host


@pytest.fixture(scope="session")
def needs_built_sdk() -> tuple[str, str]:
    """Prelude and SDK; skips where nobody has built them, fails in CI."""
    found = built_sdk()
    if found is None:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail("sdk/dist is not built")
        pytest.skip("sdk/dist is not built: run scripts/up or scripts/test once")
    return found


class Bench:
    """Plays the worker for sessions of one host."""

    def __init__(self, tmp_path: Path, **runtime: object) -> None:
        settings = Settings(
            data_dir=tmp_path,
            runtime=RuntimeSettings(**{"dispatch_timeout_s": SESSION_LIMIT_S, "load_timeout_s": 1.0} | runtime),
        )
        self.host = IsolateHost(settings, tmp_path / "recorder")
        self.sessions: dict[int, IsolateSession] = {}
        self.done: dict[int, str] = {}
        self.order: list[int] = []
        self.calls: list[tuple] = []
        self.fetches: list[tuple] = []
        self.fetches_taken = 0
        self.log_rows: list[tuple[str, str, str]] = []  # (level, target, text)
        self.loaded: dict[int, IsolateLoaded] = {}
        self.closed: set[int] = set()
        self.handlers: tuple[str, ...] = ()
        self.jobs: Any = None
        self.jobs_done: list[tuple[str, str]] = []
        self.cancelled: list[int] = []
        self.rebuilt = 0
        self.lost: str | None = None
        self.wedged: str | None = None
        self.unstarted: list[tuple] = []
        self.counted: Counter[str] = Counter()
        self.usage: dict = {}
        self.wake_in_s: list[float] = []
        self.quiet_until_s = 0.0
        self.answer_calls = True
        self._due: list[tuple[IsolateSession, int]] = []

    @property
    def logs(self) -> list[str]:
        """The texts."""
        return [text for _, _, text in self.log_rows]

    def deploy(
        self, script: str | None, key: int = 1, guild_id: str = "55", placeholders: dict[str, str] | None = None
    ) -> IsolateLoaded:
        session = self.sessions[key] = IsolateSession(key, guild_id, self.host)
        session.load(script, None, placeholders or {})
        self.until(lambda: key in self.loaded)
        return self.loaded[key]

    def send(self, first_seq: int, *contents: str, key: int = 1, name: str = "messageCreate") -> None:
        events = [
            (seq, name, orjson.dumps({"id": str(seq), "channelId": "9", "content": content}).decode())
            for seq, content in enumerate(contents, first_seq)
        ]
        self.sessions[key].run(events)
        self._collect_messages()

    def until(self, condition, within_s: float = 8.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, (self.done, self.logs)
            select.select([self.host.fileno()], [], [], 0.02)
            for key, generation, output in self.host.collect():
                if key in self.sessions:
                    self.sessions[key].said(generation, output)
            for session in self.sessions.values():
                session.check(time.monotonic())
            self._collect_messages()

    def until_done(self, *seqs: int) -> None:
        self.until(lambda: all(seq in self.done for seq in seqs))

    def _collect_messages(self) -> None:
        for session in list(self.sessions.values()):
            for message in list(session.take_messages()):
                self._take(session, message)
        answers, self._due = self._due, []
        for session, op_id in answers:
            session.answered([(op_id, True, '{"id":"77"}')])

    def _take(self, session: IsolateSession, message: object) -> None:
        match message:
            case IsolateReport():
                for seq, outcome, _ in message.done:
                    assert seq not in self.done, "an event was reported twice"
                    self.done[seq] = outcome
                    self.order.append(seq)
                self.calls.extend(message.calls)
                if self.answer_calls:
                    self._due.extend((session, call[0]) for call in message.calls)
                self.log_rows.extend(message.logs)
                self.handlers = message.handlers or self.handlers
                self.jobs = self.jobs if message.jobs is None else message.jobs
                self.jobs_done.extend((name, outcome) for name, outcome, _ in message.jobs_done)
                self.fetches.extend(message.fetches)
                self.fetches_taken += message.fetches_taken
                self.cancelled.extend(message.cancelled_ops)
                self.rebuilt += message.rebuilt
                self.lost = message.lost or self.lost
                self.wedged = message.wedged or self.wedged
                self.unstarted.extend(message.unstarted)
                self.counted.update(dict(message.counted))
                self.quiet_until_s = message.quiet_until_s
                self.wake_in_s += [] if message.wake_in_s is None else [message.wake_in_s]
            case IsolateLoaded():
                self.loaded[message.key] = message
            case IsolateClosed():
                self.closed.add(message.key)
                self.closed_wedged = message.wedged
            case IsolateUsage():
                self.usage = message.usage

    def asked_usage(self, key: int = 1) -> dict:
        self.sessions[key].tell_usage(with_heap=True)
        self._collect_messages()
        return self.usage

    def bodies(self) -> list[str]:
        return [orjson.loads(call[4])["content"] for call in self.calls]


@pytest.fixture
def bench(tmp_path):
    made = []

    def make(**runtime: object) -> Bench:
        made.append(Bench(tmp_path, **runtime))
        return made[-1]

    yield make
    for each in made:
        assert each.host.close_all(5.0)
