"""Who is ended when a worker's memory runs out, and when the worker gives itself up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.memory_watch import (
    AUTO_LEAST_BYTES,
    EndIsolate,
    GiveUp,
    MemoryGuard,
    MemoryWatch,
    Use,
    machine_bytes,
    resident_bytes,
    worker_limit_bytes,
)

MB = 1 << 20
LIMIT = 1000 * MB
CALM = 500 * MB


def use(
    number: int, *, buffers: int = 0, busy_since: float | None = None, trips: int = 0, closing: bool = False
) -> Use:
    return Use(number, str(number), buffers, busy_since, trips, closing)


def watch() -> MemoryWatch:
    watch = MemoryWatch(LIMIT)
    assert watch.look(1.0, CALM, [use(1), use(2)]) is None
    return watch


def test_given_memory_below_the_limit_when_looked_at_then_nobody_is_ended() -> None:
    assert watch().look(1.1, LIMIT, [use(1, buffers=900 * MB)]) is None


def test_given_typed_arrays_when_the_limit_is_passed_then_their_isolate_is_ended() -> None:
    verdict = watch().look(1.1, LIMIT + MB, [use(1, buffers=50 * MB), use(2, buffers=400 * MB)])

    assert verdict == EndIsolate(2, 400 * MB)


def test_given_growth_and_typed_arrays_when_asked_then_each_guild_accounts_for_the_larger_of_them() -> None:
    w = watch()
    uses = [use(1, busy_since=1.0), use(2, buffers=30 * MB)]

    w.look(1.2, LIMIT - 10 * MB, uses)
    found = w.guilt_by_guild(uses)

    assert found[use(1).guild_id] > 100 * MB
    assert found[use(2).guild_id] == 30 * MB


def test_given_one_isolate_in_v8_all_the_time_and_many_for_a_moment_when_memory_grows_then_the_one_is_ended() -> None:
    w = watch()
    healthy = [use(number, trips=1) for number in range(2, 40)]

    verdict = w.look(1.2, LIMIT + 200 * MB, [use(1, busy_since=1.0), *healthy])

    assert isinstance(verdict, EndIsolate)
    assert verdict.number == 1
    assert verdict.guilt_bytes > 500 * MB


def test_given_growth_that_was_given_back_when_another_passes_the_limit_then_the_first_is_forgiven() -> None:
    w = watch()
    assert w.look(1.1, 900 * MB, [use(1, busy_since=1.0), use(2)]) is None
    assert w.look(1.2, 100 * MB, [use(1, trips=1), use(2)]) is None

    verdict = w.look(1.3, LIMIT + 50 * MB, [use(1, trips=1), use(2, busy_since=1.2)])

    assert isinstance(verdict, EndIsolate)
    assert verdict.number == 2


def test_given_an_isolate_that_is_ended_when_it_has_not_closed_yet_then_nobody_else_is() -> None:
    w = watch()
    assert w.look(1.1, LIMIT + MB, [use(1, buffers=400 * MB), use(2, buffers=300 * MB)]) is not None

    verdicts = [
        w.look(1.1 + k / 10, LIMIT + MB, [use(1, buffers=400 * MB, closing=True), use(2, buffers=300 * MB)])
        for k in range(1, 50)
    ]

    assert set(verdicts) == {None}


def test_given_one_isolate_gone_when_memory_is_still_over_the_limit_then_the_next_is_ended() -> None:
    w = watch()
    w.look(1.1, LIMIT + MB, [use(1, buffers=400 * MB), use(2, buffers=300 * MB)])

    assert w.look(1.2, LIMIT + MB, [use(2, buffers=300 * MB)]) is None, "the memory may take a moment to come back"
    assert w.look(1.7, LIMIT + MB, [use(2, buffers=300 * MB)]) == EndIsolate(2, 300 * MB)


def test_given_nobody_with_a_large_share_when_the_limit_is_passed_then_nobody_is_ended() -> None:
    many = [use(number, buffers=20 * MB) for number in range(60)]

    assert watch().look(1.1, LIMIT + MB, many) is None


def test_given_far_too_much_memory_when_ending_the_guilty_did_not_help_then_the_worker_gives_up() -> None:
    w = watch()
    assert w.look(1.1, 1600 * MB, [use(1, buffers=400 * MB)]) == EndIsolate(1, 400 * MB)

    verdicts = {k: w.look(1.1 + k / 10, 1600 * MB, [use(1, closing=True)]) for k in range(1, 22)}

    assert [k for k, verdict in verdicts.items() if verdict is not None] == [20, 21]
    assert verdicts[20] == GiveUp(1600 * MB, ("1",))


def test_given_far_too_much_memory_when_it_falls_in_time_then_the_worker_goes_on() -> None:
    w = watch()
    w.look(1.1, 1600 * MB, [use(1, buffers=400 * MB)])
    assert w.look(2.9, 1600 * MB, []) is None
    assert w.look(3.0, 1400 * MB, []) is None

    assert w.look(3.3, 1600 * MB, []) is None


def test_given_far_too_much_memory_when_nobody_is_guilty_then_it_gives_up_and_names_nobody() -> None:
    w = watch()
    assert w.look(1.1, 1600 * MB, [use(1), use(2)]) is None

    assert w.look(3.2, 1600 * MB, [use(1), use(2)]) == GiveUp(1600 * MB, ())


@given(
    st.lists(
        st.tuples(
            st.integers(50, 3000),
            st.lists(st.tuples(st.integers(1, 5), st.integers(0, 500), st.booleans()), max_size=5),
        ),
        max_size=60,
    )
)
def test_given_any_course_when_looked_at_then_only_open_isolates_are_ended_and_only_over_the_limit(
    course: list[tuple[int, list[tuple[int, int, bool]]]],
) -> None:
    w = MemoryWatch(LIMIT)
    for step, (rss_mb, isolates) in enumerate(course):
        uses = [
            use(number, buffers=size * MB, busy_since=step / 10 if busy else None)
            for number, size, busy in {isolate[0]: isolate for isolate in isolates}.values()
        ]
        verdict = w.look(1 + step / 10, rss_mb * MB, uses)
        if verdict is not None:
            assert rss_mb * MB > LIMIT
        if isinstance(verdict, EndIsolate):
            assert verdict.number in {each.number for each in uses}
        if isinstance(verdict, GiveUp):
            assert rss_mb * MB > LIMIT * 1.5


@pytest.mark.parametrize(
    ("configured_mb", "machine", "workers", "expected"),
    [
        (300, 64 << 30, 4, 300 * MB),
        (0, 64 << 30, 4, int((64 << 30) * 0.6 / 4)),
        (0, 2 << 30, 4, AUTO_LEAST_BYTES),
        (0, 8 << 30, 0, int((8 << 30) * 0.6)),
    ],
)
def test_given_settings_and_a_machine_when_asked_then_the_limit_is(
    configured_mb: int, machine: int, workers: int, expected: int
) -> None:
    assert worker_limit_bytes(configured_mb, machine, workers) == expected


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "300000"}, 300000),
        ("0::/a/b", {"memory.max": "400000"}, 400000),
        ("5:cpu,memory:/x", {"memory/x/memory.limit_in_bytes": "200000", "memory.max": "1"}, 200000),
        ("5:cpu:/x", {"memory/x/memory.limit_in_bytes": "200000"}, None),
        ("0::/../../outside", {"memory.max": "500000"}, 500000),
        ("0::/a", {}, None),
        ("5:memory:/x", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_given_a_cgroup_when_it_has_a_limit_then_that_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    found = machine_bytes(tmp_path / "cgroup", tmp_path / "fs")

    assert found == (expected if expected is not None else machine_bytes(tmp_path / "none", tmp_path / "fs"))


def test_given_this_process_when_it_passes_a_tiny_limit_then_the_guard_sees_it() -> None:
    if resident_bytes() is None:
        pytest.skip("this system does not tell the resident memory")
    guard = MemoryGuard(configured_mb=1, workers=1)

    verdict = guard.look(10.0, [use(1, buffers=50 * MB)])

    assert verdict == EndIsolate(1, 50 * MB)
    assert guard.why(verdict).startswith("out of memory: its worker passed the limit of 1 MB")
