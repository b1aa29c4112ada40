"""Memory of an isolate over many events."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from flora.actors.isolate.engine import Closed

BATCH = 100


def _events(talk: Any, count: int) -> None:
    for _ in range(count // BATCH):
        talk.send(*(f"message number {number} with a little text" for number in range(BATCH)))
        answer = talk.answer()
        assert len(answer["d"]) == BATCH


def _used_mb(talk: Any) -> float:
    talk.isolate.collect_garbage()
    return float(talk.isolate.heap_stats()["used_heap_size"]) / 1e6


def test_given_many_small_events_when_counted_then_the_heap_stays_flat(any_prelude_host: Any) -> None:
    talk = any_prelude_host.open(heap_limit_mb=64)
    talk.load("let count = 0\non('messageCreate', async ({ msg }) => { count += msg.content.length })")
    _events(talk, 2_000)
    before_mb = _used_mb(talk)

    _events(talk, 20_000)

    assert _used_mb(talk) < before_mb + 0.3  # a source text per event, or one handle, would add some MB


@pytest.mark.parametrize("kept", [10_000, 25_000, 40_000])  # times 0.8 kB each in use
def test_given_garbage_far_over_the_limit_when_run_then_there_is_no_false_out_of_memory(
    any_prelude_host: Any, kept: int
) -> None:
    talk = any_prelude_host.open(heap_limit_mb=64)
    talk.load(
        f"""
        const ring = []
        let at = 0
        on('messageCreate', async () => {{  // what it replaces has long left the young generation
          for (let i = 0; i < 200; i++) ring[at++ % {kept}] = new Array(100).fill(at + 0.5)
        }})
        """
    )

    for _ in range(60):
        talk.send(*["x"] * 20)
        assert len(talk.answer()["d"]) == 20, "out of memory, though most of the heap was garbage"

    assert talk.isolate.idle


def test_given_a_collection_under_way_when_closed_then_it_closes_after_it(engine_host: Any) -> None:
    talk = engine_host.open(heap_limit_mb=64)
    talk.load("const kept = []\non('messageCreate', async () => { kept.push(new Array(1e6).fill(0.5)) })")
    begun, finish = threading.Event(), threading.Event()
    make_room = talk.isolate.make_room

    def slow_room() -> bool:
        begun.set()
        finish.wait(5.0)
        return bool(make_room())

    talk.isolate.make_room = slow_room
    while not begun.is_set():
        talk.send("x")
        while not talk.said and not begun.is_set():
            talk.engine.collect(0.01)
        talk.said.clear()
    assert talk.isolate.busy

    talk.isolate.close()
    assert talk.hears_nothing(0.05)
    finish.set()

    assert talk.hear() == Closed(wedged=False)


def test_given_a_large_event_when_dispatched_then_it_arrives_whole(any_prelude_host: Any) -> None:
    talk = any_prelude_host.open(heap_limit_mb=64)
    talk.load("on('messageCreate', async ({ msg }) => { console.log(String(msg.content.length)) })")

    talk.isolate.dispatch(orjson.dumps({"e": [[1, "messageCreate", {"content": "x" * 4_000_000}]]}))

    assert talk.answer()["l"][0][1] == "4000000"


@pytest.mark.parametrize("limit_mb", [16, 32])
def test_given_a_small_heap_limit_when_a_guest_is_idle_then_it_fits(real_host: Any, limit_mb: int) -> None:
    talk = real_host.open(heap_limit_mb=limit_mb)
    talk.load_guest("spins_forever")
    assert talk.works()
