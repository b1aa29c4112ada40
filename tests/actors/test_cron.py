"""Cron: who gets a tick, and when. Its clock belongs to the test."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flora.actors.cron import LONGEST_WAIT_S, Cron
from flora.actors.cron_dues import TICK_AGAIN_S, Dues
from flora.messages.cron import CronDue, CronTick
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, PeersChanged


class RecordedCron(Cron):
    """Without an actor system; `pass_time` is its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.wall_clock = lambda: self.now_s  # type: ignore[method-assign]
        self.sent: list[tuple[Any, Any]] = []
        self.timers: dict[int, tuple[float, Any]] = {}
        self.receiveMessage(PeersChanged(peers=Peers(workers=((0, "w0"), (1, "w1")))), "runtime")

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def after(self, delay_s: float, function: Any) -> int:
        number = len(self.timers) + 1
        self.timers[number] = (self.now_s + delay_s, function)
        return number

    def cancel_timer(self, number: int) -> None:
        if number in self.timers:
            self.timers[number] = (float("inf"), None)

    def due(self, worker_id: int, due_s: float | None) -> None:
        self.receiveMessage(CronDue(worker_id=worker_id, due_s=due_s), f"w{worker_id}")  # type: ignore[arg-type]

    def pass_time(self, until_s: float) -> list[str]:
        """Who got a tick."""
        before = len(self.sent)
        while True:
            at_s, number = min(((at_s, number) for number, (at_s, _) in self.timers.items()), default=(float("inf"), 0))
            if at_s > until_s:
                break
            self.now_s = max(self.now_s, at_s)
            function, self.timers[number] = self.timers[number][1], (float("inf"), None)
            function()
        self.now_s = until_s
        return [to for to, message in self.sent[before:] if isinstance(message, CronTick)]


def test_given_two_workers_when_one_has_something_due_then_only_that_one_gets_a_tick():
    cron = RecordedCron()
    cron.due(0, 1060)
    cron.due(1, 5000)

    assert cron.pass_time(1059.9) == []
    assert cron.pass_time(1060) == ["w0"]
    assert cron.sent[-1][1].now_us == 1060_000_000


def test_given_nothing_due_when_time_passes_then_nobody_gets_a_tick():
    cron = RecordedCron()
    cron.due(0, 1005)
    cron.due(0, None)

    assert cron.pass_time(2000) == []


def test_given_a_worker_that_says_nothing_after_a_tick_when_time_passes_then_it_gets_another():
    cron = RecordedCron()
    cron.due(0, 1005)

    assert cron.pass_time(1005 + 2 * TICK_AGAIN_S + 1) == ["w0"] * 3
    cron.due(0, 4000)
    assert cron.pass_time(3999) == []


def test_given_a_long_wait_when_the_clock_is_set_forward_then_the_tick_comes_soon_after():
    cron = RecordedCron()
    cron.due(0, 1000 + 3600)

    cron.now_s += 3600  # by somebody's hand; no timer of ours has moved
    assert cron.pass_time(cron.now_s + LONGEST_WAIT_S) == ["w0"] * (1 + int(LONGEST_WAIT_S / TICK_AGAIN_S))


def test_given_a_worker_that_died_when_its_time_comes_then_only_its_successors_word_counts():
    cron = RecordedCron()
    cron.due(0, 1060)

    cron.receiveMessage(PeersChanged(peers=Peers(workers=((1, "w1"),))), "runtime")
    cron.receiveMessage(CronDue(worker_id=0, due_s=1120), "w0 again")
    cron.receiveMessage(PeersChanged(peers=Peers(workers=((0, "w0 again"), (1, "w1")))), "runtime")

    assert cron.pass_time(1119) == []
    assert cron.pass_time(1120) == ["w0 again"]


def test_given_the_end_of_the_system_when_something_is_due_then_there_is_no_tick():
    cron = RecordedCron()
    cron.due(0, 1060)

    cron.receiveMessage(Drain(req_id=ReqId("d"), limit_s=1), "runtime")

    assert cron.pass_time(2000) == []


@given(steps=st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 100))), max_size=50))
def test_given_any_words_of_workers_when_asked_then_the_first_due_is_the_smallest_of_the_newest(steps):
    dues, newest = Dues(), {}
    for worker_id, due_s in steps:
        dues.put(worker_id, due_s)
        newest[worker_id] = due_s

    times = {worker_id: due_s for worker_id, due_s in newest.items() if due_s is not None}
    assert dues.next_s() == min(times.values(), default=None)
    assert dues.take(50) == sorted((w for w, due_s in times.items() if due_s <= 50), key=lambda w: (times[w], w))
