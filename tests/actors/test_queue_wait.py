"""How long events waited before they were sent to their worker."""

from __future__ import annotations

from flora.actors.queue_wait import MAX_KEPT, QueueWait
from flora.messages.metrics import FAMILIES

BOUNDS = FAMILIES["router_wait"].bounds


def waits_of(queue: QueueWait) -> tuple[dict[int, int], int]:
    """Upper bound of each bucket that has any → how many; and their sum."""
    counts, total = queue.waits.sample()
    return {bound: count for bound, count in zip((*BOUNDS, -1), counts, strict=True) if count}, total


def test_given_events_of_two_frames_when_sent_together_then_each_waited_since_it_was_read():
    queue = QueueWait()
    queue.took(100, (1_000_000, 1_000_400))
    queue.took(102, (1_009_500,))

    queue.sent([(100, "guild"), (101, "guild"), (102, "guild")], now_us=1_010_000)

    assert waits_of(queue) == ({500: 1, 10_000: 2}, 10_000 + 9_600 + 500)


def test_given_an_event_that_is_sent_once_more_when_counted_then_it_may_come_after_later_ones():
    queue = QueueWait()
    queue.took(1, tuple(range(0, 100_000, 1_000)))

    queue.sent([(100,), (1,)], now_us=100_000)

    assert waits_of(queue) == ({1_000: 1, 100_000: 1}, 101_000)


def test_given_frames_without_events_and_nothing_known_when_sent_then_nothing_is_counted():
    queue = QueueWait()
    queue.took(1, ())

    queue.sent([(1,)], now_us=5)

    assert waits_of(queue) == ({}, 0)


def test_given_an_event_older_than_all_that_is_kept_when_sent_then_it_waited_at_least_as_long_as_the_oldest():
    queue = QueueWait()
    queue.took(1, (1,) * 10)
    queue.took(11, (900_000,) * MAX_KEPT)

    queue.sent([(3,)], now_us=1_000_000)

    assert waits_of(queue) == ({100_000: 1}, 100_000)
