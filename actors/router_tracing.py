"""The router's hops of events: when they came, how long they were held and why, when they went to which worker, and where they ended.

It writes what the gateway chose as it happens, and what goes wrong here: events that are dropped, held, or with a worker that died.
Of other events it keeps times only, frame by frame; a worker says which of them turned out to be slow or failed, and then their
first hops are written here, the gateway's included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flora.actors.event_stamps import EventHop, FrameStamps, event_span
from flora.actors.lanes import Lanes, Row, Salvage
from flora.actors.trace_sampling import Admission, kept_per_second
from flora.actors.tracing import Tracer, now_us
from flora.messages.dispatch import Outcome, TracedEnd
from flora.messages.gateway import GatewayFrame
from flora.messages.ids import GuildId, WorkerId

MAX_FOLLOWED = 10_000  # events that are traced; the oldest are forgotten, done or not
HELD = "held"


@dataclass(slots=True)
class _Followed:
    """An event that is traced."""

    guild_id: str
    event: str
    came_us: int
    has_route: bool = False  # its way to a worker has been written down


class RouterHops:
    """Of one router."""

    def __init__(self, tracer: Tracer, lanes: Lanes, why_held: Callable[[GuildId], str]) -> None:
        """why_held: a sentence on what a guild's events wait for."""
        self._tracer = tracer
        self._lanes = lanes
        self._why_held = why_held
        self._stamps = FrameStamps()
        self._followed: dict[int, _Followed] = {}
        self._admission = Admission(total_rate=kept_per_second(1), now_s=time.monotonic())

    # On the way in

    def came(self, msg: GatewayFrame) -> None:
        """A frame of the gateway's is taken in."""
        at_us = now_us()
        self._stamps.took(msg.first_seq, msg.received_us, at_us)
        for seq in msg.traced:
            at = seq - msg.first_seq
            self._follow(seq, _Followed(msg.guild_ids[at], msg.names[at], at_us))

    def _follow(self, seq: int, followed: _Followed) -> _Followed:
        if len(self._followed) >= MAX_FOLLOWED:
            del self._followed[next(iter(self._followed))]
        self._followed[seq] = followed
        return followed

    def not_sent(self, row: Row) -> None:
        """An event was not sent on: it was dropped, or waits."""
        lane = self._lanes.get(GuildId(row[1]))
        if lane is None:
            self._dropped(row, Outcome.NO_ISOLATE, "the guild has no script that runs")
        elif lane.shedding:
            self._dropped(row, Outcome.SHED, "too many events are waiting")
        else:
            self._held(row, self._why_held(GuildId(row[1])))

    def lost(self, rows: Iterable[Row]) -> None:
        """Events that waited for a script that will not run any more."""
        for row in rows:
            self._dropped(row, Outcome.NO_ISOLATE, "the guild's script was ended, or did not load, while it waited")

    def _dropped(self, row: Row, outcome: str, why: str) -> None:
        admitted = self._admitted(row)
        if admitted is not None:
            followed, suppressed = admitted
            self._write_route(row[0], followed, now_us(), outcome=outcome, why=why, suppressed=suppressed)
            self._followed.pop(row[0], None)

    def _held(self, row: Row, why: str) -> None:
        admitted = self._admitted(row)
        if admitted is not None:
            self._write(row[0], admitted[0], "router.hold", now_us(), outcome=HELD, why=why, suppressed=admitted[1])

    def _admitted(self, row: Row) -> tuple[_Followed, int] | None:
        """It is traced from here on, if it was not and its guild does not have too many; then also what came before is written down."""
        seq, guild_id, event, _ = row
        followed = self._followed.get(seq)
        if followed is not None:
            return followed, 0
        suppressed = self._admission.admit(guild_id, time.monotonic())
        if suppressed is None:
            return None
        received_us, came_us = self._times(seq)
        followed = self._follow(seq, _Followed(guild_id, event, came_us))
        self._write_root(seq, followed, received_us)
        return followed, suppressed

    def _times(self, seq: int, received_us: int = 0, by_us: int = 0) -> tuple[int, int]:
        """When the gateway read an event and when it came here; where that is forgotten, as near as is known."""
        known_us, came_us = self._stamps.of(seq)
        came_us = came_us or by_us or now_us()
        return known_us or received_us or came_us, came_us

    # To the workers and back

    def stamps(self, worker: WorkerId, seqs: Sequence[int]) -> dict[str, Any]:
        """Events go to a worker now: what its frame says of them beside themselves."""
        at_us = now_us()
        traced: tuple[int, ...] = ()
        if self._followed:
            traced = tuple(filter(self._followed.__contains__, seqs))
            for seq in traced:
                self._write_route(seq, self._followed[seq], at_us, worker=worker)
        return {"traced": traced, "received_us": self._stamps.of(seqs[0])[0], "sent_us": at_us}

    def ended(self, worker: WorkerId, ends: Iterable[TracedEnd]) -> None:
        """A worker has written down how events ended."""
        at_us = now_us()
        for end in ends:
            followed = self._followed.pop(end.seq, None)
            received_us, came_us = self._times(end.seq, end.received_us, end.sent_us)
            if followed is None:
                followed = _Followed(end.guild_id, end.event, came_us)
            if not end.was_traced:
                self._write_root(end.seq, followed, received_us)
                self._write_route(end.seq, followed, end.sent_us or came_us, worker=worker, suppressed=end.suppressed)
            self._tracer.hop(
                self._tracer.event_trace(end.seq),
                "router.done",
                kind="event",
                span=event_span(EventHop.DONE, end.seq),
                parent=event_span(EventHop.RUN, end.seq),
                at_us=at_us,
                guild_id=end.guild_id,
                event=end.event,
                attrs={"total_us": at_us - received_us},
            )

    def worker_died(self, worker: WorkerId, salvages: Iterable[Salvage], why: Callable[[GuildId], str]) -> None:
        """A worker is gone. What had started failed, what had not waits again at the head of its lane. why: what ended the worker."""
        at_us = now_us()
        for salvage in salvages:
            for row in salvage.failed:
                self._died(row, worker, at_us, why(salvage.guild_id))
            lane = self._lanes.get(salvage.guild_id)
            for row in islice(lane.waiting, salvage.kept) if lane is not None else ():
                self._held(row, f"worker {worker} died; this had not started and is sent again")

    def _died(self, row: Row, worker: WorkerId, at_us: int, why: str) -> None:
        admitted = self._admitted(row)
        if admitted is None:
            return
        seq, (followed, suppressed) = row[0], admitted
        self._followed.pop(seq, None)
        if not followed.has_route:
            self._write_route(seq, followed, followed.came_us, worker=worker)
        self._tracer.hop(
            self._tracer.event_trace(seq),
            "isolate.run",
            kind="event",
            span=event_span(EventHop.RUN, seq),
            parent=event_span(EventHop.ROUTE, seq),
            process=f"worker {worker}",
            at_us=followed.came_us,
            took_us=at_us - followed.came_us,
            outcome=Outcome.DIED,
            guild_id=followed.guild_id,
            event=followed.event,
            why=why,
            attrs={"suppressed": suppressed} if suppressed else None,
        )

    # Records

    def _write_root(self, seq: int, followed: _Followed, received_us: int) -> None:
        """The gateway's hop, of an event that it did not choose."""
        self._tracer.hop(
            self._tracer.event_trace(seq),
            "gateway.receive",
            kind="event",
            span=event_span(EventHop.RECEIVE, seq),
            process="gateway",
            at_us=received_us,
            took_us=followed.came_us - received_us,
            guild_id=followed.guild_id,
            event=followed.event,
            attrs={"seq": seq},
        )

    def _write_route(
        self,
        seq: int,
        followed: _Followed,
        at_us: int,
        *,
        worker: WorkerId | None = None,
        outcome: str = Outcome.OK,
        why: str = "",
        suppressed: int = 0,
    ) -> None:
        """The way through the router, from coming to leaving. A second one (its first worker died) is another span."""
        span = "" if followed.has_route else event_span(EventHop.ROUTE, seq)
        followed.has_route = True
        attrs: dict[str, int] = {} if worker is None else {"worker": worker}
        self._tracer.hop(
            self._tracer.event_trace(seq),
            "router.wait",
            kind="event",
            span=span,
            parent=event_span(EventHop.RECEIVE, seq),
            at_us=followed.came_us,
            took_us=at_us - followed.came_us,
            outcome=outcome,
            guild_id=followed.guild_id,
            event=followed.event,
            why=why,
            attrs=attrs | ({"suppressed": suppressed} if suppressed else {}),
        )

    def _write(
        self, seq: int, followed: _Followed, name: str, at_us: int, *, outcome: str, why: str, suppressed: int
    ) -> None:
        self._tracer.hop(
            self._tracer.event_trace(seq),
            name,
            kind="event",
            parent=event_span(EventHop.RECEIVE, seq),
            at_us=at_us,
            outcome=outcome,
            guild_id=followed.guild_id,
            event=followed.event,
            why=why,
            attrs={"suppressed": suppressed} if suppressed else None,
        )
