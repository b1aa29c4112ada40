"""Trace files on a real disk: bounded, fair, readable while they are written and after everything is dead."""

from __future__ import annotations

import os
import random
import resource
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.storage.trace_files import TraceReader, TraceWriter
from flora.storage.trace_folder import TraceLimits, list_segments, segment_path
from flora.storage.trace_record import TraceRecord, to_line
from flora.storage.trace_tidy import tidy

MAX_BYTES = 1_000_000
LIMITS = TraceLimits(MAX_BYTES)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def a_record(number: int, guild_id: str = "1", **changes: object) -> TraceRecord:
    facts = {"trace": f"{number:032x}", "span": f"{number:016x}", "name": "isolate.run", "at_us": number, **changes}
    return TraceRecord(guild_id=guild_id, **facts)  # type: ignore[arg-type]


def a_writer(
    folder: Path, process: str = "worker 0", *, max_bytes: int = MAX_BYTES, tidies: bool = False
) -> TraceWriter:
    return TraceWriter(folder, process, max_bytes, tidies=tidies, now_s=Clock())


def numbers(folder: Path) -> list[int]:
    return [record.at_us for record in TraceReader(folder).records()]


def stored_bytes(folder: Path) -> int:
    return sum(each.size for each in list_segments(folder))


def no_pause(_seconds: float) -> None:
    pass


def test_given_records_when_flushed_then_anybody_reads_them_while_the_writer_goes_on(tmp_path: Path) -> None:
    one, other = a_writer(tmp_path), a_writer(tmp_path, "worker 1")
    one.add(a_record(1))
    other.add(a_record(2))
    assert numbers(tmp_path) == []

    one.flush()
    other.flush()
    one.add(a_record(3))
    one.flush()

    assert sorted(numbers(tmp_path)) == [1, 2, 3]
    assert len(list_segments(tmp_path)) == 2


def test_given_no_folder_when_read_then_there_is_nothing(tmp_path: Path) -> None:
    assert numbers(tmp_path / "none") == []


def test_given_one_span_in_two_files_when_read_then_it_appears_once(tmp_path: Path) -> None:
    for process in ("worker 0", "worker 1"):
        writer = a_writer(tmp_path, process)
        writer.add(a_record(7))
        writer.flush()

    assert numbers(tmp_path) == [7]


@settings(max_examples=30)
@given(cut=st.integers(1, 400))
def test_given_a_file_cut_anywhere_when_read_then_its_whole_lines_are_there(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    text = b"".join(to_line(a_record(number)) for number in range(3))
    whole = text[:-cut].count(b"\n")
    segment_path(folder, "worker-0-1-1", 0).write_bytes(text[:-cut])

    assert numbers(folder) == list(range(whole))


def test_given_many_records_when_written_then_files_are_turned_over_and_none_is_lost(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    for number in range(300):
        writer.add(a_record(number))
        writer.flush()

    assert numbers(tmp_path) == list(range(300))
    assert len(list_segments(tmp_path)) > 2
    assert all(each.size <= LIMITS.segment_bytes for each in list_segments(tmp_path))


def test_given_a_reader_at_work_when_files_are_put_together_then_it_misses_nothing(tmp_path: Path) -> None:
    for number in range(40):
        writer = a_writer(tmp_path, f"worker {number}")
        writer.add(a_record(number))
        writer.close()

    reading = TraceReader(tmp_path).records()
    first = next(reading).at_us
    tidy(tmp_path, LIMITS, no_pause)

    assert len(list_segments(tmp_path)) == 1
    assert sorted([first, *(record.at_us for record in reading)]) == list(range(40))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), floods=st.integers(1, 3), quiet=st.integers(1, 4))
def test_given_guilds_that_flood_when_room_is_made_then_all_is_bounded_and_quiet_guilds_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, floods: int, quiet: int
) -> None:
    folder = tmp_path_factory.mktemp("flood")
    chance = random.Random(seed)
    limits = TraceLimits(120_000)
    writers = [a_writer(folder, f"worker {number}", max_bytes=limits.max_bytes) for number in range(3)]
    written: Counter[str] = Counter()
    for number in range(1000):
        few = number % 40 == 0
        guild_id = f"quiet {chance.randrange(quiet)}" if few else f"loud {chance.randrange(floods)}"
        writer = chance.choice(writers)
        writer.add(a_record(number, guild_id, why="x" * chance.randrange(100)))
        writer.flush()
        written[guild_id] += 1
        if number % 20 == 0:
            assert stored_bytes(folder) <= limits.max_bytes
        if number % 50 == 0:
            tidy(folder, limits, no_pause)

    kept = Counter(record.guild_id for record in TraceReader(folder).records())
    assert all(kept[guild_id] == count for guild_id, count in written.items() if guild_id.startswith("quiet"))
    assert kept.total() < written.total()
    assert max(record.at_us for record in TraceReader(folder).records()) >= 990


