"""Trace ids: derived for guild events, read from the border for requests."""

from __future__ import annotations

import re

import pytest

from flora.messages.trace import event_trace_id, first_sentence, new_run_id, trace_from_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_given_an_event_number_when_its_trace_is_asked_for_then_every_process_finds_the_same():
    run_id = new_run_id()

    assert re.fullmatch(r"[0-9a-f]{16}", run_id)
    assert event_trace_id(run_id, 255) == f"{run_id}00000000000000ff"
    assert new_run_id() != run_id


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True)])
def test_given_a_traceparent_when_it_is_read_then_trace_caller_and_wish_are_known(flags: str, sampled: bool):
    trace = trace_from_traceparent(f"00-{TRACE}-{SPAN}-{flags}")

    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.sampled) == (TRACE, SPAN, sampled)


def test_given_a_later_version_with_more_fields_when_it_is_read_then_what_is_known_of_it_counts():
    trace = trace_from_traceparent(f"01-{TRACE}-{SPAN}-01-something-new")

    assert trace is not None
    assert trace.trace_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_given_a_malformed_traceparent_when_it_is_read_then_it_counts_for_nothing(header: str):
    assert trace_from_traceparent(header) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("refused", "refused"),
        ("Error: x\n    at bundle.js:1:7\n    at more.js:2:2", "Error: x (bundle.js:1:7)"),
        ("Error: x\n    at load (src/main.ts:12:3)", "Error: x (src/main.ts:12:3)"),
        ("Error: x\nconst secret = 1", "Error: x"),
        ("a" * 300, "a" * 200 + " …"),
    ],
)
def test_given_the_text_of_an_error_then_a_trace_gets_its_first_line_and_its_place(text: str, sentence: str):
    assert first_sentence(text) == sentence
