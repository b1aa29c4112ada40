"""What the router knows of workers."""

from __future__ import annotations

from flora.actors.link import Link
from flora.actors.router_state import RouterState, WorkerEnd
from flora.messages.ids import WorkerId


def state(*addresses: str) -> RouterState:
    made = RouterState("router", len(addresses))
    for number, address in enumerate(addresses):
        made.workers[WorkerId(number)] = WorkerEnd(address, Link("router"))
    return made


def test_given_a_worker_when_looked_for_by_address_and_epoch_then_it_is_found_each_time():
    known = state("a", "b", "c")

    found = [known.worker_at("b", "b's epoch")[0] for _ in range(2)]

    assert found == [1, 1]
    assert known.worker_at("c")[0] == 2


def test_given_a_worker_that_was_started_again_when_looked_for_then_neither_its_old_address_nor_its_old_epoch_finds_it():
    known = state("a", "b")
    known.worker_at("b", "first")

    known.workers[WorkerId(1)].address = "new"

    assert known.worker_at("b", "first") == (-1, None)
    assert known.worker_at("new", "second")[0] == 1
    assert known.worker_at("b", "second") == (-1, None)


def test_given_an_epoch_when_somebody_else_uses_it_then_the_address_decides():
    known = state("a", "b")
    known.worker_at("a", "epoch")

    assert known.worker_at("b", "epoch")[0] == 1
    assert known.worker_at("a", "epoch")[0] == 0


def test_given_a_worker_that_was_started_again_and_again_when_looked_for_then_one_epoch_of_it_is_remembered():
    known = state("a")

    for life in range(100):
        known.workers[WorkerId(0)].address = f"address {life}"
        known.worker_at(f"address {life}", f"epoch {life}")

    assert len(known._worker_of) == 1
