"""What a soak calls lost, doubled and out of order."""

from __future__ import annotations

import pytest

from flora.scripts.soak_ledger import GuildLedger, Kill, growth_mb, number_of, problems

DIED = "dispatch failed: the worker died while messageCreate was running"


def ledger_of(sent: int, *replies: str, logs: tuple[str, ...] = ()) -> GuildLedger:
    ledger = GuildLedger(sent={number: float(number) for number in range(sent)})
    for text in replies:
        ledger.note_reply(text)
    for text in logs:
        ledger.note_log(text)
    return ledger


def test_given_every_event_answered_once_in_order_then_there_is_nothing_to_say():
    ledger = ledger_of(3, "0-1 a 2", "0-0 a 1", "0-2 b 1")

    assert problems({"7": ledger}, []) == []


def test_given_an_event_without_a_reply_then_it_is_lost_and_the_nearest_kill_named():
    ledger = ledger_of(3, "0-0 a 1", "0-2 a 2")

    found = problems({"7": ledger}, [Kill("router", at_s=0.5, back_s=1, settled_s=1), Kill("cron", 2.5, 1, 1)])

    assert found == ["event 1 of guild 7 was lost, no reply; router was killed 0.50 s before"]


def test_given_as_many_lines_about_dead_workers_as_missing_replies_then_nothing_is_lost():
    told = ledger_of(3, "0-0 a 1", logs=(DIED, DIED))
    too_few = ledger_of(3, "0-0 a 1", logs=(DIED,))

    assert problems({"7": told}, []) == []
    assert len(problems({"7": too_few}, [])) == 2


def test_given_a_reply_of_which_the_script_knows_nothing_then_it_is_not_lost():
    ledger = ledger_of(2, "0-0 a 1", logs=("unsent 0-1 a 2: the gateway was restarted",))

    assert problems({"7": ledger}, []) == []
    assert ledger.unsent == {1}


def test_given_refused_events_when_no_more_are_missing_then_they_are_not_lost():
    ledgers = {"7": ledger_of(2, "0-0 a 1"), "8": ledger_of(2, "0-1 a 1")}

    assert problems(ledgers, [], shed=2) == []
    assert len(problems(ledgers, [], shed=1)) == 2


def test_given_two_replies_to_an_event_then_it_is_doubled():
    found = problems({"7": ledger_of(1, "0-0 a 1", "0-0 b 1")}, [])

    assert found == ["event 0 of guild 7 was doubled, event 1 of life a and event 1 of life b; no kill"]


@pytest.mark.parametrize(
    "replies", [("0-0 a 2", "0-1 a 1"), ("0-0 a 1", "0-2 a 2", "0-1 b 1")], ids=["one life", "two"]
)
def test_given_an_event_that_started_before_an_earlier_one_then_it_is_disordered(replies):
    found = problems({"7": ledger_of(len(replies), *replies)}, [])

    assert any("disordered" in problem for problem in found)


def test_given_a_part_that_did_not_come_back_or_settle_then_that_is_told():
    found = problems({}, [Kill("http", at_s=3.0), Kill("cron", at_s=9.0, back_s=0.1)])

    assert found == [
        "http, killed at 3 s, did not come back",
        "after the kill of cron at 9 s the system did not settle",
    ]


def test_given_many_lost_events_then_only_the_first_are_listed():
    assert len(problems({"7": ledger_of(100)}, [])) == 4


def test_given_events_of_two_bursts_then_later_ones_have_greater_numbers():
    names = ["0-0", "0-9", "0-10", "1-0", "12-3"]

    assert sorted(names, key=number_of) == names


def test_given_memory_samples_then_the_growth_is_that_of_the_line_through_them():
    assert growth_mb([(0, 100), (10, 110), (20, 120)]) == pytest.approx(20)
    assert growth_mb([(0, 100), (10, 60), (20, 100)]) == pytest.approx(0)
    assert growth_mb([(0, 100)]) == 0


def test_given_a_store_that_counts_on_over_lives_and_gaps_then_there_is_nothing_to_say():
    ledger = ledger_of(3, "0-0 a 1 5", "0-2 b 1 8", "0-1 a 2 6")

    assert problems({"7": ledger}, []) == []


def test_given_a_store_that_goes_back_then_a_write_was_lost():
    found = problems({"7": ledger_of(2, "0-0 v:a 1 5", "0-1 v:b 1 4")}, [])

    (told,) = found
    assert told.startswith("event 1 of guild 7 was miscounted, event 1 of life v:b, 4 by its store; ")
    assert told.endswith("before it event 0: event 1 of life v:a, 5 by its store; no kill")


def test_given_a_version_that_was_loaded_again_when_its_store_goes_back_once_then_there_is_nothing_to_say_but_a_second_time():
    once = ledger_of(2, "0-0 v:a 1 5", "0-1 v:b 1 4")
    twice = ledger_of(3, "0-0 v:a 1 5", "0-1 v:b 1 4", "0-2 v:c 1 3")
    within = ledger_of(2, "0-0 v:a 1 5", "0-1 v:a 2 4")
    for ledger in (once, twice, within):
        ledger.loaded_again = 1

    assert problems({"7": once}, []) == []
    assert once.miscounted == []
    assert twice.miscounted == [2]
    assert within.miscounted == [1]


def test_given_a_count_that_comes_twice_then_somebody_else_wrote_whatever_was_deployed():
    found = problems({"7": ledger_of(2, "0-0 v:a 1 5", "0-1 w:b 1 5")}, [])

    assert [text.split(",")[0] for text in found] == [f"event {n} of guild 7 was miscounted" for n in (0, 1)]


def test_given_another_version_that_begins_while_the_one_before_ends_then_there_is_nothing_to_say():
    ledger = ledger_of(3, "0-0 v:a 1 5", "0-1 v:a 2 7", "0-2 w:b 1 6")

    assert problems({"7": ledger}, []) == []


def test_given_a_job_that_ran_twice_for_one_second_then_it_is_told():
    ledger = ledger_of(0, logs=("tick 1", "tick 2", "tick 2", "tick 3"))

    assert problems({"7": ledger}, []) == ["a job of guild 7 ran twice for 2"]
