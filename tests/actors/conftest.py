"""Actors in a system inside the test's own process: real delivery and timers, no processes, everything to be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from thespian.actors import Actor, ActorSystem

from flora.actors import base
from flora.messages.base import Address
from flora.messages.settings import RuntimeSettings, Settings

_STEP_S = 0.005


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


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(base, "setproctitle", lambda title: None)  # the process is pytest's
    monkeypatch.setattr(base, "configure_logging", lambda level, name: None)
    made = Stage()
    yield made
    made.system.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, runtime=RuntimeSettings(max_workers=2))
