"""Buckets: what fits in, what is told, when they empty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flora.http.simulator.rate_limits import ROUTE_LIMITS, Limit, RateLimits, Verdict

SEND = ("POST", "/channels/{channel_id}/messages")


def take(limits: RateLimits, now_s: float, channel: str = "1", *, counts: bool = True) -> Verdict:
    return limits.take(*SEND, channel, now_s, counts_globally=counts)


def test_given_discords_default_then_five_messages_in_five_seconds_fit_per_channel() -> None:
    limits = RateLimits(50)

    verdicts = [take(limits, 10.0 + i) for i in range(5)]
    sixth = take(limits, 14.5)

    assert [v.remaining for v in verdicts] == [4, 3, 2, 1, 0]
    assert all(v.retry_after_s is None for v in verdicts)
    assert (sixth.retry_after_s, sixth.scope) == (0.5, "user")
    assert take(limits, 15.0).remaining == 4
    assert ROUTE_LIMITS[SEND] == Limit(5, 5.0)


def test_given_one_full_channel_then_another_is_not_held_up() -> None:
    limits = RateLimits(50)
    for _ in range(5):
        take(limits, 0.0, "1")

    assert take(limits, 0.0, "1").retry_after_s is not None
    assert take(limits, 0.0, "2").retry_after_s is None


def test_given_the_global_limit_then_it_counts_over_channels_and_spares_exempt_routes() -> None:
    limits = RateLimits(3)
    for channel in "123":
        take(limits, 0.0, channel)

    refused = take(limits, 0.25, "4")

    assert (refused.scope, refused.retry_after_s) == ("global", 0.75)
    assert take(limits, 0.25, "4", counts=False).retry_after_s is None
    assert take(limits, 1.0, "5").retry_after_s is None


@given(st.lists(st.floats(0, 2, allow_nan=False), max_size=60))
def test_given_any_pauses_then_no_window_ever_lets_more_than_its_limit_through(pauses: list[float]) -> None:
    limits, now_s, accepted = RateLimits(1000), 0.0, []
    for pause in pauses:
        now_s += pause
        verdict = take(limits, now_s)
        if verdict.retry_after_s is None:
            accepted.append((now_s, verdict.reset_after_s))
        else:
            assert 0 < verdict.retry_after_s <= 5.0

    windows: dict[float, int] = {}
    for at, reset_after_s in accepted:
        windows[round(at + reset_after_s, 6)] = windows.get(round(at + reset_after_s, 6), 0) + 1
    assert all(count <= 5 for count in windows.values())
