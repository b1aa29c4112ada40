"""A worker's hops of events and cron runs: when they came, how long they waited for their isolate, how they ended, what they asked for.

What the gateway chose is written down as it happens. Of everything else only the times are kept while it is under way; if it turns out to
be slow, or fails, its hops are written when it ends, and the router, which is told, writes those before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flora.actors.event_stamps import Arrival, EventHop, event_span
from flora.actors.op_notes import Cause, OpNote
from flora.actors.op_tracing import OpHops
from flora.actors.trace_sampling import Admission, kept_per_second
from flora.actors.tracing import Tracer, now_us
from flora.messages.base import TraceContext
from flora.messages.dispatch import DispatchFrame, Outcome, TracedEnd
from flora.messages.isolate import IsolateReport, RunJob
from flora.messages.trace import new_span_id, new_trace_id
from flora.storage.trace_record import OK

MAX_SAMPLED = 10_000  # events that are traced and have not ended; more, and the oldest are not followed any further
WORTH_A_REASON_US = 100_000  # what waited for less needs none
LONGEST_HOLD_US = 60_000_000  # so long ago may have begun what an event still waits for
REASONS: dict[
    str, str
] = {  # where nothing better is known; what a script threw may quote what people wrote, and is in its log
    Outcome.THREW: "a handler threw; the error is in the guild's log",
    Outcome.NEVER_SETTLED: "it waited for something that cannot come",
    Outcome.TIMED_OUT: "it did not end within its limit, and was ended",
    Outcome.OUT_OF_MEMORY: "the script was out of memory, and was ended",
    Outcome.DIED: "its isolate came to its end",
    Outcome.NO_ISOLATE: "the guild has no script in this worker any more",
}
FINE = frozenset({Outcome.OK, Outcome.NOT_A_PROMISE})  # a script's own dispatcher may return what it likes
EVENT, CRON = "event", "cron"


@dataclass(frozen=True, slots=True)
class _JobRun:
    """A run of a cron job that has been handed to its isolate."""

    cause: Cause
    handed_us: int
    seq: int  # below 0, as the isolate numbers it
    is_traced: bool


class EventHops:
    """Of one worker. `ended` hears of each event that was written down."""

    def __init__(self, tracer: Tracer, ended: Callable[[TracedEnd], None], workers: int = 1) -> None:
        """workers: how many share what is written down of all guilds."""
        self._tracer = tracer
        self._ended = ended
        self._slow_us = tracer.settings.slow_ms * 1000
        self._admission = Admission(total_rate=kept_per_second(workers), now_s=time.monotonic())
        self.ops = OpHops(tracer)
        self._jobs: dict[tuple[int, str], _JobRun] = {}
        self._job_counts: dict[int, int] = {}
        self._failed: dict[int, Cause] = {}  # by isolate: its last run that failed and was written down
        self._rebuilt_us: dict[int, int] = {}  # when an isolate was made anew last
        self._throttled_us: dict[int, int] = {}  # when an isolate had used up its processor time last
        self.now_us = 0

    # Events

    def arrived(self, msg: DispatchFrame) -> Arrival:
        """A frame has come from the router. Gives what is to be kept with its events."""
        at_us = now_us()
        received_us = msg.received_us or at_us
        arrival = Arrival(at_us, received_us, msg.sent_us or at_us, msg.seqs, msg.names)
        for seq in msg.traced:
            self._follow(seq, msg, arrival)
        return arrival

    def _follow(self, seq: int, msg: DispatchFrame, arrival: Arrival) -> None:
        at = msg.seqs.index(seq)
        if len(self.ops.events) >= MAX_SAMPLED:
            del self.ops.events[next(iter(self.ops.events))]
        self.ops.events[seq] = self._cause(seq, msg.guild_ids[at], msg.names[at], arrival)

    def _cause(self, seq: int, guild_id: str, event: str, arrival: Arrival | None) -> Cause:
        """Writes down that it came here, where that is known: its run follows from that."""
        trace, parent = self._tracer.event_trace(seq), event_span(EventHop.ROUTE, seq)
        if arrival is not None:
            event = event or arrival.name_of(seq)
            parent = self._write_arrival(trace, parent, guild_id, event, arrival)
        return Cause(trace, event_span(EventHop.RUN, seq), parent, EVENT, guild_id, event)

    def _write_arrival(self, trace: str, parent: str, guild_id: str, event: str, arrival: Arrival) -> str:
        return self._tracer.hop(
            trace,
            "worker.receive",
            kind=EVENT,
            at_us=arrival.at_us,
            queued_us=arrival.at_us - arrival.sent_us,
            parent=parent,
            guild_id=guild_id,
            event=event,
        )

    def done(self, key: int, seq: int, guild_id: str, outcome: str, elapsed_us: int, arrival: Arrival | None) -> None:
        """An event has ended. Called for each: what nobody wants to know of must leave quickly. `key` 0: no isolate had it."""
        ops = self.ops
        notes = ops.take(key, seq)
        is_slow = arrival is not None and self.now_us - arrival.received_us >= self._slow_us
        if is_slow or outcome not in FINE or seq in ops.events or seq in ops.notable:
            self._write_end(key, seq, guild_id, outcome, elapsed_us, arrival, notes)

    def _write_end(
        self,
        key: int,
        seq: int,
        guild_id: str,
        outcome: str,
        elapsed_us: int,
        arrival: Arrival | None,
        notes: list[OpNote] | None,
    ) -> None:
        self.ops.notable.discard(seq)
        outcome = OK if outcome in FINE else outcome
        cause = self.ops.events.pop(seq, None)
        was_traced, suppressed = cause is not None, 0
        if cause is None:
            admitted = self._admission.admit(guild_id, time.monotonic())
            if admitted is None:
                return
            suppressed = admitted
            cause = self._cause(seq, guild_id, "", arrival)
        came_us = arrival.at_us if arrival is not None else 0
        begun_us = self._begun_us(elapsed_us, came_us, notes)
        came_us = came_us or begun_us
        why = self._why_waited(key, came_us, begun_us)
        self._write_run(cause, outcome, begun_us, begun_us - came_us, suppressed, why)
        if outcome != OK and key:
            self._failed[key] = cause
        if notes:
            self.ops.write(notes, cause)
        if arrival is not None:
            received_us, sent_us = arrival.received_us, arrival.sent_us
        else:
            received_us = sent_us = 0
        self._ended(TracedEnd(seq, guild_id, cause.event, outcome, was_traced, received_us, sent_us, suppressed))

    def _begun_us(self, elapsed_us: int, came_us: int, notes: list[OpNote] | None) -> int:
        """When a run that has just ended began: the isolate counts whole milliseconds, and its word may come late."""
        begun_us = self.now_us - elapsed_us
        if notes:
            begun_us = min(begun_us, notes[0].asked_us)
        return max(begun_us, came_us)

    def _why_waited(self, key: int, came_us: int, begun_us: int) -> str:
        if begun_us - came_us < WORTH_A_REASON_US:
            return ""
        if came_us <= self._rebuilt_us.get(key, 0) <= begun_us:
            return "it waited for its isolate, which was being made anew"
        if came_us - LONGEST_HOLD_US < self._throttled_us.get(key, 0) <= begun_us:
            return "it waited because the guild's processor budget was used up"
        return ""

    def _write_run(
        self, cause: Cause, outcome: str, begun_us: int, waited_us: int, suppressed: int, why: str = ""
    ) -> None:
        self._tracer.hop(
            cause.trace,
            "isolate.run",
            kind=cause.kind,
            span=cause.span,
            parent=cause.parent,
            at_us=begun_us,
            queued_us=waited_us,
            took_us=self.now_us - begun_us,
            outcome=outcome,
            guild_id=cause.guild_id,
            event=cause.event,
            why=why or REASONS.get(outcome, ""),
            attrs={"suppressed": suppressed} if suppressed else None,
        )

    # Runs of cron jobs

    def job_handed(self, key: int, guild_id: str, run: RunJob) -> None:
        """A run goes to its isolate, which numbers them -1, -2, …"""
        count = self._job_counts[key] = self._job_counts.get(key, 0) + 1
        trace = run.trace or TraceContext(trace_id=new_trace_id())
        cause = Cause(trace.trace_id, new_span_id(), trace.span_id, CRON, guild_id, run.name)
        self._jobs[key, run.name] = _JobRun(cause, now_us(), -count, trace.sampled)
        if trace.sampled:
            self.ops.jobs[key, -count] = cause

    def job_done(self, key: int, guild_id: str, name: str, outcome: str, elapsed_us: int) -> None:
        """A run has ended."""
        run = self._jobs.pop((key, name), None)
        if run is None:
            return
        self.ops.jobs.pop((key, run.seq), None)
        notes = self.ops.take(key, run.seq)
        fast = self.now_us - run.handed_us < self._slow_us
        if outcome == OK and fast and not run.is_traced:
            return
        suppressed = 0 if run.is_traced else self._admission.admit(guild_id, time.monotonic())
        if suppressed is None:
            return
        begun_us = self._begun_us(elapsed_us, run.handed_us, notes)
        why = self._why_waited(key, run.handed_us, begun_us)
        self._write_run(run.cause, outcome, begun_us, begun_us - run.handed_us, suppressed, why)
        if outcome != OK:
            self._failed[key] = run.cause
        if notes:
            self.ops.write(notes, run.cause)

    # Isolates

    def reported(self, key: int, report: IsolateReport) -> None:
        """An isolate says something. Called before what it says is acted on."""
        self.now_us = time.time_ns() // 1000
        if report.op_owners or report.calls or report.fetches or report.kv_ops:
            self.ops.reported(key, report, self.now_us)
        if report.cancelled_ops:
            self.ops.cancelled(key, report.cancelled_ops)
        if report.counted and any(counter == "guild_throttled" for counter, _ in report.counted):
            self._throttled_us[key] = self.now_us

    def rebuilt(self, key: int) -> None:
        """An isolate is made anew; called after the runs that ended with the one before."""
        self._rebuilt_us[key] = self.now_us
        cause = self._failed.pop(key, None)
        if cause is not None:
            self._tracer.hop(
                cause.trace,
                "isolate.rebuild",
                kind=cause.kind,
                parent=cause.span,
                at_us=self.now_us,
                guild_id=cause.guild_id,
                event=cause.event,
                why="the script starts again in a new isolate; its events wait for that",
            )

    def isolate_gone(self, key: int) -> None:
        """Nothing more comes of it."""
        self.ops.isolate_gone(key)
        self._job_counts.pop(key, None)
        self._throttled_us.pop(key, None)
        self._rebuilt_us.pop(key, None)
        self._failed.pop(key, None)
        for job in [job for job in self._jobs if job[0] == key]:
            run = self._jobs.pop(job)
            self.ops.jobs.pop((key, run.seq), None)
