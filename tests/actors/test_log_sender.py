"""Lines on their way to a log book that may be killed at any moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flora.actors.log_sender import LogSender
from flora.messages.logs import LogAck, LogFrame


class Books:
    """One log book after the other; `kept` is what the present one has."""

    def __init__(self) -> None:
        self.sender = LogSender("s")
        self.kept: list[str] = []
        self.last_number = 0
        self.acked: list[str] = []  # by any book: these may die with it
        self.said = 0
        self.on_its_way: LogFrame | None = None
        self.ack: LogAck | None = None

    def say(self) -> None:
        self.sender.line("info", "g", str(self.said))
        self.said += 1

    def send(self) -> None:
        frame = self.sender.poll()
        self.on_its_way = frame or self.on_its_way

    def arrive(self) -> None:
        frame, self.on_its_way = self.on_its_way, None
        if frame is not None:
            if frame.number > self.last_number:
                self.kept.extend(line[4] for line in frame.lines)
                self.last_number = frame.number
            self.ack = LogAck(number=0, ack=frame.number, epoch="book")

    def acknowledge(self) -> None:
        if self.ack is not None:
            self.sender.acknowledged(self.ack)
            self.acked = list(self.kept)
            self.ack = None

    def kill(self) -> None:
        self.kept, self.last_number, self.on_its_way, self.ack = [], 0, None, None
        self.on_its_way = self.sender.moved("the next")


@given(steps=st.lists(st.sampled_from(["say", "send", "arrive", "acknowledge", "kill"]), max_size=60))
def test_given_log_books_killed_at_any_moment_then_every_line_that_none_had_acknowledged_reaches_the_next_in_order(
    steps: list[str],
) -> None:
    books = Books()
    lost_with_a_book = 0
    for step in steps:
        if step == "kill":
            lost_with_a_book = max([lost_with_a_book, *(int(text) + 1 for text in books.acked)])
        getattr(books, step)()

    for _ in range(3):
        books.arrive()
        books.acknowledge()
        books.send()

    numbers = [int(text) for text in books.kept]
    assert numbers == list(range(numbers[0] if numbers else books.said, books.said)), "a gap, a repetition, or no order"
    assert not numbers or numbers[0] <= lost_with_a_book


def test_given_dropped_lines_when_their_frame_goes_again_then_their_count_does_too() -> None:
    sender = LogSender("s")
    for _ in range(10_001):
        sender.line("info", "g", "x")
    first = sender.poll()

    again = sender.moved("the next")

    assert first is not None
    assert again is not None
    assert (first.dropped, again.dropped) == ((("g", 1),), (("g", 1),))
    assert again.lines == first.lines
