"""Traces of cron jobs: when a run was due, how late it began and why; and times that passed without one.

What the run does is a hop of its isolate. Runs that begin in time are followed within a budget; late ones always are, so many per guild.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flora.actors.cron_jobs import LATE_S, JobRun, Unrun
from flora.actors.isolate.allowance import TokenBucket
from flora.actors.trace_sampling import Admission
from flora.messages.base import TraceContext
from flora.messages.trace import current_trace, new_span_id, new_trace_id
from flora.storage.trace_record import OK, TraceRecord

FOLLOWED_PER_S, FOLLOWED_AT_ONCE = 10.0, 50.0  # of a worker
GUILD_PER_S, GUILD_AT_ONCE = 0.2, 5.0
LATE, SKIPPED, MISSED = "late", "skipped", "missed"


class CronTraces:
    """Of one worker. Times are seconds since the epoch, but for those of the budgets."""

    def __init__(
        self, keep: Callable[[TraceRecord], None], process: str, slow_us: int, monotonic_s: Callable[[], float]
    ) -> None:
        """
        Args:
            keep: Where records go.
            slow_us: What is as late as that is late, also under a second; 0: nothing is.
        """
        self._keep = keep
        self._process = process
        self._late_s = min(LATE_S, slow_us / 1e6) if slow_us else LATE_S
        self._monotonic_s = monotonic_s
        self._budget = TokenBucket(FOLLOWED_PER_S, FOLLOWED_AT_ONCE, monotonic_s())
        self._guilds = Admission(GUILD_PER_S, GUILD_AT_ONCE)
        self._late = Admission()

    def begin(self, run: JobRun, now_s: float) -> TraceContext:
        """A run begins. Gives what it belongs to: what asked for it, or a trace of its own."""
        asked = current_trace.get()
        late_s = max(0.0, now_s - run.due_s) if run.due_s is not None else 0.0
        is_late = late_s >= self._late_s
        suppressed = self._admitted(run.guild_id, is_late=is_late)
        trace = asked if run.due_s is None and asked is not None else TraceContext(trace_id=new_trace_id())
        if suppressed is None and not trace.sampled:
            return trace
        span = new_span_id()
        self._keep(
            TraceRecord(
                trace=trace.trace_id,
                span=span,
                parent=trace.span_id,
                process=self._process,
                name="cron.due",
                kind="cron",
                at_us=int((now_s if run.due_s is None else run.due_s) * 1e6),
                took_us=int(late_s * 1e6),
                outcome=LATE if is_late else OK,
                guild_id=run.guild_id,
                event=run.name,
                why=run.delay if is_late else "",
                attrs={"suppressed": suppressed} if suppressed else {},
            )
        )
        return replace(trace, span_id=span, sampled=True, sent_us=0)

    def unrun(self, unrun: Unrun) -> None:
        """A time has passed without a run."""
        if self._late.admit(unrun.guild_id, self._monotonic_s()) is None:
            return
        self._keep(
            TraceRecord(
                trace=new_trace_id(),
                span=new_span_id(),
                process=self._process,
                name="cron.due",
                kind="cron",
                at_us=int(unrun.due_s * 1e6),
                outcome=SKIPPED if unrun.is_wanted else MISSED,
                guild_id=unrun.guild_id,
                event=unrun.name,
                why=unrun.delay,
                attrs={"times": unrun.times} if unrun.times > 1 else {},
            )
        )

    def _admitted(self, guild_id: str, *, is_late: bool) -> int | None:
        """How many were left out before this one; None: it is left out."""
        now_s = self._monotonic_s()
        if is_late:
            return self._late.admit(guild_id, now_s)
        followed = self._guilds.admit(guild_id, now_s) is not None and self._budget.take(now_s)
        return 0 if followed else None
