"""Rings: per guild, bounded, in order."""

from __future__ import annotations

import pytest

from flora.actors.log_book import RING_LINES, LogRings


def fill(rings: LogRings, guild_id: str, count: int, level: str = "info") -> None:
    for number in range(count):
        rings.add(number, level, "flora:js", guild_id, f"line {number}")


@pytest.mark.scenario("T67")
def test_given_a_noisy_guild_when_read_then_the_quiet_one_still_has_its_line():
    rings = LogRings()
    fill(rings, "quiet", 1)
    fill(rings, "noisy", 1001)

    assert len(rings.read("quiet", 100)) == 1
    assert [len(rings.read("noisy", n)) for n in (0, 100, 1000, 5000)] == [0, 100, 1000, 1000]
    assert [e["message"] for e in rings.read("noisy", 2)] == ["line 999", "line 1000"]
    assert rings.read("noisy", RING_LINES)[0]["message"] == "line 1"


def test_given_levels_when_read_then_only_those_at_or_above_come():
    rings = LogRings()
    fill(rings, "g", 1, "debug")
    fill(rings, "g", 1, "error")

    assert [e["level"] for e in rings.read("g", 10, "warn")] == ["error"]
    assert [e["level"] for e in rings.read("g", 10)] == ["debug", "error"]


def test_given_a_reader_that_comes_back_when_it_names_its_last_line_then_it_gets_what_came_after():
    rings = LogRings()
    fill(rings, "g", 3)
    last_seen = rings.read("g", 10)[0]["id"]

    assert [e["message"] for e in rings.read("g", 10, after_id=last_seen)] == ["line 1", "line 2"]
    assert rings.read("unknown", 10) == []
