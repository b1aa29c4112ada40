"""Traces from their hops: what they are about, how they ended, who may see what, and which are wanted."""

from __future__ import annotations

import pytest

from flora.storage.trace_query import (
    Trace,
    TraceFilter,
    details,
    only_for,
    put_together,
    short_id,
    split_id,
    summary,
    trace_from,
    trace_of,
)
from flora.storage.trace_record import TraceRecord

EVENT = "5f3a9c1be2d04471" + f"{1234:016x}"


def a_hop(span: int, parent: int = 0, **facts: object) -> TraceRecord:
    known = {
        "trace": EVENT,
        "name": "isolate.run",
        "at_us": span * 100,
        "took_us": 50,
        "guild_id": "1",
        "kind": "event",
        **facts,
    }
    return TraceRecord(span=f"{span:016x}", parent=f"{parent:016x}" if parent else "", **known)  # type: ignore[arg-type]


def a_trace(*hops: TraceRecord) -> Trace:
    return trace_of(EVENT, hops)


def test_given_hops_in_any_order_when_put_together_then_each_is_there_once_and_the_newest_trace_is_first() -> None:
    other = a_hop(9, trace="0" * 31 + "1")
    traces = put_together([a_hop(2, 1), a_hop(1), a_hop(2, 1), other])

    assert [trace.trace_id for trace in traces] == [other.trace, EVENT]
    assert [hop.span for hop in traces[1].hops] == [f"{1:016x}", f"{2:016x}"]


def test_given_a_wait_before_the_first_hop_then_the_trace_took_that_long_more() -> None:
    trace = a_trace(a_hop(10, at_us=1000, queued_us=300), a_hop(11, 10, at_us=2000, took_us=500))

    assert (trace.starts_us, trace.took_us) == (700, 1800)


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        (("ok", "ok", "ok"), "ok"),
        (("ok", "threw", "ok"), "threw"),
        (("BUILD_FAILED", "died", "ok"), "BUILD_FAILED"),
        (("ok", "shed", "threw"), "threw"),
        (("ok", "held", "ok"), "held"),
        (("ok", "threw", "held"), "threw"),
    ],
)
def test_given_outcomes_of_its_hops_then_the_trace_ended_as_its_root_else_as_the_last_that_failed(
    outcomes: tuple[str, ...], outcome: str
) -> None:
    hops = [a_hop(number + 1, number, outcome=each, why=f"because {each}") for number, each in enumerate(outcomes)]

    assert a_trace(*hops).outcome == outcome
    assert a_trace(*hops).why == f"because {outcome}"


def test_given_a_root_that_failed_without_a_reason_then_the_reason_of_the_hop_that_failed_the_same_way_is_given() -> (
    None
):
    trace = a_trace(
        a_hop(1, outcome="BUILD_FAILED"), a_hop(2, 1, outcome="BUILD_FAILED", why="main.ts:3:5 ';' expected")
    )

    assert trace.why == "main.ts:3:5 ';' expected"


TRACE = a_trace(
    a_hop(1, name="gateway.receive", event="messageCreate"),
    a_hop(2, 1, outcome="threw", took_us=9900, event="messageCreate"),
)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"guild_id": "1"}, True),
        ({"guild_id": "2"}, False),
        ({"event": "messagecreate"}, True),
        ({"event": "message*"}, True),
        ({"event": "gateway.*"}, True),
        ({"event": "message"}, False),
        ({"kind": "event"}, True),
        ({"kind": "cron"}, False),
        ({"outcome": "ok"}, False),
        ({"outcome": "failed"}, True),
        ({"outcome": "THREW"}, True),
        ({"outcome": "dropped"}, False),
        ({"since_us": 100}, True),
        ({"since_us": 101}, False),
        ({"until_us": 100}, False),
        ({"slower_than_us": 9999}, True),
        ({"slower_than_us": 10_000}, False),
    ],
)
def test_given_a_filter_then_it_says_whether_a_trace_is_wanted(wanted: dict[str, object], matches: bool) -> None:
    assert TraceFilter(**wanted).matches(TRACE) is matches  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["shed", "no_isolate", "undeliverable", "dropped"])
def test_given_an_event_that_was_dropped_for_whatever_reason_then_one_word_finds_it(outcome: str) -> None:
    assert TraceFilter(outcome="dropped").matches(a_trace(a_hop(1, outcome=outcome)))


def test_given_an_event_that_was_held_and_went_on_then_it_has_not_failed() -> None:
    held = a_trace(a_hop(1), a_hop(2, 1, outcome="held"))

    assert TraceFilter(outcome="ok").matches(held)
    assert not TraceFilter(outcome="failed").matches(held)
    assert TraceFilter(outcome="held").matches(held)


def test_given_a_guilds_administrator_then_hops_of_other_guilds_are_not_shown() -> None:
    trace = a_trace(a_hop(1, guild_id=""), a_hop(2, 1, guild_id="7"), a_hop(3, 1, guild_id="8"))

    seen = only_for(trace, "7")

    assert seen is not None
    assert [hop.guild_id for hop in seen.hops] == ["", "7"]
    assert only_for(trace, "9") is None
    assert only_for(a_trace(a_hop(1, guild_id="")), "9") is None


@pytest.mark.parametrize(
    ("trace_id", "short"),
    [
        (EVENT, "5f3a-0004d2"),
        ("5f3a9c1be2d04471" + "0" * 16, "5f3a-000000"),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f35"),
    ],
)
def test_given_an_id_then_its_short_form_leads_back_to_it(trace_id: str, short: str) -> None:
    assert short_id(trace_id) == short
    begins, ends = split_id(short) or ("?", "?")
    assert trace_id.startswith(begins)
    assert trace_id.endswith(ends)


@pytest.mark.parametrize("text", ["", "xyz", "-", "-4d2", "5f3a-", "a" * 33, "a-b-c", "5f3a-" + "1" * 29, "../x"])
def test_given_something_else_then_it_is_no_id(text: str) -> None:
    assert split_id(text) is None


def test_given_a_trace_as_programs_see_it_then_it_can_be_put_together_again() -> None:
    assert trace_from(details(TRACE)) == TRACE
    assert trace_from({"records": []}) is None
    assert summary(TRACE) == {
        "trace_id": EVENT, "id": "5f3a-0004d2", "at_us": 100, "took_us": 10_000, "guild_id": "1", "kind": "event",
        "what": "messageCreate", "outcome": "threw", "why": "", "hops": 2, "processes": [""],
    }  # fmt: skip
