from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.storage.backoff import Backoff


def test_given_no_jitter_then_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first_s=0.1, cap_s=30.0, jitter=0.0)

    delays = [backoff.delay_s(failures, random.Random()) for failures in range(1, 12)]

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])


@given(failures=st.integers(1, 10**9), seed=st.integers())
def test_given_any_number_of_failures_then_the_delay_stays_within_its_bounds(failures: int, seed: int) -> None:
    backoff = Backoff(first_s=0.1, cap_s=30.0, jitter=0.2)

    assert 0.08 <= backoff.delay_s(failures, random.Random(seed)) <= 30.0


def test_given_no_failure_then_there_is_nothing_to_wait_for() -> None:
    with pytest.raises(ValueError, match="at least one failure"):
        Backoff(first_s=1.0, cap_s=2.0).delay_s(0, random.Random())
