"""What authors see of errors."""

from __future__ import annotations

import json

import pytest

from flora.actors.isolate.error_text import INTERNAL_MARKERS, ErrorText, hide_internal_frames, script_url

URL = script_url("42")
# Generated line 1: src/main.ts 12:5 from column 1. Line 2: nothing. Line 3: src/util.ts 1:1.
MAP = json.dumps({"version": 3, "sources": ["src/main.ts", "src/util.ts"], "names": [], "mappings": "AAWI;;ACXJ"})


@pytest.mark.scenario("T69")
def test_given_two_internal_frames_when_shown_then_they_are_hidden_and_counted() -> None:
    text = "Error: boom\n    at run (flora:prelude:3:9)\n    at main.ts:1:1\n    at on (FLORA:SDK:8:1)"

    assert hide_internal_frames(text) == (
        "Error: boom\n    at main.ts:1:1\n"
        "    ... 2 internal frame(s) hidden (set RUNTIME_SHOW_INTERNAL_STACK_FRAMES=true to show)"
    )


@pytest.mark.scenario("T69")
def test_given_the_flag_when_shown_then_unchanged() -> None:
    text = "Error: boom\n    at run (flora:prelude:3:9)"

    assert hide_internal_frames(text, show_internal=True) == text


@pytest.mark.scenario("T69")
@pytest.mark.parametrize("marker", INTERNAL_MARKERS)
def test_the_first_line_stays_whatever_it_says(marker: str) -> None:
    assert hide_internal_frames(f"Error: {marker} is odd") == f"Error: {marker} is odd"
    assert hide_internal_frames(f"Error\n  {marker.upper()}").count("\n") == 1
    assert "1 internal frame(s)" in hide_internal_frames(f"Error\n  {marker.upper()}")


def test_given_no_internal_frames_when_shown_then_no_notice() -> None:
    assert hide_internal_frames("Error: boom\n    at src/a.ts:1:1") == "Error: boom\n    at src/a.ts:1:1"


def test_given_a_map_when_rendered_then_places_are_the_authors() -> None:
    text = f"TypeError: no\n    at reply ({URL}:2:7)\n    at async {URL}:4:1"

    assert ErrorText.of("42", MAP).render(text) == (
        "TypeError: no\n    at reply (src/main.ts:12:5)\n    at async src/util.ts:1:1"
    )


def test_given_no_map_when_rendered_then_places_are_the_bundles_without_our_first_line() -> None:
    assert ErrorText.of("42", None).render(f"E\n    at {URL}:2:7") == "E\n    at bundle.js:1:7"
    assert ErrorText.of("42", None, lines_before=3).render(f"E\n    at {URL}:9:7") == "E\n    at bundle.js:6:7"


def test_given_a_map_that_is_junk_when_rendered_then_as_without() -> None:
    assert ErrorText.of("42", "{").render(f"E at {URL}:2:7") == "E at bundle.js:1:7"


def test_given_frames_between_modules_when_rendered_then_they_count_as_ours() -> None:
    text = f"E\n    at {URL}:2:7\n    at Generator.next (<anonymous>)\n    at {URL}:3:5"

    rendered = ErrorText.of("42", MAP).render(text)

    assert rendered.startswith("E\n    at src/main.ts:12:5\n    ... 2 internal frame(s) hidden")
    assert "flora:linker" in ErrorText.of("42", MAP).render(text, show_internal=True)


def test_given_a_place_with_a_line_only_when_rendered_then_the_line_is_mapped() -> None:
    assert ErrorText.of("42", MAP).render(f"{URL}:2: SyntaxError") == "src/main.ts:12: SyntaxError"


def test_places_of_other_guilds_are_left_alone() -> None:
    text = f"E\n    at {script_url('421')}:2:7 {script_url('4')}:1:1"

    assert ErrorText.of("42", MAP).render(text) == text


def test_given_a_guild_id_with_odd_characters_when_rendered_then_it_is_not_a_pattern() -> None:
    assert ErrorText.of("4.", MAP).render(f"E\n at {script_url('42')}:2:7").endswith("/42/bundle.js:2:7")


def test_given_an_endless_message_when_rendered_then_it_is_cut() -> None:
    assert len(ErrorText.of("42", MAP).render("x" * 1_000_000)) < 70_000


@pytest.mark.parametrize("text", ["\n" * 60_000, "    at " + "x" * 60_000, "    at " * 9_000])
def test_hostile_texts_cost_little(text: str) -> None:
    assert ErrorText.of("42", MAP).render(text) is not None
