"""Streams between two actors: order, one frame under way, nothing doubled, nothing lost with a restarted peer."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from flora.actors.link import BARE_ACK, Link
from flora.messages.base import Frame


def frame_of(link: Link, batch) -> Frame:
    return Frame(number=batch.number, ack=batch.ack, epoch=link.epoch)


def test_given_one_row_when_polled_then_it_goes_at_once_and_the_next_waits_for_the_acknowledgement():
    sender, receiver = Link("a"), Link("b")
    sender.offer("one")

    first = sender.poll()
    sender.offer("two")

    assert first.rows == ["one"]
    assert sender.poll() is None
    assert receiver.receive(frame_of(sender, first))
    ack = receiver.poll()
    assert ack.number == BARE_ACK
    assert not sender.receive(frame_of(receiver, ack))
    assert sender.poll().rows == ["two"]


def test_given_a_window_when_small_frames_go_then_only_the_last_one_asks_for_an_acknowledgement():
    left, right = Link("a", window=3), Link("b", window=3)
    asked = []
    for row in range(3):
        left.offer(row)
        batch = left.poll()
        right.receive(Frame(number=batch.number, ack=batch.ack, epoch="a", wants_ack=batch.wants_ack))
        asked.append((batch.wants_ack, right.owes_ack))
    left.offer("more")

    assert asked == [(False, False), (False, False), (True, True)]
    assert left.poll() is None
    left.receive(frame_of(right, right.poll()))
    assert left.poll().rows == ["more"]


def test_given_a_window_when_a_large_frame_goes_then_the_next_one_waits():
    left = Link("a", window=8)
    left.offer_all(range(20))

    assert left.poll().wants_ack
    left.offer("next")
    assert left.poll() is None


def test_given_a_window_when_rows_come_back_then_they_carry_the_acknowledgement():
    left, right = Link("a", window=2), Link("b", window=2)
    for row in range(10):
        left.offer(row)
        batch = left.poll()
        assert batch.rows == [row]
        right.receive(Frame(number=batch.number, ack=batch.ack, epoch="a", wants_ack=batch.wants_ack))
        right.offer(row)
        left.receive(frame_of(right, right.poll()))

    assert len(left) == 0


def test_given_rows_both_ways_when_answered_then_the_acknowledgement_travels_with_the_answer():
    left, right = Link("a"), Link("b")
    left.offer(1)
    right.offer(2)
    sent = left.poll()

    right.receive(frame_of(left, sent))
    answer = right.poll()

    assert answer.ack == sent.number
    assert right.poll() is None


def test_given_a_frame_twice_when_received_then_it_counts_once_and_is_acknowledged_again():
    left, right = Link("a"), Link("b")
    left.offer(1)
    sent = frame_of(left, left.poll())

    assert right.receive(sent)
    right.poll()
    assert not right.receive(sent)
    assert right.poll().ack == sent.number


def test_given_a_restarted_peer_when_it_sends_its_first_frame_then_it_is_new():
    old, new, receiver = Link("old"), Link("new"), Link("r")
    for link in (old, new):
        link.offer("row")

    assert receiver.receive(frame_of(old, old.poll()))
    assert receiver.receive(frame_of(new, new.poll()))


def test_given_a_held_back_acknowledgement_when_released_then_the_sender_goes_on():
    left, right = Link("a"), Link("b")
    left.offer(1)
    right.receive(frame_of(left, left.poll()), owe_ack=False)

    assert right.poll() is None
    right.release_ack()
    assert right.poll().ack == 1


def test_given_a_peer_that_is_gone_when_taken_back_then_every_row_comes_in_order():
    link = Link("a", max_rows=2)
    link.offer_all(range(5))
    link.poll()

    assert link.take_back() == [0, 1, 2, 3, 4]
    assert len(link) == 0
    assert link.poll() is None


@given(st.lists(st.integers(), max_size=60), st.integers(1, 7), st.integers(0, 2**32), st.floats(0, 0.6))
def test_given_any_losses_of_resent_frames_when_pumped_then_rows_arrive_once_in_order(rows, size, seed, loss):
    rng = random.Random(seed)
    left, right = Link("a", max_rows=size), Link("b", max_rows=size)
    left.offer_all(rows)
    arrived = []

    for _ in range(5000):
        batch = left.poll() or left.resend()
        if batch is None:
            break
        if rng.random() >= loss and right.receive(frame_of(left, batch)):
            arrived.extend(batch.rows)
        ack = right.poll()
        if ack is not None and rng.random() >= loss:
            left.receive(frame_of(right, ack))

    assert arrived == rows


@given(st.integers(0, 1 << 30), st.integers(2, 30))
def test_given_frames_that_overtake_each_other_then_their_rows_are_handled_once_and_in_order(seed, rows):
    rng = random.Random(seed)
    left, right = Link("a", window=4), Link("b", window=4)
    under_way: list[tuple[Frame, list[int]]] = []
    taken: list[int] = []
    contents: dict[int, list[int]] = {}
    sent = 0
    while len(taken) < rows:
        if sent < rows and rng.random() < 0.7:
            left.offer(sent)
            sent += 1
        if (batch := left.poll()) is not None:
            contents[batch.number] = batch.rows
            frame = Frame(number=batch.number, ack=batch.ack, epoch="a", after=batch.after, wants_ack=batch.wants_ack)
            under_way.append((frame, batch.rows))
        if under_way:
            frame, _ = under_way[rng.randrange(len(under_way))]
            if rng.random() < 0.8:  # else it comes once more later
                under_way = [entry for entry in under_way if entry[0] is not frame]
            for ready in right.receive(frame):
                taken += contents[ready.number]
        if (ack := right.poll()) is not None:
            left.receive(frame_of(right, ack))

    assert taken == list(range(rows))


def test_given_the_first_frame_of_a_new_peer_late_when_the_second_comes_then_it_waits():
    left, right = Link("a", window=4), Link("b")
    left.offer("old")
    left.poll()
    left.take_back()
    frames = []
    for row in ("one", "two"):
        left.offer(row)
        batch = left.poll()
        frames.append(Frame(number=batch.number, ack=0, epoch="a", after=batch.after))

    assert right.receive(frames[1]) == []
    assert right.receive(frames[0]) == frames
