"""Messages that came to nothing: each kind is told of, none floods."""

from __future__ import annotations

import logging

import pytest

from flora.actors.strays import REFUSED, UNDELIVERABLE, Strays
from flora.messages.base import TraceContext
from flora.messages.trace import new_span_id, new_trace_id
from flora.storage.trace_record import TraceRecord


class Desk:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.kept: list[TraceRecord] = []
        self.strays = Strays("router", self.kept.append, lambda: self.now_s)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_given_a_message_of_a_trace_when_nobody_takes_it_then_line_and_record_say_where_and_why(desk, caplog):
    trace = TraceContext(trace_id=new_trace_id(), span_id=new_span_id())

    desk.strays.note(UNDELIVERABLE, "LoadGuild", "its receiver is gone", trace=trace, guild_id="7")

    (record,) = desk.kept
    assert (record.trace, record.parent, record.process) == (trace.trace_id, trace.span_id, "router")
    assert (record.name, record.kind, record.outcome) == ("LoadGuild", "message", "undeliverable")
    assert (record.guild_id, record.why) == ("7", "its receiver is gone")
    (line,) = caplog.records
    assert line.getMessage() == "LoadGuild undeliverable: its receiver is gone"
    assert (line.trace_id, line.guild_id, line.action) == (trace.trace_id, "7", "undeliverable")


def test_given_a_refused_packet_then_its_record_stands_in_a_trace_of_its_own(desk):
    desk.strays.packet_refused("wrong signature", "127.0.0.1:9", 40)
    desk.strays.packet_refused("wrong signature", "127.0.0.1:9", 40)

    first, second = desk.kept
    assert (first.kind, first.attrs) == ("refused", {"peer": "127.0.0.1:9", "bytes": 40})
    assert first.trace != second.trace


def test_given_a_flood_of_one_kind_then_few_are_told_of_the_rest_is_counted_and_others_are_told_of_all_the_same(
    desk, caplog
):
    for _ in range(1_000):
        desk.strays.note(REFUSED, "packet", "wrong signature")
    desk.strays.note(REFUSED, "DispatchFrame", "it is of a router that is gone")
    desk.now_s = 1.0
    desk.strays.note(REFUSED, "packet", "wrong signature")

    assert [record.name for record in desk.kept] == ["packet"] * 5 + ["DispatchFrame", "packet"]
    assert desk.kept[-1].attrs == {"suppressed": 995}
    assert len(caplog.records) == 7
    assert desk.strays.counts[REFUSED, "packet"] == 1_001


def test_given_endlessly_many_kinds_then_memory_and_lines_are_bounded(desk, caplog):
    caplog.set_level(logging.CRITICAL)

    for number in range(5_000):
        desk.strays.note(UNDELIVERABLE, f"Class{number}", "")

    assert len(desk.strays.counts) < 300
    assert len(desk.kept) < 300
