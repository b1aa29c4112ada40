"""Rings and files: per guild, bounded, in order, there after any death."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors import log_rings
from flora.actors.log_rings import RING_BYTES, RING_LINES, LogRings
from flora.messages.logs import LogFilter
from flora.storage.guild_logs import LogFiles

MB = 1 << 20


def fill(rings: LogRings, guild_id: str, count: int, level: str = "info", target: str = "flora:js") -> None:
    rings.add_all([(number, level, target, guild_id, f"line {number}") for number in range(count)])


def messages(rings: LogRings, guild_id: str | None, limit: int = 1000, **wanted: object) -> list[str]:
    return [entry["message"] for entry in rings.read(guild_id, limit, LogFilter(**wanted))]  # type: ignore[arg-type]


# In memory


@pytest.mark.scenario("T67")
def test_given_a_noisy_guild_when_read_then_the_quiet_one_still_has_its_line():
    rings = LogRings()
    fill(rings, "quiet", 1)
    fill(rings, "noisy", 1001)

    assert len(rings.read("quiet", 100)) == 1
    assert [len(rings.read("noisy", n)) for n in (0, 100, 1000, 5000)] == [0, 100, 1000, 1000]
    assert messages(rings, "noisy", 2) == ["line 999", "line 1000"]
    assert messages(rings, "noisy", RING_LINES)[0] == "line 1"


def test_given_lines_of_many_kinds_when_read_with_a_filter_then_only_those_come():
    rings = LogRings()
    fill(rings, "1", 3, "debug")
    fill(rings, "1", 2, "error", "flora:runtime")
    ids = [entry["id"] for entry in rings.read("1", 10)]

    assert [entry["level"] for entry in rings.read("1", 10, LogFilter(level="warn"))] == ["error"] * 2
    assert messages(rings, "1", source="script") == ["line 0", "line 1", "line 2"]
    assert messages(rings, "1", source="runtime", text="LINE 1") == ["line 1"]
    assert messages(rings, "1", since_ms=1, until_ms=2) == ["line 1", "line 1"]
    assert messages(rings, "1", after_id=ids[0], before_id=ids[3]) == ["line 1", "line 2"]
    assert messages(rings, "1", 1, before_id=ids[2]) == ["line 1"]
    assert rings.read("unknown", 10) == []


def test_given_giant_lines_when_they_come_then_the_ring_is_bounded_in_bytes_and_keeps_the_newest():
    rings = LogRings()
    rings.add_all([(n, "info", "flora:js", "1", f"{n:03}" + "x" * 16_000) for n in range(100)])

    kept = messages(rings, "1")

    assert sum(map(len, kept)) <= RING_BYTES
    assert kept[-1].startswith("099")


def test_given_more_rings_than_fit_when_read_then_the_oldest_one_comes_from_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(log_rings, "MAX_BYTES", 10_000)
    rings = LogRings(LogFiles(tmp_path, MB, MB))
    for guild in range(30):
        fill(rings, str(guild), 5)

    assert len(rings._rings) < 30
    assert messages(rings, "0", 3) == ["line 2", "line 3", "line 4"]


def test_given_lines_of_several_guilds_when_all_are_read_then_they_come_in_order():
    rings = LogRings()
    rings.add_all([(n, "info", "flora:js", str(n % 3), f"line {n}") for n in range(9)])

    assert messages(rings, None) == [f"line {n}" for n in range(9)]
    assert messages(rings, None, 2, until_ms=5) == ["line 3", "line 4"]


# On disk


def test_given_a_log_book_that_died_when_the_next_begins_then_nothing_is_lost_and_ids_go_on_rising(tmp_path):
    first = LogRings(LogFiles(tmp_path, MB, MB))
    fill(first, "7", 5)
    fill(first, "", 1)
    before = first.read("7", 10)

    second = LogRings(LogFiles(tmp_path, MB, MB))
    fill(second, "7", 1)

    assert second.read("7", 10)[:5] == before
    assert [e["id"] for e in second.read("7", 10)] == sorted({e["id"] for e in second.read("7", 10)})
    assert messages(second, "7", after_id=before[3]["id"]) == ["line 4", "line 0"]
    assert messages(second, "") == ["line 0"]
    assert oct(next(tmp_path.iterdir()).stat().st_mode & 0o777) == "0o600"


def test_given_a_clock_that_went_back_when_the_next_log_book_begins_then_its_ids_are_higher_all_the_same(tmp_path):
    files = LogFiles(tmp_path, MB, MB)
    far = 2**62
    files.append("7", [(far, 1, "info", "flora:js", "from the future")])

    (entry,) = LogRings(LogFiles(tmp_path, MB, MB)).add_all([(2, "info", "flora:js", "7", "now")])

    assert entry["id"] == far + 1


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_given_a_torn_last_line_when_written_on_then_only_that_line_is_gone(tmp_path: Path, cut: int):
    rings = LogRings(LogFiles(tmp_path, MB, MB))
    fill(rings, "7", 3)
    path = tmp_path / "7.log"
    path.write_bytes(path.read_bytes()[:-cut])

    again = LogRings(LogFiles(tmp_path, MB, MB))
    again.add_all([(9, "info", "flora:js", "7", "after")])

    kept = messages(again, "7")
    assert kept[-1] == "after"
    assert kept[:2] in (["line 0", "line 1"], ["line 0", "after"])


@given(st.lists(st.tuples(st.sampled_from("123"), st.integers(0, 300)), max_size=60))
def test_given_any_flood_then_no_guild_has_more_than_its_share_nor_all_more_than_the_total(tmp_path_factory, floods):
    folder = tmp_path_factory.mktemp("logs")
    files = LogFiles(folder, 2000, 4000)
    rings = LogRings(files)

    for guild_id, size in floods:
        rings.add_all([(1, "info", "flora:js", guild_id, "x" * size)])
        on_disk = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert files.stored_bytes == sum(on_disk.values()) <= 4000
        for guild in "123":
            assert sum(size for name, size in on_disk.items() if name.startswith(guild)) <= 2000 + 400


def test_given_loud_guilds_that_fill_the_folder_then_the_quiet_one_keeps_its_line(tmp_path):
    rings = LogRings(LogFiles(tmp_path, 20_000, 50_000))
    fill(rings, "1", 1)
    for guild in range(2, 12):
        fill(rings, str(guild), 500)

    again = LogRings(LogFiles(tmp_path, 20_000, 50_000))

    assert messages(again, "1") == ["line 0"]
    assert messages(again, "11")[-1] == "line 499"


def test_given_half_a_character_when_stored_then_the_rest_of_the_line_is(tmp_path):
    rings = LogRings(LogFiles(tmp_path, MB, MB))
    rings.add_all([(1, "info", "flora:js", "7", "a\ud800b"), (2, "info", "flora:js", "7", "next")])

    assert messages(LogRings(LogFiles(tmp_path, MB, MB)), "7") == ["a?b", "next"]


def test_given_a_disk_that_refuses_when_lines_come_then_they_are_in_memory_and_counted(tmp_path, caplog):
    files = LogFiles(tmp_path, MB, MB)
    rings = LogRings(files)
    (tmp_path / "7.log").mkdir()  # also for root nothing can be appended to that

    fill(rings, "7", 2)

    assert messages(rings, "7", 2) == ["line 0", "line 1"]
    assert files.lost_lines == 2
    assert "cannot be written" in caplog.text
