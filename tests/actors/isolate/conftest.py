"""A running engine for tests, and the preludes it can be tested with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from flora.actors.isolate.completions import CallbackPort, CompletionPort, default_port
from flora.actors.isolate.engine import Closed, Engine, Fault, Isolate, Opened, Output
from flora.actors.isolate.opening import IsolateSpec

REPOSITORY = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in_prelude.js")
GUESTS = REPOSITORY / "tests" / "guests"


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
