"""How the router keeps the load of the pool even, with a clock, workers and moves that the test plays."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flora.actors.placement import Homes
from flora.actors.router_balance import Balance
from flora.actors.router_state import RouterState
from flora.actors.routing import default_worker
from flora.messages.base import Failed, Ok
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.placement import FIRST_DEDICATED_WORKER, Placement, ReadLoad
from flora.messages.settings import RuntimeSettings, Settings

G, H, J = GuildId("1"), GuildId("2"), GuildId("3")
D = FIRST_DEDICATED_WORKER
MB = 1 << 20


class FakeMoves:
    """Moves that end when the test says so."""

    def __init__(self, state: RouterState) -> None:
        self._state = state
        self.under_way: dict[GuildId, tuple[WorkerId, Callable[[str | None], None]]] = {}
        self.begun: list[tuple[GuildId, WorkerId]] = []

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self.under_way

    def start(self, guild_id: GuildId, target: WorkerId, then: Callable[[str | None], None]) -> None:
        assert guild_id not in self.under_way
        self.under_way[guild_id] = (target, then)
        self.begun.append((guild_id, target))

    def end(self, guild_id: GuildId, why: str | None = None) -> None:
        target, then = self.under_way.pop(guild_id)
        if why is None:
            move(self._state, guild_id, target)
        then(why)


def move(state: RouterState, guild_id: GuildId, target: WorkerId) -> None:
    state.lanes.hold(guild_id)
    state.lanes.move(guild_id, target)
    state.lanes.release(guild_id)


@dataclass
class Town:
    """A router's Balance, and everything around it. Time passes by `goes_on`."""

    workers: int = 2
    runtime: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now_s = 100.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.questions: list[ReadLoad] = []
        self.cpu_share: dict[GuildId, float] = {}  # of guilds
        self.memory_bytes: dict[GuildId, int] = {}
        self.rss_bytes: dict[int, int] = {}
        self._cpu_us: dict[Any, float] = {}
        self.silent: set[int] = set()
        runtime = RuntimeSettings(max_workers=self.workers, **({"max_worker_memory_mb": 1000} | self.runtime))
        self.settings = Settings(data_dir=Path("/nowhere"), runtime=runtime)
        self.state = RouterState("epoch", self.workers)
        for worker in range(self.workers):
            self.state.meet(WorkerId(worker), worker)  # its number stands for its address
        self.homes, self.moves = Homes(), FakeMoves(self.state)
        places: Any = SimpleNamespace(homes=self.homes, moves=self.moves)
        self.balance = Balance(self, self.state, places, clock=lambda: self.now_s)

    # What the router's shell gives

    def after(self, delay_s: float, then: Callable[[], None]) -> int:
        number = next(self._numbers)
        heapq.heappush(self._timers, (self.now_s + delay_s, number, then))
        return number

    def ask(self, address: Any, question: ReadLoad, then: Callable[[Ok | Failed], None], limit_s: float) -> None:
        self.questions.append(question)
        if address in self.silent:
            late = Failed(req_id=ReqId(""), code="TIMED_OUT", message="late")
            self.after(limit_s, lambda: then(late))
            return
        here = self.state.lanes.of_worker(address)
        guilds = {g: (int(self._cpu_us.get(g, 0)), 0, self.memory_bytes.get(g, 0)) for g in here}
        value = {
            "cpu_us": int(self._cpu_us.get(("worker", address), 0)),
            "rss_bytes": self.rss_bytes.get(address, 100 * MB),
            "at_us": int(self.now_s * 1e6),
            "guilds": guilds if question.with_guilds else {},
        }
        self.after(0.001, lambda: then(Ok(req_id=ReqId(""), value=value)))

    # What happens

    def serve(self, worker: int, **shares: float) -> None:
        """Guilds (`_1=0.3` is guild 1 with three tenths of a core) serve in a worker."""
        for name, share in shares.items():
            guild_id = GuildId(name.removeprefix("_"))
            if worker not in self.state.workers:
                self.state.meet(WorkerId(worker), worker)
            self.state.lanes.open(guild_id, WorkerId(worker), held=False)
            self.state.routes.assign(guild_id, WorkerId(worker))
            self.state.subscriptions[guild_id] = ("messageCreate",)
            self.cpu_share[guild_id] = share

    def goes_on(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._timers and self._timers[0][0] <= end_s:
            at_s, _, then = heapq.heappop(self._timers)
            self._work(at_s - self.now_s)
            self.now_s = at_s
            then()
        self._work(end_s - self.now_s)
        self.now_s = end_s

    def _work(self, seconds: float) -> None:
        for guild_id, share in self.cpu_share.items():
            worker = self.state.lanes[guild_id].worker
            for each in (guild_id, ("worker", worker)):
                self._cpu_us[each] = self._cpu_us.get(each, 0) + share * seconds * 1e6

    def reads_guilds(self) -> bool:
        return self.questions[-1].with_guilds


def test_given_two_busy_guilds_in_one_worker_of_two_when_it_lasts_then_one_moves_and_it_is_quiet_again(caplog):
    town = Town(runtime={"hot_guild_percent": 0})
    town.serve(0, _1=0.4, _2=0.38)

    with caplog.at_level(logging.INFO, "flora.actors.router_balance"):
        town.goes_on(60)
        assert town.moves.begun == [(H, 1)]
        town.moves.end(H)
        town.goes_on(3600)

    assert town.moves.begun == [(H, 1)]
    (line,) = caplog.records
    assert (
        line.getMessage() == "worker 0 is far over the mean (processor): 78 %, the mean is 39 %; 1 of its guilds move"
    )
    assert line.action == "rebalance"
    assert line.guilds == {H: 1}
    assert town.balance.counts == {
        "rebalance_decisions": 1,
        "rebalance_in_vain": 0,
        "rebalance_moved": 1,
        "rebalance_not_moved": 0,
    }


def test_given_a_load_that_is_even_then_no_guild_is_asked_about():
    town = Town(runtime={"hot_guild_percent": 80})
    town.serve(0, _1=0.3, _2=0.3)
    town.serve(1, _3=0.5)

    town.goes_on(300)

    assert not any(question.with_guilds for question in town.questions)
    assert not town.moves.begun


def test_given_an_imbalance_that_is_over_then_guilds_are_not_asked_about_any_more():
    town = Town(runtime={"hot_guild_percent": 0})
    town.serve(0, _1=0.4, _2=0.4)

    town.goes_on(15)
    assert not town.reads_guilds(), "it may be over soon"
    town.goes_on(15)
    assert town.reads_guilds()
    town.cpu_share[G] = town.cpu_share[H] = 0.05
    town.goes_on(60)

    assert not town.reads_guilds()
    assert not town.moves.begun


def test_given_several_guilds_to_move_then_it_is_one_after_the_other():
    town = Town()
    town.serve(0, _1=0.2, _2=0.2, _3=0.2, _4=0.2, _5=0.2, _6=0.2)

    town.goes_on(60)
    assert len(town.moves.begun) == 1
    town.moves.end(town.moves.begun[0][0])
    town.goes_on(1)

    assert len(town.moves.begun) == 2
    assert len(town.moves.under_way) == 1


def test_given_a_move_that_fails_then_it_is_counted_and_not_tried_again_before_the_guild_has_rested():
    town = Town(runtime={"rebalance_cool_down_s": 300})
    town.serve(0, _1=0.4, _2=0.4)
    town.goes_on(60)
    ((guild_id, _),) = town.moves.begun

    town.moves.end(guild_id, "its load failed")
    town.goes_on(200)

    assert town.balance.counts["rebalance_not_moved"] == 1
    assert [each for each, _ in town.moves.begun].count(guild_id) == 1


def test_given_a_guild_that_somebody_else_moved_lately_then_it_stays():
    town = Town(runtime={"rebalance_cool_down_s": 300})
    town.serve(0, _1=0.4)
    town.serve(1, _2=0.4)
    town.goes_on(20)

    move(town.state, H, WorkerId(0))
    town.goes_on(280)

    assert H not in dict(town.moves.begun)


def test_given_guilds_with_homes_being_deployed_or_not_serving_then_they_are_not_moved_and_the_log_says_it_once(caplog):
    town = Town()
    town.serve(0, _1=0.3, _2=0.3, _3=0.3, _4=0.3)
    town.homes.add(G, Placement.DEDICATED, "", 0.0, ())
    town.state.lanes.hold(H)
    del town.state.subscriptions[J]
    town.state.unstored.add(GuildId("4"))

    with caplog.at_level(logging.INFO, "flora.actors.router_balance"):
        town.goes_on(300)

    assert not town.moves.begun
    assert town.balance.counts["rebalance_in_vain"] > 1
    told = [record.getMessage() for record in caplog.records if record.action == "rebalance_in_vain"]
    assert len(told) == 1, "once is enough"
    assert told[0].endswith("no guild that may move would help by moving")


def test_given_something_is_under_way_then_nothing_is_decided_and_what_is_too_much_must_last_anew():
    town = Town()
    town.serve(0, _1=0.4, _2=0.4)
    is_busy = True
    town.balance.busy.append(lambda: is_busy)

    town.goes_on(300)
    assert not town.moves.begun
    is_busy = False
    town.goes_on(29)
    assert not town.moves.begun
    town.goes_on(12)

    assert town.moves.begun


def test_given_a_worker_that_does_not_run_then_nothing_is_decided():
    town = Town(workers=3)
    town.serve(0, _1=0.4, _2=0.4)
    town.state.workers[WorkerId(2)].address = None

    town.goes_on(300)

    assert not town.moves.begun


def test_given_a_worker_that_does_not_answer_then_no_guild_moves_there():
    town = Town(workers=3)
    town.serve(0, _1=0.5, _2=0.5)
    town.serve(2, _3=0.1)
    town.silent = {1}

    town.goes_on(60)

    assert town.moves.begun
    assert {target for _, target in town.moves.begun} == {2}
    assert town.balance.facts_of(WorkerId(1)) == {"cpu_percent": None, "accepts": False}


def test_given_rebalancing_is_switched_off_then_nothing_moves_and_the_load_is_known():
    town = Town(runtime={"rebalance": False, "hot_guild_percent": 0})
    town.serve(0, _1=0.4, _2=0.4)

    town.goes_on(300)

    assert not town.moves.begun
    assert not any(question.with_guilds for question in town.questions)
    assert town.balance.facts_of(WorkerId(0)) == {"cpu_percent": pytest.approx(80), "accepts": True}


def test_given_a_worker_with_too_little_memory_left_then_its_largest_guild_moves():
    town = Town()
    town.serve(0, _1=0.01, _2=0.01)
    town.memory_bytes = {G: 100 * MB, H: 20 * MB}
    town.rss_bytes = {0: 900 * MB, 1: 300 * MB}

    town.goes_on(60)

    assert town.moves.begun == [(G, 1)]


def test_given_a_guild_that_is_hot_for_long_then_the_log_says_what_would_help(caplog):
    town = Town()
    town.serve(0, _1=0.45, _2=0.01)
    town.serve(1, _3=0.44)

    with caplog.at_level(logging.WARNING, "flora.actors.router_balance"):
        town.goes_on(450)

    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"`flora place {guild} dedicated` would relieve its neighbours: it has used {percent} % of a core for 5 minutes"
        for guild, percent in ((G, 45), (J, 44))
    ]
    asked = [question.with_guilds for question in town.questions]
    assert sum(asked) <= len(asked) / 5, "every half minute is enough for that"


