"""Whom a soak kills."""

from __future__ import annotations

import pytest

from flora.scripts.soak_kills import MOST_IN_WINDOW, PARTS, WINDOW_S, Killer

PROCESSES = {
    10: "launcher", 11: "worker 0", 12: "worker 1", 13: "router", 14: "postgres", 15: "postgres", 16: "worker 1000",
}  # fmt: skip


def chosen(killer: Killer, count: int, every_s: float) -> list[tuple[int, str] | None]:
    return [killer.choose(PROCESSES, number * every_s) for number in range(count)]


def test_given_a_seed_then_it_tells_the_sequence():
    first, again, other = (chosen(Killer(PARTS, seed), 30, 30.0) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_given_parts_to_choose_from_then_nothing_else_is_killed():
    assert {title for _, title in filter(None, chosen(Killer(["worker"], 1), 50, 30.0))} == {
        "worker 0", "worker 1", "worker 1000",
    }  # fmt: skip
    assert chosen(Killer(["gateway"], 1), 3, 30.0) == [None] * 3


def test_given_several_processes_of_a_server_then_the_oldest_is_killed():
    assert chosen(Killer(["postgres"], 1), 1, 1.0) == [(14, "postgres")]


@pytest.mark.parametrize("seed", range(5))
def test_given_little_time_then_no_process_is_killed_more_often_than_the_system_forgives(seed):
    killer = Killer(PARTS, seed)

    kills = [(at_s, killer.choose(PROCESSES, at_s)) for at_s in range(300)]

    for title in PROCESSES.values():
        times = [at_s for at_s, kill in kills if kill is not None and kill[1] == title]
        assert all(later - first >= WINDOW_S for first, later in zip(times, times[MOST_IN_WINDOW:], strict=False))
