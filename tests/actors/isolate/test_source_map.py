"""Source maps from friends and strangers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.source_map import (
    InvalidSourceMap,
    SourceMap,
    SourcePosition,
    decode_vlq,
    encode_vlq,
    relative_source,
    shift_mappings,
)

BASE = "file:///guild/42/"
POSITIONS = st.integers(min_value=0, max_value=100_000)


def _map(**fields: Any) -> str:
    return json.dumps({"version": 3, "sources": ["src/main.ts"], "names": [], "mappings": "AAAA"} | fields)


@given(st.lists(st.integers(min_value=-(2**31), max_value=2**31)))
def test_given_any_values_when_encoded_then_they_decode_to_themselves(values: list[int]) -> None:
    assert decode_vlq(encode_vlq(values)) == tuple(values)


@pytest.mark.parametrize(
    ("text", "values"), [("AAAA", (0, 0, 0, 0)), ("gB", (16,)), ("D", (-1,)), ("2HwcqxB", (123, 456, 789))]
)
def test_known_segments_decode_as_others_encode_them(text: str, values: tuple[int, ...]) -> None:
    assert decode_vlq(text) == values


@pytest.mark.parametrize("junk", ["!", "g", "AAAAg", "ggggggggggggggggA", "é"])
def test_given_junk_digits_when_decoded_then_refused(junk: str) -> None:
    with pytest.raises(InvalidSourceMap):
        decode_vlq(junk)


@given(
    st.lists(
        st.lists(st.tuples(POSITIONS, POSITIONS, POSITIONS), max_size=5, unique_by=lambda one: one[0]).map(sorted),
        max_size=8,
    )
)
def test_given_any_mapping_when_looked_up_then_each_segment_is_found(lines: list[list[tuple[int, int, int]]]) -> None:
    source_map = SourceMap(_map(mappings=_encode(lines)), BASE)

    for number, line in enumerate(lines, start=1):
        assert source_map.has_line(number) == bool(line)
        for column, source_line, source_column in line:
            expected = SourcePosition(BASE + "src/main.ts", source_line + 1, source_column + 1)
            assert source_map.lookup(number, column + 1) == expected


def _encode(lines: list[list[tuple[int, int, int]]]) -> str:
    texts = []
    source_line = source_column = 0
    for line in lines:
        column = 0
        segments = []
        for at, to_line, to_column in line:
            segments.append(encode_vlq((at - column, 0, to_line - source_line, to_column - source_column)))
            column, source_line, source_column = at, to_line, to_column
        texts.append(",".join(segments))
    return ";".join(texts)


def test_given_a_place_between_segments_when_looked_up_then_the_one_before_counts() -> None:
    source_map = SourceMap(_map(mappings="EAAA,IACA"))  # columns 2 and 6, source lines 0 and 1

    assert source_map.lookup(1, 2) is None
    assert source_map.lookup(1, 6) == SourcePosition("src/main.ts", 1, 1)
    assert source_map.lookup(1, 900) == SourcePosition("src/main.ts", 2, 1)
    assert source_map.lookup(1, None) == SourcePosition("src/main.ts", 1, 1)
    assert source_map.lookup(2, 1) is None
    assert source_map.lookup(0, 1) is None


def test_given_names_when_looked_up_then_told() -> None:
    found = SourceMap(_map(names=["reply"], mappings="AAAAA")).lookup(1, 1)

    assert found is not None
    assert found.name == "reply"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"sources": 1}', '{"mappings": {}}', '{"names": [1]}', "[" * 100_000]
)
def test_given_no_map_when_read_then_the_message_says_so(text: str) -> None:
    with pytest.raises(InvalidSourceMap, match=r"^invalid source map JSON: "):
        SourceMap(text)


def test_given_junk_in_one_line_when_looked_up_then_only_what_comes_before_is_mapped() -> None:
    source_map = SourceMap(_map(mappings="AAAA;!!!!;AACA"))

    assert source_map.lookup(1, 1) == SourcePosition("src/main.ts", 1, 1)
    assert source_map.lookup(2, 1) is None
    assert source_map.lookup(3, 1) is None


@pytest.mark.parametrize("mappings", ["AZAA", "AAZA", "ADAA", "AAAD"])
def test_given_positions_outside_the_sources_when_looked_up_then_nothing(mappings: str) -> None:
    assert SourceMap(_map(mappings=mappings)).lookup(1, 1) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("src/main.ts", "file:///guild/42/src/main.ts"),
        ("./src/../lib/a.ts", "file:///guild/42/lib/a.ts"),
        ("../../etc/passwd", "file:///guild/42/etc/passwd"),
        ("file:///guild/7/x.ts", "file:///guild/7/x.ts"),
        ("https://example.com/x.ts", "https://example.com/x.ts"),
        ("/abs/x.ts", "/abs/x.ts"),
    ],
)
def test_relative_sources_become_urls_below_the_guild(source: str, expected: str) -> None:
    assert SourceMap(_map(sources=[source]), BASE).sources == [expected]


def test_given_a_source_root_when_read_then_it_is_folded_in() -> None:
    source_map = SourceMap(_map(sourceRoot="app/", sources=["main.ts", None]), BASE)

    assert source_map.sources == [BASE + "app/main.ts", BASE + "app"]


@given(st.text())
def test_given_any_source_when_made_relative_then_it_is_one_line_and_stays_inside(source: str) -> None:
    relative = relative_source(source)

    assert ".." not in relative.split("/")
    assert len(relative.splitlines()) <= 1 or not set(relative) & set("\n\r\u2028\u2029")


def test_given_edits_when_shifted_then_what_follows_them_on_the_line_moves() -> None:
    moved = SourceMap(_map(mappings=shift_mappings("AAAA,KACA;AACA", {0: [(3, 10)]})))

    assert moved.lookup(1, 1) == SourcePosition("src/main.ts", 1, 1)
    assert moved.lookup(1, 16) == SourcePosition("src/main.ts", 2, 1)
    assert moved.lookup(1, 15) == SourcePosition("src/main.ts", 1, 1)
    assert moved.lookup(2, 1) == SourcePosition("src/main.ts", 3, 1)
