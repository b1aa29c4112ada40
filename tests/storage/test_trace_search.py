"""Looking for traces in files, and following them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.storage import trace_search
from flora.storage.trace_folder import TraceLimits, list_segments
from flora.storage.trace_query import TraceFilter, put_together
from flora.storage.trace_record import TraceRecord, to_line
from flora.storage.trace_search import SearchLimits, find, search
from flora.storage.trace_tail import TraceTail
from flora.storage.trace_tidy import tidy

MINUTE_US = 60_000_000
ANY = TraceFilter()


def a_hop(trace: int, span: int = 1, **facts: object) -> TraceRecord:
    known = {
        "name": "isolate.run",
        "at_us": trace * MINUTE_US,
        "took_us": 50,
        "guild_id": str(trace % 2),
        "process": "w",
        **facts,
    }
    return TraceRecord(trace=f"{trace:032x}", span=f"{span:016x}", **known)  # type: ignore[arg-type]


def write(folder: Path, name: str, *hops: TraceRecord) -> Path:
    """A file as if it had been written when its last hop ended."""
    path = folder / f"{name}.jsonl"
    path.write_bytes(b"".join(map(to_line, hops)))
    at_ns = max(hop.ends_us for hop in hops) * 1000
    os.utime(path, ns=(at_ns, at_ns))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hundred traces a minute apart, each in files of two processes."""
    for number in range(1, 101):
        write(tmp_path, f"gateway-a.{number}", a_hop(number, 1))
        write(tmp_path, f"worker-a.{number}", a_hop(number, 2, outcome="threw" if number % 10 == 0 else "ok"))
    return tmp_path


def ids(traces: list[trace_search.Trace]) -> list[int]:
    return [int(trace.trace_id, 16) for trace in traces]


def test_given_many_traces_when_the_newest_are_wanted_then_they_come_whole_and_newest_first(folder: Path) -> None:
    found = search(folder, ANY, 3)

    assert ids(found.traces) == [100, 99, 98]
    assert [len(trace.hops) for trace in found.traces] == [2, 2, 2]
    assert found.complete


def test_given_enough_was_found_then_older_files_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_search, "CHUNK_BYTES", 300)
    (folder / "gateway-a.1.jsonl").unlink()
    (folder / "gateway-a.1.jsonl").mkdir()  # reading it would fail
    os.utime(folder / "gateway-a.1.jsonl", ns=(60 * 10**9, 60 * 10**9))

    assert ids(search(folder, ANY, 3).traces) == [100, 99, 98]
    with pytest.raises(IsADirectoryError):
        search(folder, ANY, 1000)


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 10**9])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (TraceFilter(outcome="threw"), [100, 90, 80]),
        (TraceFilter(outcome="failed", guild_id="0", since_us=85 * MINUTE_US), [100, 90]),
        (TraceFilter(guild_id="1", until_us=4 * MINUTE_US), [3, 1]),
        (TraceFilter(outcome="ok", since_us=99 * MINUTE_US), [99]),
        (TraceFilter(kind="cron"), []),
    ],
)
def test_given_a_filter_when_searched_in_steps_of_any_size_then_the_same_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, wanted: TraceFilter, expected: list[int]
) -> None:
    monkeypatch.setattr(trace_search, "CHUNK_BYTES", chunk_bytes)

    assert ids(search(folder, wanted, 3).traces) == expected


def test_given_a_limit_of_bytes_when_it_is_reached_then_the_newest_are_given_and_it_says_so(folder: Path) -> None:
    found = search(folder, TraceFilter(outcome="threw"), 50, SearchLimits(max_bytes=3000))

    assert not found.complete
    assert ids(found.traces) == [100]


def test_given_a_limit_of_time_when_it_has_passed_then_the_search_ends(folder: Path) -> None:
    clock = iter(range(1000))

    found = search(folder, ANY, 50, SearchLimits(limit_s=4, now_s=lambda: next(clock)))

    assert not found.complete
    assert 0 < len(found.traces) < 50


def test_given_an_id_or_its_ends_then_the_traces_it_may_mean_are_found(folder: Path) -> None:
    assert ids(find(folder, f"{37:032x}")) == [37]
    assert ids(find(folder, "0", f"{9:016x}")) == [9]
    assert len(find(folder, "0" * 30)) == 100
    assert find(folder, "1") == []


def test_given_files_are_put_together_meanwhile_then_nothing_is_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = list_segments(folder)
    monkeypatch.setattr(trace_search, "list_segments", lambda _folder: listed)
    tidy(folder, TraceLimits(64_000_000), lambda _seconds: None)
    after = list_segments(folder)
    assert {each.path for each in after}.isdisjoint({each.path for each in listed})

    def listing(_folder: Path) -> list[object]:
        monkeypatch.setattr(trace_search, "list_segments", lambda _folder: after)
        return listed  # type: ignore[return-value]

    monkeypatch.setattr(trace_search, "list_segments", listing)
    assert len(search(folder, ANY, 1000).traces) == 100


HOPS = st.lists(
    st.builds(
        a_hop,
        trace=st.just(1),
        span=st.integers(1, 9),
        at_us=st.integers(0, 2**50),
        took_us=st.integers(0, 2**40),
        queued_us=st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda hop: hop.span,
)


@settings(max_examples=30)
@given(hops=HOPS)
def test_given_any_trace_when_its_lines_are_only_looked_at_then_they_say_when_it_began_and_ended(
    hops: list[TraceRecord],
) -> None:
    (trace,) = put_together(hops)

    assert trace_search._span_us(map(to_line, hops)) == (trace.starts_us, trace.starts_us + trace.took_us)


def test_given_a_tail_when_files_grow_appear_and_go_then_each_new_record_comes_once(tmp_path: Path) -> None:
    old = write(tmp_path, "gateway-a.0", a_hop(1))
    tail = TraceTail(tmp_path)
    assert tail.news() == []

    with old.open("ab") as file:
        file.write(to_line(a_hop(2)) + to_line(a_hop(3))[:20])
    write(tmp_path, "worker-b.0", a_hop(4))
    assert {hop.trace for hop in tail.news()} == {f"{2:032x}", f"{4:032x}"}

    with old.open("ab") as file:
        file.write(to_line(a_hop(3))[20:])
    (tmp_path / "worker-b.0.jsonl").unlink()
    write(tmp_path, "kept-c.0", a_hop(4), a_hop(1))
    assert [hop.trace for hop in tail.news()] == [f"{3:032x}"]
    assert tail.news() == []


def test_given_more_than_one_look_takes_when_followed_then_the_rest_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.storage.trace_tail.MOST_BYTES", 1000)
    tail = TraceTail(tmp_path)
    write(tmp_path, "gateway-a.0", *(a_hop(number) for number in range(1, 31)))

    looks = [len(tail.news()) for _ in range(10)]

    assert sum(looks) == 30
    assert max(looks) < 15
