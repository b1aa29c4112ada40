"""Strings that no encoding can write."""

from __future__ import annotations

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.output_text import decode_output


def test_given_half_a_surrogate_pair_when_decoded_then_it_becomes_a_replacement_character():
    assert decode_output(rb'{"l":[["info","a\ud800b"],["info","\\ud800 \ud83d\ude00"]]}') == {
        "l": [["info", "a\ufffdb"], ["info", "\\ud800 \U0001f600"]]
    }


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text(st.characters(exclude_categories=())))))
def test_given_any_strings_when_decoded_then_they_can_be_encoded_again(value):
    orjson.dumps(decode_output(json.dumps(value).encode()))
