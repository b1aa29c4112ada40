"""Guests that misbehave: how each is ended, and that nobody else notices."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flora.actors.isolate.engine import Closed, FaultKind, State
from flora.actors.isolate.ladder import Rescue, Verdict

pytestmark = pytest.mark.fault

HEAP_LIMIT_MB = 32


def rescue(talk: Any, within_s: float = 3.0) -> tuple[Verdict, float]:
    """Run the ladder as a worker does. Returns the verdict and how long it took, in seconds."""
    begun = time.monotonic()
    ladder = Rescue(talk.isolate, begun)
    while (verdict := ladder.poll(time.monotonic())) is None:
        talk.engine.collect(0.01)
        assert time.monotonic() - begun < within_s
    return verdict, time.monotonic() - begun


def send_and_spin(talk: Any) -> None:
    """Send "go" and let it get into its loop: a cancel before that ends the event and nothing else."""
    talk.send("go")
    deadline = time.monotonic() + 5.0
    while talk.isolate.started_seq() < talk.seq:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert talk.hears_nothing(0.1)


@pytest.mark.scenario("T30")
@pytest.mark.parametrize(
    "guest", ["spins_forever", "spins_forever_and_refuses_to_stop", "backtracks_forever", "grows_a_bigint"]
)
def test_given_a_loop_in_the_call_when_rescued_then_the_same_isolate_goes_on(any_prelude_host: Any, guest: str) -> None:
    talk = any_prelude_host.open()
    talk.load_guest(guest)
    send_and_spin(talk)
    assert talk.isolate.progress().running_seq == 1

    verdict, took_s = rescue(talk)

    assert verdict is Verdict.ALIVE
    assert took_s < 1.0
    assert talk.fault().kind is FaultKind.TERMINATED
    talk.isolate.dispatch(b'{"c":[["kill",1]]}')
    talk.answer()
    assert talk.works()


@pytest.mark.scenario("T30")
@pytest.mark.parametrize("guest", ["spins_in_microtasks", "spins_after_await"])
def test_given_a_loop_in_microtasks_when_rescued_then_the_isolate_is_closed(any_prelude_host: Any, guest: str) -> None:
    talk = any_prelude_host.open()
    talk.load_guest(guest)
    send_and_spin(talk)

    verdict, took_s = rescue(talk)

    assert verdict is Verdict.CLOSED
    assert took_s < 1.0
    assert talk.hear() == Closed(wedged=False)
    again = any_prelude_host.open()
    again.load_guest(guest)
    assert again.works()


def test_given_a_loop_in_a_timer_when_rescued_then_the_isolate_is_alive_or_closed(real_host: Any) -> None:
    talk = real_host.open()
    talk.load_guest("spins_in_a_timer")
    talk.send("go")
    due_ms = talk.answer()["n"]
    talk.isolate.dispatch(json.dumps({"t": due_ms + 1}).encode())
    assert talk.hears_nothing(0.1)
    assert talk.isolate.progress().running_seq == 1, "the timer belongs to the event that set it"

    verdict, took_s = rescue(talk)

    assert verdict is Verdict.ALIVE
    assert took_s < 1.0


def test_given_an_event_that_only_waits_when_rescued_then_nothing_is_cancelled(engine_host: Any) -> None:
    talk = engine_host.open()
    talk.load_guest("awaits_nobody")
    talk.send("go")
    talk.answer()

    verdict, _ = rescue(talk)

    assert verdict is Verdict.ALIVE
    talk.isolate.dispatch(b'{"c":[["kill",1]]}')
    assert "d" not in talk.answer()
    assert talk.works()


@pytest.mark.scenario("T31")
def test_given_a_loop_at_top_level_when_rescued_then_the_load_ends(any_prelude_host: Any) -> None:
    talk = any_prelude_host.open()
    talk.isolate.load((Path(__file__).parents[2] / "guests" / "spins_on_load.js").read_text(), "file:///a.js")
    assert talk.hears_nothing(0.1)

    verdict, took_s = rescue(talk)

    assert verdict is Verdict.ALIVE
    assert took_s < 1.0
    assert talk.fault().kind is FaultKind.TERMINATED


@pytest.mark.scenario("T33")
@pytest.mark.parametrize("guest", ["eats_memory", "eats_memory_after_await", "eats_memory_and_catches"])
def test_given_a_heap_bomb_when_it_goes_off_then_only_its_own_isolate_is_spent(
    any_prelude_host: Any, guest: str
) -> None:
    victim = any_prelude_host.open("1", heap_limit_mb=HEAP_LIMIT_MB)
    neighbour = any_prelude_host.open("2", heap_limit_mb=HEAP_LIMIT_MB)
    victim.load_guest(guest)
    neighbour.load_guest("spins_forever")
    victim.send("go")

    slowest_s = 0.0
    while not victim.said:
        begun = time.monotonic()
        assert neighbour.works()
        slowest_s = max(slowest_s, time.monotonic() - begun)

    assert victim.fault().kind is FaultKind.OUT_OF_MEMORY
    assert victim.isolate.state is State.SPENT
    assert slowest_s < 0.5
    assert any_prelude_host.close(victim) == Closed(wedged=False)
    assert neighbour.works()
    again = any_prelude_host.open("1", heap_limit_mb=HEAP_LIMIT_MB)
    again.load_guest(guest)
    assert again.works()


def test_given_a_leak_when_the_limit_is_reached_then_finished_events_are_still_told(any_prelude_host: Any) -> None:
    talk = any_prelude_host.open(heap_limit_mb=HEAP_LIMIT_MB)
    talk.load_guest("keeps_a_leak")

    finished = 0
    while talk.isolate.state is not State.SPENT:
        talk.send("x")
        while isinstance(output := talk.hear(), bytes):
            finished += output.count(b'"ok"')
            if talk.isolate.idle:
                break

    assert finished >= 5
    assert output.kind is FaultKind.OUT_OF_MEMORY  # type: ignore[union-attr]


def test_given_a_heap_bomb_at_top_level_when_loaded_then_the_isolate_is_spent(any_prelude_host: Any) -> None:
    talk = any_prelude_host.open(heap_limit_mb=HEAP_LIMIT_MB)

    talk.isolate.load("const kept = []\nwhile (true) kept.push({ a: kept.length })", "file:///a.js")

    assert talk.fault().kind is FaultKind.OUT_OF_MEMORY
    assert talk.isolate.state is State.SPENT


def test_given_a_spinning_guest_when_another_has_events_then_they_are_answered_as_usual(any_prelude_host: Any) -> None:
    spinning, other = any_prelude_host.open("1"), any_prelude_host.open("2")
    spinning.load_guest("spins_in_microtasks")
    other.load_guest("spins_forever")
    send_and_spin(spinning)

    begun = time.monotonic()
    for _ in range(20):
        assert other.works()
    took_s = time.monotonic() - begun

    assert took_s < 2.0
    assert spinning.isolate.busy
    assert rescue(spinning)[0] is Verdict.CLOSED


SEARCHES = """
import os, sys, time, json
from pathlib import Path
from flora.actors.isolate.engine import Engine, State
from flora.actors.isolate.ladder import Rescue
from flora.actors.isolate.opening import IsolateSpec

