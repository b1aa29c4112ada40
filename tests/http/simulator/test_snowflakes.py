"""Ids from time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flora.http.simulator.snowflakes import SnowflakeFactory, age_s, created_at, is_snowflake

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


def test_given_a_moment_then_the_id_tells_it() -> None:
    ids = SnowflakeFactory(NOON.timestamp)

    assert created_at(ids.next()) == NOON
    assert age_s(ids.next(), NOON.timestamp() + 30) == 30


def test_given_a_clock_that_stands_still_or_steps_back_then_ids_still_rise() -> None:
    times = iter([100.0, 100.0, 100.0, 50.0, 50.0])
    ids = SnowflakeFactory(lambda: 1_500_000_000 + next(times))

    made = [int(ids.next()) for _ in range(5)]

    assert made == sorted(set(made))


@pytest.mark.parametrize("text", ["", "12a", "-1", "1.0", "٣", "18446744073709551616", 12, None])
def test_given_something_else_then_it_is_no_snowflake(text: object) -> None:
    assert not is_snowflake(text)
    assert is_snowflake("18446744073709551615")
