"""The phases of the end: in order, each with its share of one deadline, whoever is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.shutdown import INTAKE_LIMIT_S, NEVER_LESS_S, UNKNOWN, Shutdown, phases
from flora.messages.base import Failed, Ok, Request
from flora.messages.errors import TimedOut
from flora.messages.gateway import StopIntake
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain

NAMES = ("http", "log book", "router", "compiler", "deployer", "gateway", "cron")


class Cast:
    """Actors that answer after a while of their own, and a clock that their answers move."""

    def __init__(self, takes_s: dict[str, float], workers: int = 2) -> None:
        self.now_s = 100.0
        self.asked: list[tuple[str, Request, float]] = []
        self.said: dict[str, Any] | None = None
        self._takes_s = takes_s
        self._workers = [f"worker {number}" for number in range(workers)]
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def children(self, role: str) -> list[tuple[str, str]]:
        return [(name, name) for name in (self._workers if role == "workers" else [role])]

    def ask(self, to: str, request: Request, answered: Callable[[Ok | Failed], None], limit_s: float) -> None:
        assert limit_s > 0, "no limit at all"
        self.asked.append((to, request, limit_s))
        takes_s = self._takes_s.get(to, 0.0)
        reply = Ok(req_id=ReqId(""), value=to) if takes_s <= limit_s else TimedOut("silent").as_failed(ReqId(""))
        self._due.append((self.now_s + min(takes_s, limit_s), len(self.asked), lambda: answered(reply)))

    def play(self, limit_s: float, quiesce_s: float = 0.5) -> None:
        Shutdown(phases(limit_s, quiesce_s), self.children, self.ask, self._done, clock=lambda: self.now_s).begin()
        while self._due:
            self._due.sort(key=lambda entry: entry[:2])
            self.now_s, _, answer = self._due.pop(0)
            answer()

    def _done(self, said: dict[str, Any]) -> None:
        assert self.said is None, "ended twice"
        self.said = said


@pytest.mark.scenario("T71")
def test_given_actors_that_answer_then_they_are_asked_in_order_and_each_phase_waits_for_the_one_before():
    cast = Cast({"router": 3.0})

    cast.play(10.0)

    assert [name for name, _, _ in cast.asked] == [
        *("gateway", "http", "router", "deployer", "compiler", "cron", "worker 0", "worker 1", "gateway", "log book"),
    ]
    assert [type(request) for _, request, _ in cast.asked] == [StopIntake, *[Drain] * 9]
    assert cast.now_s == 103.0
    assert cast.said is not None
    assert cast.said["router"] == "router"


def test_given_a_question_when_asked_then_its_answer_has_time_beside_the_work():
    cast = Cast({})

    cast.play(4.0)

    drains = [(request.limit_s, limit_s) for _, request, limit_s in cast.asked if isinstance(request, Drain)]
    assert all(limit_s - work_s >= NEVER_LESS_S - 1e-9 for work_s, limit_s in drains)
    work_s, limit_s = drains[1]
    assert limit_s - work_s > 0.2


def test_given_workers_that_are_still_busy_then_all_of_them_have_the_quiesce_time_at_once():
    cast = Cast({"worker 0": 60.0, "worker 1": 60.0})

    cast.play(10.0, quiesce_s=0.5)

    assert cast.now_s == 100.5


@given(
    limit_s=st.floats(0.0, 60.0),
    quiesce_s=st.sampled_from([0.0, 0.5, 100.0]),
    silent=st.sets(st.sampled_from([*NAMES, "worker 0", "worker 1"])),
)
def test_given_any_actors_that_are_silent_then_the_end_comes_once_and_within_the_limit(limit_s, quiesce_s, silent):
    cast = Cast(dict.fromkeys(silent, 1e9))

    cast.play(limit_s, quiesce_s)

    assert cast.said is not None
    assert cast.now_s - 100.0 <= limit_s + 6 * NEVER_LESS_S
    assert {name for name, said in cast.said.items() if said == UNKNOWN} == silent
    if "gateway" in silent and len(silent) == 1 and limit_s > 10:
        assert next(limit for name, _, limit in cast.asked if name == "gateway") == INTAKE_LIMIT_S
