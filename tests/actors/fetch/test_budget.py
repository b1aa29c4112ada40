"""What guilds may hold of what they fetched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flora.actors.fetch.budget import Budget

TOTAL = 100
STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30), st.booleans()), max_size=60)


@given(STEPS)
def test_given_any_takes_and_returns_then_the_sum_is_right_and_bounded_and_a_small_guild_is_never_refused(steps):
    budget, held = Budget(TOTAL), dict.fromkeys("abcd", 0)

    for guild_id, size, gives_back in steps:
        if gives_back:
            returned = min(size, held[guild_id])
            budget.give_back(guild_id, returned)
            held[guild_id] -= returned
        elif budget.take(guild_id, size):
            held[guild_id] += size
        else:
            assert held[guild_id] + size > TOTAL // 4
        assert budget.held == sum(held.values()) <= 2 * TOTAL


def test_given_a_guild_alone_when_it_takes_then_it_gets_the_total_and_no_more():
    budget = Budget(TOTAL)

    assert [budget.take("a", 50) for _ in range(3)] == [True, True, False]
