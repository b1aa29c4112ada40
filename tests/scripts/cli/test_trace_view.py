"""What `flora trace` shows, letter by letter, and what it writes for other tools."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import UTC
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flora.scripts.cli.trace_chrome import chrome_trace
from flora.scripts.cli.trace_following import LONGEST_S, QUIET_S, Settling
from flora.scripts.cli.trace_view import Look, list_line, took
from flora.scripts.cli.trace_waterfall import waterfall
from flora.storage.trace_otlp import export_json, export_request
from flora.storage.trace_query import Trace, put_together, trace_of
from flora.storage.trace_record import TraceRecord

EVENT = "5f3a9c1be2d04471" + f"{1234:016x}"
AT_US = 1_790_000_000_000_000
GUILD = "123456789012345678"


def a_hop(span: int, parent: int = 0, process: str = "worker 0", **facts: Any) -> TraceRecord:
    known = {
        "trace": EVENT,
        "name": "isolate.run",
        "kind": "event",
        "guild_id": GUILD,
        "event": "messageCreate",
        **facts,
    }
    known["at_us"] = AT_US + known.pop("at", 0)
    known["took_us"] = known.pop("took", 50)
    return TraceRecord(span=f"{span:016x}", parent=f"{parent:016x}" if parent else "", process=process, **known)


def a_trace(*hops: TraceRecord) -> Trace:
    return trace_of(hops[0].trace, hops)


THREW = a_trace(
    a_hop(1, 0, "gateway", name="gateway.receive", took=200, attrs={"seq": 1234}),
    a_hop(2, 1, "router", name="router.dispatch", at=1000, took=100, queued_us=500),
    a_hop(3, 2, at=12_000, took=28_000, queued_us=2000, outcome="threw", why="TypeError: x is not a function (main.ts:3:5)"),
    a_hop(4, 3, "gateway", name="rest POST /channels/{id}/messages", at=14_000, took=20_000, queued_us=1000, event="",
          outcome="DISCORD_ERROR", why="Missing Access", attrs={"status": 403, "rate_limit_wait_us": 4000, "retried": True}),
)  # fmt: skip

PICTURE = """\
messageCreate of guild 123456789012345678: threw, 40 ms
2026-09-21 14:13:20.000 UTC, 4 hops in 3 processes, trace 5f3a9c1be2d0447100000000000004d2
TypeError: x is not a function (main.ts:3:5)

process  hop                                     0           40 ms     waited     took
gateway  gateway.receive messageCreate           █                              200 µs
           seq 1234
router     router.dispatch                       █                     500 µs   100 µs
             … 8.9 ms later
worker 0     isolate.run                             ░████████████     2.0 ms    28 ms  threw
gateway        rest POST /channels/{id}/messages      ░░███████        1.0 ms    20 ms  DISCORD_ERROR
                 Missing Access
                 status 403, rate limit wait 4.0 ms, retried true

