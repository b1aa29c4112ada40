"""The gateway's hops of events: it chooses which ones are traced, and says when they were read and when they left for the router."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flora.actors.discord.sink import Row
from flora.actors.event_stamps import EventHop, event_span
from flora.actors.trace_sampling import Admission, HeadSampler, kept_per_second
from flora.actors.tracing import Tracer, now_us
from flora.messages.dispatch import Outcome
from flora.messages.trace import new_trace_id

SENT_AGAIN = "the gateway died before it had handed this on; its successor had Discord send it again, so it came late"
MAX_FOLLOWED = 10_000  # events that were chosen and may have to be sent once more


class GatewayHops:
    """Of one gateway. All but `shed` on the actor's thread."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._sampler = HeadSampler(tracer.settings.events_per_second, time.monotonic())
        self._shed = Admission(total_rate=kept_per_second(1), now_s=time.monotonic())
        self._late = Admission(total_rate=kept_per_second(1), now_s=time.monotonic())
        self._followed: dict[int, None] = {}
        self._next_seq = 0  # above every event that has been looked at
        self._resumes = False
        self._sent_again_until_us = 0  # what was read by then had been missed by the gateway before this one

    def resumes(self) -> None:
        """This gateway goes on where another one died: first Discord sends again what that one has not handed on."""
        self._resumes = True

    def has_resumed(self) -> None:
        """Discord has sent everything again."""
        if self._resumes:
            self._resumes, self._sent_again_until_us = False, now_us()

    def _is_sent_again(self, row: Row) -> bool:
        return self._resumes or row[3] <= self._sent_again_until_us

    def leaving(self, first_seq: int, rows: Sequence[Row]) -> tuple[int, ...]:
        """Events go to the router, numbered from `first_seq`. Gives the numbers of those that are traced."""
        if not rows:
            return ()
        at_us, known = now_us(), max(0, self._next_seq - first_seq)
        again = [seq for seq in range(first_seq, first_seq + min(known, len(rows))) if seq in self._followed]
        for seq in again:
            self._write_again(seq, rows[seq - first_seq], at_us)
        self._next_seq = max(self._next_seq, first_seq + len(rows))
        fresh = rows[known:] if known else rows
        chosen = [at + known for at in self._sampler.choose([row[0] for row in fresh], time.monotonic())]
        if fresh and self._is_sent_again(fresh[0]):
            chosen = self._with_those_sent_again(chosen, rows, known)
        for at in chosen:
            self._follow(first_seq + at, rows[at], at_us)
        return (*again, *(first_seq + at for at in chosen))

    def _with_those_sent_again(self, chosen: list[int], rows: Sequence[Row], first: int) -> list[int]:
        """They are late, though nobody else can see it: so many of each guild are traced, too."""
        now_s, late = time.monotonic(), []
        for at in range(first, len(rows)):
            row = rows[at]
            if row[0] and self._is_sent_again(row) and self._late.admit(row[0], now_s) is not None:
                late.append(at)
        return sorted({*chosen, *late})

    def _follow(self, seq: int, row: Row, at_us: int) -> None:
        if len(self._followed) >= MAX_FOLLOWED:
            del self._followed[next(iter(self._followed))]
        self._followed[seq] = None
        self._tracer.hop(
            self._tracer.event_trace(seq),
            "gateway.receive",
            kind="event",
            span=event_span(EventHop.RECEIVE, seq),
            at_us=row[3],
            took_us=at_us - row[3],
            guild_id=row[0],
            event=row[1],
            why=SENT_AGAIN if self._is_sent_again(row) else "",
            attrs={"seq": seq},
        )

    def _write_again(self, seq: int, row: Row, at_us: int) -> None:
        self._tracer.hop(
            self._tracer.event_trace(seq),
            "gateway.resend",
            kind="event",
            parent=event_span(EventHop.RECEIVE, seq),
            at_us=at_us,
            guild_id=row[0],
            event=row[1],
            why="the router was restarted; it learns from the workers what they have of this",
        )

    def shed(self, guild_id: str, name: str) -> None:
        """An event is dropped here. On the loop; it has no number, so its trace is this one hop."""
        suppressed = self._shed.admit(guild_id, time.monotonic())
        if suppressed is not None:
            self._tracer.hop(
                new_trace_id(),
                "gateway.receive",
                kind="event",
                at_us=now_us(),
                outcome=Outcome.SHED,
                guild_id=guild_id,
                event=name,
                why="too many events are waiting for the router",
                attrs={"suppressed": suppressed} if suppressed else None,
            )