def test_given_nobody_makes_room_when_written_on_then_the_limit_holds_and_the_loudest_guild_loses(
    tmp_path: Path,
) -> None:
    writer = a_writer(tmp_path, max_bytes=100_000)
    for number in range(1200):
        writer.add(a_record(number, "1" if number % 20 else "2"))
        writer.flush()
    stopped_at = stored_bytes(tmp_path)
    tidy(tmp_path, TraceLimits(100_000), no_pause)
    writer.flush()

    kept = Counter(record.guild_id for record in TraceReader(tmp_path).records())
    assert stopped_at <= 100_000
    assert kept["2"] / 60 > kept["1"] / 1140
    assert writer.lost > 0


def test_given_dead_processes_when_room_is_made_then_their_small_files_become_one(tmp_path: Path) -> None:
    for number in range(20):
        writer = a_writer(tmp_path, "compiler")
        writer.add(a_record(number))
        writer.close()
    alive = a_writer(tmp_path)
    alive.add(a_record(99))
    alive.flush()

    tidy(tmp_path, LIMITS, no_pause)

    assert len(list_segments(tmp_path)) == 2
    assert sorted(numbers(tmp_path)) == [*range(20), 99]
    alive.add(a_record(100))
    alive.flush()
    assert 100 in numbers(tmp_path)


def test_given_a_thread_that_makes_room_when_much_is_written_then_the_limit_holds(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "worker 0", 200_000)
    for number in range(5000):
        writer.add(a_record(number))
        writer.flush()
    for thread in [each for each in threading.enumerate() if each.name == "trace files"]:
        thread.join()

    assert stored_bytes(tmp_path) <= 200_000
    assert numbers(tmp_path)


def test_given_the_folder_is_removed_when_written_on_then_it_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    writer = a_writer(folder)
    writer.add(a_record(1))
    writer.flush()
    shutil.rmtree(folder)

    writer.add(a_record(2))
    writer.flush()

    assert numbers(folder) == [2]


def test_given_a_folder_that_cannot_be_when_written_then_it_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "traces").write_text("a file", encoding="utf-8")
    writer = TraceWriter(tmp_path / "traces", "worker 0", MAX_BYTES, now_s=lambda: 5.0)
    for number in range(3):
        writer.add(a_record(number))
        writer.flush()

    assert writer.lost + len(writer._pending) == 3
    assert writer.lost >= 1
    assert len(caplog.records) == 1


@pytest.fixture
def small_files_only() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files_only")
def test_given_a_disk_that_takes_no_more_when_written_then_it_is_counted_and_whole_lines_stay(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    for number in range(50):
        writer.add(a_record(number))
        writer.flush()

    kept = numbers(tmp_path)
    assert writer.lost == 50 - len(kept)
    assert kept == list(range(len(kept)))
    assert kept


def test_given_the_disk_has_room_again_when_written_on_then_only_what_came_meanwhile_is_lost(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        for number in range(10):
            writer.add(a_record(number))
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.add(a_record(99))
    writer.flush()

    assert numbers(tmp_path)[-1] == 99
    assert 0 < writer.lost < 10


def test_given_something_json_cannot_hold_when_added_then_it_is_counted(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    writer.add(a_record(1, attrs={"what": object()}))
    writer.add(a_record(2, why="\ud800"))
    writer.add(a_record(3))
    writer.flush()

    assert writer.lost == 2
    assert numbers(tmp_path) == [3]


def test_given_a_fork_when_both_write_then_each_has_a_file_of_its_own(tmp_path: Path) -> None:
    writer = a_writer(tmp_path)
    writer.add(a_record(1))
    writer.flush()
    writer.add(a_record(2))
    if (pid := os.fork()) == 0:
        writer.add(a_record(3))
        writer.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    writer.flush()

    assert sorted(numbers(tmp_path)) == [1, 2, 3]
    assert len(list_segments(tmp_path)) == 2