░ waited  █ handled  blank before: on its way, or where nobody measures"""


def test_given_a_trace_then_its_waterfall_shows_who_waited_who_worked_and_what_went_wrong() -> None:
    assert "\n".join(waterfall(THREW, Look(columns=101, zone=UTC))) == PICTURE


def test_given_room_beside_it_then_the_facts_of_a_hop_stand_there() -> None:
    lines = waterfall(a_trace(THREW.hops[0]), Look(columns=110, zone=UTC))

    assert lines[4] == "gateway gateway.receive messageCreate " + "█" * 42 + "              200 µs  seq 1234"


@pytest.mark.parametrize("columns", [60, 80, 101, 200])
def test_given_a_terminal_of_any_width_then_no_hop_is_wider_than_it(columns: int) -> None:
    lines = waterfall(THREW, Look(columns=columns, zone=UTC))

    table = lines[lines.index("") + 1 :]
    assert max(len(line) for line in table[: table.index("")]) <= columns


def test_given_a_terminal_without_blocks_then_it_is_plain_letters() -> None:
    assert (
        "".join(waterfall(THREW, Look(columns=101, blocks=False, zone=UTC))[5:])
        .replace("µ", "u")
        .replace("…", "")
        .isascii()
    )


def test_given_colours_then_what_failed_is_red_and_what_was_not_let_through_yellow() -> None:
    shed = a_trace(a_hop(1, 0, "router", outcome="shed"))

    assert "\x1b[31mthrew" in list_line(THREW, Look(colour=True), "2026-09-21")
    assert "\x1b[33mshed" in list_line(shed, Look(colour=True), "2026-09-21")
    assert "\x1b[31mthrew\x1b[0m" in waterfall(THREW, Look(colour=True))[0]


def test_given_a_trace_in_a_list_then_one_line_says_when_whose_what_how_and_how_long() -> None:
    line = list_line(THREW, Look(zone=UTC), "2026-09-21")

    assert line.split() == ["14:13:20.000", GUILD, "messageCreate", "threw", "40", "ms", "4", "hops", "5f3a-0004d2"]
    assert list_line(THREW, Look(zone=UTC), "2026-09-22").startswith("09-21 14:13:20.000")


def test_given_a_hop_whose_cause_nobody_wrote_down_then_it_says_so() -> None:
    lines = waterfall(a_trace(a_hop(3, 2, outcome="timed_out")), Look(zone=UTC))

    assert any(line.startswith("1 hop came from one that is not here") for line in lines)


def test_given_a_failure_without_a_reason_then_it_says_where_to_look_for_one() -> None:
    guilds = waterfall(a_trace(a_hop(1, outcome="threw")), Look(zone=UTC))
    nobodys = waterfall(a_trace(a_hop(1, outcome="REFUSED", guild_id="")), Look(zone=UTC))

    assert guilds[-1] == (
        f"what was said meanwhile: flora logs --guild {GUILD} --since 2026-09-21T14:13:19Z --until 2026-09-21T14:13:22Z"
    )
    assert nobodys[-1] == f"look for trace_id {EVENT} in the process log"


def test_given_hops_that_cause_each_other_in_a_circle_then_all_are_shown() -> None:
    lines = waterfall(
        a_trace(a_hop(1, 2, name="one"), a_hop(2, 1, name="two"), a_hop(3, 3, name="three")), Look(zone=UTC)
    )

    assert all(any(f" {name} " in line for line in lines) for name in ("one", "two", "three"))


def test_given_what_a_stranger_may_have_named_then_no_control_character_reaches_the_terminal() -> None:
    trace = a_trace(
        a_hop(1, event="\x1b[2J", why="\x07", outcome="threw", attrs={"\x1bkey": "\x1b]0;x"}, process="\x9b")
    )

    text = "".join([*waterfall(trace, Look(zone=UTC)), list_line(trace, Look(zone=UTC), "")])

    assert not {"\x1b", "\x07", "\x9b"} & set(text)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (4249, "4.2 ms"),
        (9960, "10 ms"),
        (999_400, "999 ms"),
        (1_250_000, "1.25 s"),
        (95_000_000, "95 s"),
    ],
)
def test_given_microseconds_then_they_are_short(us: int, text: str) -> None:
    assert took(us) == text


def test_given_hops_that_come_when_nothing_more_does_then_the_trace_is_shown_once_and_again_only_if_it_failed_after() -> (
    None
):
    settling = Settling()
    settling.take([a_hop(1)], 0.0)
    assert settling.settled(QUIET_S / 2) == []

    (shown,) = settling.settled(QUIET_S)
    settling.take([a_hop(2, 1)], 5.0)
    assert settling.settled(5.0 + QUIET_S) == []
    settling.take([a_hop(3, 1, outcome="threw")], 9.0)
    (again,) = settling.settled(9.0 + QUIET_S)

    assert (shown.outcome, again.outcome) == ("ok", "threw")
    assert len(again.hops) == 2


def test_given_hops_that_never_cease_then_the_trace_is_shown_nevertheless() -> None:
    settling = Settling()
    shown = []
    for number in range(200):
        settling.take([a_hop(number + 1)], number / 10)
        shown += settling.settled(number / 10)

    assert len(shown) == 1
    assert len(shown[0].hops) == pytest.approx(LONGEST_S * 10, abs=2)


HOPS = st.lists(
    st.builds(
        a_hop,
        span=st.integers(1, 12),
        parent=st.integers(0, 12),
        process=st.sampled_from(["gateway", "router", "worker 0"]),
        at=st.integers(0, 1000),
        took=st.integers(0, 400),
        queued_us=st.integers(0, 200),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40)
@given(hops=HOPS, columns=st.integers(70, 160))
def test_given_any_hops_then_each_has_its_line_in_the_waterfall_and_none_is_too_wide(
    hops: list[TraceRecord], columns: int
) -> None:
    (trace,) = put_together(hops)

    lines = waterfall(trace, Look(columns=columns, zone=UTC))

    begins = lines.index("") + 2
    table = lines[begins : lines.index("", begins)]
    assert len([line for line in table if "isolate.run" in line]) == len(trace.hops)
    assert max(map(len, table)) <= columns


@settings(max_examples=40)
@given(hops=HOPS)
def test_given_any_hops_when_exported_for_chrome_then_slices_of_a_thread_do_not_overlap_and_arrows_have_both_ends(
    hops: list[TraceRecord],
) -> None:
    events = chrome_trace(put_together(hops))["traceEvents"]

    threads: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for slices in threads.values():
        slices.sort()
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(slices))
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert set(threads) == named
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert starts.keys() == ends.keys()
    for key, start in starts.items():
        assert start["ts"] <= ends[key]["ts"]
        assert start["pid"] != ends[key]["pid"]
        assert any(begin <= start["ts"] <= end for begin, end in threads[start["pid"], start["tid"]])


def test_given_a_trace_when_exported_for_chrome_then_waits_are_slices_and_processes_have_names() -> None:
    events = chrome_trace([THREW])["traceEvents"]

    assert {event["args"]["name"] for event in events if event["name"] == "process_name"} == {
        "gateway",
        "router",
        "worker 0",
    }
    waits = [event for event in events if event.get("cat") == "wait"]
    assert [(event["name"], event["dur"]) for event in waits] == [
        ("waits for router.dispatch", 500),
        ("waits for isolate.run", 2000),
        ("waits for rest POST /channels/{id}/messages", 1000),
    ]
    assert len([event for event in events if event["ph"] == "s"]) == 3


def test_given_a_trace_when_exported_as_otlp_then_the_official_classes_read_it() -> None:
    document = export_json(THREW.hops)

    by_name = {
        span["name"]: span
        for part in document["resourceSpans"]
        for scope in part["scopeSpans"]
        for span in scope["spans"]
    }
    run, rest = by_name["isolate.run"], by_name["rest POST /channels/{id}/messages"]
    assert (run["traceId"], run["spanId"], run["parentSpanId"]) == (EVENT, f"{3:016x}", f"{2:016x}")
    assert run["status"] == {"code": 2, "message": "TypeError: x is not a function (main.ts:3:5)"}
    assert int(run["endTimeUnixNano"]) - int(run["startTimeUnixNano"]) == 28_000_000
    assert rest["kind"] == 3
    assert {"key": "flora.status", "value": {"intValue": "403"}} in rest["attributes"]

    for span in by_name.values():  # protobuf's own JSON has bytes in base64
        span.pop("traceId"), span.pop("spanId"), span.pop("parentSpanId", "")
    read = ParseDict(document, ExportTraceServiceRequest())
    assert sorted(part.resource.attributes[2].value.string_value for part in read.resource_spans) == [
        "gateway",
        "router",
        "worker 0",
    ]


FACTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(max_examples=20)
@given(attrs=st.dictionaries(st.text(max_size=5), FACTS, max_size=4))
def test_given_any_facts_when_exported_as_otlp_then_it_can_be_sent(attrs: dict[str, Any]) -> None:
    request = export_request([a_hop(1, 2, attrs=attrs, outcome="threw")], "abc")

    assert ExportTraceServiceRequest.FromString(request.SerializeToString()) == request
