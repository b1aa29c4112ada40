"""What a worker tells its router: events that are done, guilds that serve, are lost or do not end. Pure, but for one timer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flora.actors.event_book import EventBook
from flora.actors.link import WINDOW, Batch, Link
from flora.actors.worker_tracing import EventHops
from flora.messages.dispatch import TracedEnd, WorkerFrame, WorkerReport

REPORT_EVERY_S = 0.02
REPORT_ROWS = 64
MAX_FRAME_ROWS = 1024

DONE, SUBSCRIBED, LOST, WEDGED, TRACED = range(5)
ReportRow = tuple[Any, ...]
"""(DONE, seq, guild id, outcome) | (SUBSCRIBED, guild id, names) | (LOST, guild id, why) | (WEDGED, guild id, why; "": over)
| (TRACED, and what `TracedEnd` has)"""


class RouterReports:
    """Collects rows and turns them into frames for the router; knows what came from it and is not done."""

    def __init__(self, epoch: str, after: Callable[[float, Callable[[], None]], int]) -> None:
        """Makes an empty report.

        Args:
            epoch: Of the worker's links.
            after: Calls a function after a delay in seconds, on the worker's thread.
        """
        self.link: Link[ReportRow] = Link(epoch, MAX_FRAME_ROWS, window=WINDOW)
        self.book = EventBook()
        self.hops: EventHops | None = None  # where tracing is on
        self._after = after
        self._timer = 0
        self._must_report = False  # something for the router that must not wait

    def done(self, seq: int, guild_id: str, outcome: str, elapsed_us: int = 0, key: int = 0) -> None:
        """Completions only tell the router how much is under way: they wait a little for company.

        `key`: of the isolate that had it; 0: none.
        """
        arrival = self.book.done(guild_id, seq)
        self.link.offer((DONE, seq, guild_id, outcome))
        if self.hops is not None:
            self.hops.done(key, seq, guild_id, outcome, elapsed_us, arrival)
        if not self._timer:
            self._timer = self._after(REPORT_EVERY_S, self._report_is_due)

    def traced(self, end: TracedEnd) -> None:
        """An event that is done was written down."""
        self.link.offer((TRACED, *end))

    def subscribed(self, guild_id: str, names: tuple[str, ...]) -> None:
        """A guild's script serves and handles these events."""
        self._at_once((SUBSCRIBED, guild_id, names))

    def lost(self, guild_id: str, why: str) -> None:
        """A guild's script was given up."""
        self._at_once((LOST, guild_id, why))

    def wedged(self, guild_id: str, why: str) -> None:
        """An isolate does not end, and what its guild has not done is no longer this worker's."""
        self.book.gave_up(guild_id)
        self._at_once((WEDGED, guild_id, why))

    def wedge_is_over(self, guild_id: str) -> None:
        """It has ended after all."""
        self._at_once((WEDGED, guild_id, ""))

    def forget_router(self) -> None:
        """What was for a router that is gone; the next one is told by `state` and `remind`."""
        self.link.take_back()

    def state(
        self, guilds: tuple[tuple[str, tuple[str, ...]], ...], frozen: tuple[tuple[str, int], ...] = ()
    ) -> WorkerReport:
        """What a new router must know first. guilds: (guild id, event names) of those that serve; frozen: as in WorkerReport."""
        book = self.book
        return WorkerReport(guilds=guilds, received=book.received(), unfinished=book.unfinished(), frozen=frozen)

    def remind(self, wedged: Iterable[tuple[str, str]]) -> None:
        """Tells a new router of isolates that do not end: (guild id, why)."""
        self.link.offer_all((WEDGED, guild_id, why) for guild_id, why in wedged)
        self._must_report = True

    def poll(self) -> WorkerFrame | None:
        """The frame to send to the router now, if any."""
        if not (self._must_report or self.link.owes_ack or self.link.waiting >= REPORT_ROWS):
            return None
        batch = self.link.poll()
        if batch is None:
            return None
        self._must_report = False
        return self._frame(batch)

    def _at_once(self, row: ReportRow) -> None:
        self.link.offer(row)
        self._must_report = True

    def _report_is_due(self) -> None:
        self._timer = 0
        self._must_report = True

    def _frame(self, batch: Batch[ReportRow]) -> WorkerFrame:
        parts: tuple[list[Any], ...] = ([], [], [], [], [])
        for row in batch.rows:
            parts[row[0]].append(row[1:])
        done, subscriptions, lost, wedged = map(tuple, parts[:TRACED])
        return WorkerFrame(
            number=batch.number,
            ack=batch.ack,
            after=batch.after,
            wants_ack=batch.wants_ack,
            epoch=self.link.epoch,
            done=done,
            subscriptions=subscriptions,
            lost=lost,
            wedged=wedged,
            traced=tuple(TracedEnd(*row) for row in parts[TRACED]),
        )