said = []
engine = Engine(lambda isolate, output: said.append((isolate, output)), recorder_path=Path(sys.argv[1]))
prelude = Path(sys.argv[2]).read_text()

def hear():
    while not said:
        engine.collect(1.0)
    return said.pop(0)[1]

def open_one(name):
    isolate = engine.open(IsolateSpec(name=name, prelude=prelude, sdk=None, heap_limit_mb=64, boot_limit_s=5.0))
    hear()
    isolate.load(Path(sys.argv[3]).read_text(), "file:///a.js")
    hear()
    return isolate

searcher, other = open_one("1"), open_one("2")
searcher.dispatch(b'{"e":[[1,"messageCreate",{"content":"go"}]]}')
while searcher.progress().running_seq != 1:
    time.sleep(0.01)
ladder, verdict = Rescue(searcher, time.monotonic()), None
while verdict is None:
    engine.collect(0.01)
    verdict = ladder.poll(time.monotonic())
said.clear()
begun = time.monotonic()
other.dispatch(b'{"e":[[1,"messageCreate",{"content":"x"}]]}')
answered = hear()
waited_s = time.monotonic() - begun
closed = engine.close_all(0.5)
print(json.dumps([verdict.value, b"fine" in answered, waited_s, closed]), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_given_a_search_that_cannot_be_stopped_when_rescued_then_it_is_wedged_and_others_go_on(tmp_path: Path) -> None:
    guests, prelude = Path(__file__).parents[2] / "guests", Path(__file__).with_name("stand_in_prelude.js")
    endless = tmp_path / "guest.js"  # that of the guest itself is over after some seconds
    endless.write_text((guests / "searches_an_endless_array.js").read_text().replace("1e9", "4e9"))
    command = [sys.executable, "-c", SEARCHES, tmp_path / "recorder", prelude, endless]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=18, check=True)

    verdict, answered, waited_s, all_closed = json.loads(finished.stdout)
    assert verdict == "wedged"
    assert answered
    assert waited_s < 0.5
    assert not all_closed
