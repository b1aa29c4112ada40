"""Lines of trace files: what is written can be read, what cannot be read is no record."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.storage.trace_record import MAX_LINE_BYTES, TraceRecord, as_dict, from_dict, from_line, to_line
from flora.storage.trace_tidy import guild_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MICROSECONDS = st.integers(0, 2**53)
RECORDS = st.builds(
    TraceRecord,
    trace=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    span=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    name=TEXT,
    at_us=MICROSECONDS,
    parent=TEXT,
    process=TEXT,
    kind=TEXT,
    queued_us=MICROSECONDS,
    took_us=MICROSECONDS,
    outcome=TEXT,
    guild_id=st.from_regex(r"[0-9]{0,20}", fullmatch=True),
    event=TEXT,
    why=TEXT,
    attrs=st.dictionaries(st.sampled_from(["status", "guild_id", "route"]), TEXT | st.integers(0, 2**53), max_size=3),
)


def a_record(**changes: object) -> TraceRecord:
    facts = {"trace": "a" * 32, "span": "b" * 16, "name": "isolate.run", "at_us": 5, **changes}
    return TraceRecord(**facts)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(record=RECORDS)
def test_given_any_record_when_written_and_read_then_it_is_the_same(record: TraceRecord) -> None:
    assert from_line(to_line(record)) == record
    assert from_dict(as_dict(record)) == record


@settings(max_examples=30)
@given(record=RECORDS)
def test_given_any_record_when_its_guild_is_looked_for_in_the_line_then_it_is_its_own(record: TraceRecord) -> None:
    assert guild_of(to_line(record)) == record.guild_id


@settings(max_examples=30)
@given(record=RECORDS, cut=st.integers(1, 60))
def test_given_a_torn_line_when_read_then_it_is_no_record(record: TraceRecord, cut: int) -> None:
    assert from_line(to_line(record).rstrip(b"\n")[:-cut]) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"trace":"zz","span":"bbbbbbbbbbbbbbbb","name":"x","at_us":1}',
        b'{"trace":"%s","span":"%s","name":7,"at_us":1}' % (b"a" * 32, b"b" * 16),
        b'{"trace":"%s","span":"%s","name":"x","at_us":-1}' % (b"a" * 32, b"b" * 16),
        b'{"trace":"%s","span":"%s","name":"x","at_us":true}' % (b"a" * 32, b"b" * 16),
        b'{"trace":"%s","span":"%s","name":"x","at_us":1,"took_us":"2"}' % (b"a" * 32, b"b" * 16),
        b'{"trace":"%s","span":"%s","name":"x","at_us":1,"attrs":[]}' % (b"a" * 32, b"b" * 16),
        b'{"trace":"%s","span":"%s","name":"x","at_us":1,"outcome":null}' % (b"a" * 32, b"b" * 16),
    ],
)
def test_given_something_else_when_read_then_it_is_no_record(line: bytes) -> None:
    assert from_line(line) is None


def test_given_a_newer_flora_that_knows_more_when_read_then_the_rest_is_there() -> None:
    line = to_line(a_record()).replace(b'"process"', b'"zone":"b","process"')

    assert from_line(line) == a_record()


def test_given_far_too_much_when_written_then_the_line_is_bounded_and_says_what_matters() -> None:
    record = a_record(why="because " * 5000, attrs={"all": "x" * 100_000}, outcome="threw", guild_id="1")

    line = to_line(record)

    assert len(line) <= MAX_LINE_BYTES
    read = from_line(line)
    assert read is not None
    assert (read.outcome, read.guild_id, read.why[:7]) == ("threw", "1", "because")
