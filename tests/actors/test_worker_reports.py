"""What a worker tells its router, and when."""

from __future__ import annotations

import pytest

from flora.actors.worker_reports import REPORT_EVERY_S, REPORT_ROWS, RouterReports
from flora.messages.dispatch import Outcome


@pytest.fixture
def reports(timers) -> RouterReports:
    return RouterReports("epoch", timers)


def test_given_completions_when_polled_then_they_wait_for_each_other_a_little(reports, timers) -> None:
    reports.done(1, "55", Outcome.OK)
    reports.done(2, "55", Outcome.THREW)

    assert reports.poll() is None
    ((delay_s, due),) = timers.set
    assert delay_s == REPORT_EVERY_S
    due()
    assert reports.poll().done == ((1, "55", Outcome.OK), (2, "55", Outcome.THREW))
    assert reports.poll() is None


def test_given_many_completions_when_polled_then_they_go_without_waiting(reports) -> None:
    for seq in range(REPORT_ROWS):
        reports.done(seq, "55", Outcome.OK)

    assert len(reports.poll().done) == REPORT_ROWS


def test_given_news_of_guilds_when_polled_then_they_go_at_once_each_in_its_place(reports) -> None:
    reports.done(1, "55", Outcome.OK)
    reports.subscribed("55", ("ready",))
    reports.lost("66", "no memory")
    reports.wedged("77", "spins")
    reports.wedge_is_over("77")

    frame = reports.poll()

    assert frame.done == ((1, "55", Outcome.OK),)
    assert frame.subscriptions == (("55", ("ready",)),)
    assert frame.lost == (("66", "no memory"),)
    assert frame.wedged == (("77", "spins"), ("77", ""))


def test_given_a_new_router_when_it_is_told_then_it_hears_what_is_unfinished_and_stuck_and_nothing_for_the_old_one(
    reports,
) -> None:
    reports.book.took("55", [1, 2, 3])
    reports.book.took("77", [4])
    reports.done(1, "55", Outcome.OK)
    reports.wedged("77", "spins")

    reports.forget_router()
    state = reports.state((("55", ("ready",)),))
    reports.remind([("77", "spins")])

    assert state.guilds == (("55", ("ready",)),)
    assert state.received == (("55", 3), ("77", 4))
    assert state.unfinished == (("55", (2, 3)),)
    frame = reports.poll()
    assert frame.done == ()
    assert frame.wedged == (("77", "spins"),)