def test_given_hot_guilds_get_workers_when_one_is_hot_for_long_then_it_gets_one_once():
    town = Town(runtime={"dedicate_hot_guilds": True})
    town.serve(0, _1=0.45)
    town.serve(1, _2=0.35)
    given: list[tuple[GuildId, str]] = []
    town.balance.dedicate = lambda guild_id, then, why: given.append((guild_id, why))

    town.goes_on(1800)

    assert given == [(G, "it has used 45 % of a core for 5 minutes")]


def test_given_a_new_guild_whose_worker_has_just_died_then_it_waits_for_it_and_goes_elsewhere_when_that_lasts():
    town = Town()
    guild_id = next(GuildId(str(n)) for n in range(9) if default_worker(GuildId(str(n)), 2) == 1)
    town.goes_on(6)

    town.state.workers[WorkerId(1)].address = None
    assert town.balance.choose(guild_id) == 1
    town.goes_on(6)

    assert town.balance.choose(guild_id) == 0


@pytest.mark.parametrize(("rebalance", "expected"), [(True, 0), (False, 1)])
def test_given_a_new_guild_whose_worker_is_busy_then_it_goes_elsewhere_unless_figures_are_to_decide_nothing(
    rebalance, expected
):
    town = Town(runtime={"rebalance": rebalance})
    guild_id = next(GuildId(str(n)) for n in range(50, 99) if default_worker(GuildId(str(n)), 2) == 1)
    town.serve(1, _1=0.9)
    town.goes_on(25)

    assert town.balance.choose(guild_id) == expected


