"""What the ladder decides, without V8."""

from __future__ import annotations

import pytest

from flora.actors.isolate.engine import State
from flora.actors.isolate.ladder import CANCEL_AGAIN_S, PROBE_S, Situation, Step, Verdict, next_step


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.IDLE, Verdict.ALIVE),
        (State.SPENT, Step.CLOSE),
        (State.OPENING, Step.WAIT),
        (State.CLOSING, Step.WAIT),
        (State.CLOSED, Verdict.CLOSED),
        (State.WEDGED, Verdict.WEDGED),
    ],
)
@pytest.mark.parametrize("since_start_s", [0.0, PROBE_S, 100.0])
def test_given_an_isolate_that_is_not_busy_then_time_plays_no_part(
    state: State, expected: Step | Verdict, since_start_s: float
) -> None:
    assert next_step(Situation(state, since_start_s, None)) is expected


@pytest.mark.parametrize(
    ("since_start_s", "since_cancel_s", "expected"),
    [
        (0.0, None, Step.CANCEL),
        (CANCEL_AGAIN_S / 2, CANCEL_AGAIN_S / 2, Step.WAIT),
        (CANCEL_AGAIN_S, CANCEL_AGAIN_S, Step.CANCEL),  # the first may have hit the gap between two calls
        (PROBE_S, 0.0, Step.CLOSE),
        (PROBE_S, None, Step.CLOSE),
    ],
)
def test_given_a_busy_isolate_then_it_is_cancelled_until_patience_ends_and_then_closed(
    since_start_s: float, since_cancel_s: float | None, expected: Step
) -> None:
    assert next_step(Situation(State.BUSY, since_start_s, since_cancel_s)) is expected
