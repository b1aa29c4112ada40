"""When the account of typed arrays calls for a collection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.buffer_account import BufferAccount

LIMIT = 1_000_000


def test_given_little_in_use_when_noted_then_nothing_is_collected() -> None:
    account = BufferAccount(LIMIT)

    assert not any(account.note(held) for held in (0, 100_000, 499_999, 500_000))
    assert account.bytes == 500_000


def test_given_much_in_use_for_good_when_noted_again_then_it_is_collected_once() -> None:
    account = BufferAccount(LIMIT)

    assert account.note(600_000)
    assert not account.note(600_000)
    assert not account.note(790_000)
    assert account.note(810_000)


def test_given_garbage_that_was_collected_when_the_account_climbs_again_then_so_does_the_collector() -> None:
    account = BufferAccount(LIMIT)
    assert account.note(900_000)

    assert not account.note(0)

    assert not account.note(500_000)
    assert account.note(600_000)


@given(st.lists(st.integers(0, LIMIT), max_size=50))
def test_given_any_course_when_the_limit_is_near_then_a_collection_was_asked_for_since_it_was_low(
    course: list[int],
) -> None:
    account = BufferAccount(LIMIT)
    asked = False
    for held in course:
        asked = account.note(held) or (asked and held > LIMIT // 2)
        assert asked or held <= LIMIT * 15 // 16