def test_given_something_begins_while_guilds_wait_to_be_moved_then_they_stay():
    town, is_busy = Town(), False
    town.balance.busy.append(lambda: is_busy)
    town.serve(0, _1=0.2, _2=0.2, _3=0.2, _4=0.2, _5=0.2, _6=0.2)
    town.goes_on(60)
    ((guild_id, _),) = town.moves.begun

    is_busy = True
    town.moves.end(guild_id)
    town.goes_on(1)

    assert len(town.moves.begun) == 1
    assert town.balance.counts["rebalance_moved"] == 1
    assert town.balance.counts["rebalance_not_moved"] >= 1


def test_given_guilds_that_must_leave_when_their_figures_are_known_then_they_are_spread_by_them():
    town = Town(workers=3)
    town.serve(0, _1=0.6, _2=0.2, _3=0.2, _4=0.2)
    town.balance.busy.append(lambda: True)  # as it is while a worker is emptied
    town.goes_on(30)

    targets = town.balance.spread([G, H, J, GuildId("4")], [WorkerId(1), WorkerId(2)])

    alone = targets[G]
    assert [guild_id for guild_id, target in targets.items() if target == alone] == [G]


def test_given_guilds_that_leave_one_by_one_between_two_looks_then_they_do_not_all_go_to_the_same_worker():
    town = Town(workers=3)
    town.serve(0, **{f"_{n}": 0.01 for n in range(1, 41)})
    town.serve(1, _100=0.1)
    town.balance.busy.append(lambda: True)
    town.goes_on(30)

    targets = [
        town.balance.spread([GuildId(str(n))], [WorkerId(1), WorkerId(2)])[GuildId(str(n))] for n in range(1, 41)
    ]

    assert 10 <= targets.count(WorkerId(1)) <= 20


def test_given_guilds_that_must_leave_when_nothing_is_known_of_them_then_they_do_not_all_go_to_the_least_busy_worker():
    town = Town(workers=3)
    town.serve(0, **{f"_{n}": 0.01 for n in range(1, 41)})
    town.serve(1, _100=0.2)
    town.serve(2, _101=0.1)
    town.goes_on(30)
    assert not town.reads_guilds()

    targets = town.balance.spread([GuildId(str(n)) for n in range(1, 41)], [WorkerId(1), WorkerId(2)])

    assert 12 <= list(targets.values()).count(WorkerId(1)) <= 20


def test_given_workers_none_of_which_answers_when_guilds_must_leave_then_they_go_to_those_that_run():
    town = Town(workers=3)
    town.serve(0, _1=0.1)
    town.silent = {0, 1, 2}
    town.goes_on(10)
    town.state.workers[WorkerId(2)].address = None

    assert town.balance.spread([G], [WorkerId(1), WorkerId(2)]) == {G: 1}
