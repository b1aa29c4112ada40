"""Limits on what a script asks of its host."""

from __future__ import annotations

from flora.actors.isolate.allowance import LogAllowance, OpAllowance, TokenBucket


def test_given_a_bucket_when_emptied_then_it_refills_at_its_rate() -> None:
    bucket = TokenBucket(10, 20)

    assert sum(bucket.take(0.0) for _ in range(100)) == 20
    assert sum(bucket.take(0.5) for _ in range(100)) == 5
    assert sum(bucket.take(100.0) for _ in range(100)) == 20


def test_given_a_rate_of_zero_when_asked_then_there_is_no_limit() -> None:
    bucket = TokenBucket(0, 0)

    assert all(bucket.take(0.0) for _ in range(10_000))


def test_given_too_many_pending_operations_when_one_more_is_asked_for_then_the_error_names_the_limit() -> None:
    ops = OpAllowance(3, 0, 0.0)

    assert ops.refusal(2, 0.0) is None
    refused = ops.refusal(3, 0.0)

    assert refused is not None
    assert refused.details() == {
        "message": "3 operations of this guild wait for their answer already (limit 3)",
        "code": "LIMIT_REACHED",
        "limit": "max_pending_ops",
    }
    assert ops.refused == 1


def test_given_a_flood_of_operations_when_the_rate_is_passed_then_the_error_names_the_rate() -> None:
    ops = OpAllowance(1000, 5, 0.0)

    answers = [ops.refusal(0, 0.0) for _ in range(11)]

    assert answers[:10] == [None] * 10
    assert answers[10] is not None
    assert answers[10].details()["limit"] == "ops_per_second"
    assert ops.refusal(0, 0.2) is None


def test_given_a_flood_of_lines_when_over_then_the_author_is_told_once_how_many_are_missing() -> None:
    logs = LogAllowance(10, 0.0)

    admitted = sum(logs.admits(0.0) for _ in range(80))

    assert admitted == 50
    assert logs.told(0.5) is None, "still counting"
    assert logs.told(1.0) == "30 log lines dropped: more than 10 per second"
    assert logs.told(1.0) is None
    assert logs.tell_at_s is None
    assert logs.dropped == 30
