"""Who gives up what when there is too little room, against what fairness between guilds means."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from flora.storage.trace_shares import fair_level, survivors

ENTRIES = st.lists(st.tuples(st.sampled_from(["", "1", "2", "3", "4"]), st.integers(1, 400)), max_size=80)


def test_given_one_that_needs_less_when_shared_out_then_the_others_get_what_it_leaves() -> None:
    assert fair_level([10, 100, 100], 110) == 50


def test_given_enough_room_when_shared_out_then_everybody_keeps_all() -> None:
    assert fair_level([10, 20, 30], 60) == 30
    assert fair_level([], 60) == 0


@given(entries=ENTRIES, budget=st.integers(0, 5000))
def test_given_any_entries_when_some_are_given_up_then_the_rest_fits(
    entries: list[tuple[str, int]], budget: int
) -> None:
    kept = survivors(entries, budget)

    assert sum(size for (_, size), stays in zip(entries, kept, strict=True) if stays) <= budget


@given(entries=ENTRIES, budget=st.integers(0, 5000))
def test_given_any_entries_when_some_are_given_up_then_none_of_a_guild_that_has_less_than_another_keeps(
    entries: list[tuple[str, int]], budget: int
) -> None:
    had: Counter[str] = Counter()
    has: Counter[str] = Counter()
    for (guild_id, size), stays in zip(entries, survivors(entries, budget), strict=True):
        had[guild_id] += size
        has[guild_id] += size * stays

    for guild_id in had:
        if has[guild_id] < had[guild_id]:
            assert had[guild_id] > max(has.values())  # what it lost it had beyond what anybody has now
            assert has[guild_id] <= fair_level(had.values(), budget)


@given(entries=ENTRIES, budget=st.integers(0, 5000))
def test_given_any_entries_when_some_are_given_up_then_they_are_the_oldest_of_their_guild(
    entries: list[tuple[str, int]], budget: int
) -> None:
    kept = survivors(entries, budget)

    for guild_id in {guild_id for guild_id, _ in entries}:
        own = [stays for (each, _), stays in zip(entries, kept, strict=True) if each == guild_id]
        assert own == sorted(own)
