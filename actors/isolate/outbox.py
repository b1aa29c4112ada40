"""What an isolate has to tell its worker next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flora.actors.isolate.runs import CRON_PREFIX, Event
from flora.actors.worker_series import WorkerSeries
from flora.messages.cron import CronJobSpec
from flora.messages.isolate import IsolateReport

JS_TARGET, OUR_TARGET = "flora:js", "flora:runtime"


@dataclass(slots=True)
class Outbox:
    """Collects until a report is due."""

    series: WorkerSeries = field(default_factory=WorkerSeries)  # of the worker, where ends are counted by name
    done: list[tuple[int, str, int]] = field(default_factory=list)
    jobs_done: list[tuple[str, str, int]] = field(default_factory=list)
    jobs: tuple[CronJobSpec, ...] | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fetches: list[tuple[int, Any]] = field(default_factory=list)
    fetches_taken: int = 0
    kv_ops: list[tuple[int, str, Any]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    op_owners: list[int] = field(default_factory=list)
    logs: list[tuple[str, str, str]] = field(default_factory=list)
    handlers_changed: bool = False
    rebuilt: bool = False
    lost: str | None = None
    wedged: str | None = None
    unstarted: list[Event] = field(default_factory=list)
    starts_no_more: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def has_news(self) -> bool:
        """Whether a report has to go now."""
        started = self.calls or self.kv_ops or self.fetches or self.fetches_taken
        return bool(
            self.done
            or self.jobs_done
            or self.jobs is not None
            or started
            or self.cancelled
            or self.logs
            or self.handlers_changed
            or self.rebuilt
            or self.lost
            or self.wedged
            or self.unstarted
            or self.starts_no_more
        )

    def ended(self, seq: int, name: str, outcome: str, elapsed_us: int) -> None:
        """An event, or a run of a cron job, has come to its end."""
        self.series.ended(name, outcome, elapsed_us)
        if seq < 0:
            self.jobs_done.append((name.removeprefix(CRON_PREFIX), outcome, elapsed_us))
        else:
            self.done.append((seq, outcome, elapsed_us))

    def count(self, counter: str, by: int = 1) -> None:
        """Adds to a field of WorkerCounters; goes with the next report, and is no reason for one."""
        self.counts[counter] = self.counts.get(counter, 0) + by

    def tell(self, level: str, text: str) -> None:
        """A line of ours for the author."""
        self.logs.append((level, OUR_TARGET, text))

    def clear(self) -> None:
        """Everything collected has been said."""
        collected = (
            self.done,
            self.jobs_done,
            self.calls,
            self.kv_ops,
            self.fetches,
            self.cancelled,
            self.op_owners,
            self.logs,
            self.unstarted,
            self.counts,
        )
        for each in collected:
            if each:  # most are empty every time
                each.clear()
        self.handlers_changed = self.rebuilt = self.starts_no_more = False
        self.fetches_taken = 0
        self.lost = self.wedged = self.jobs = None

    def report(
        self, key: int, handlers: list[str], busy: bool, quiet_until_s: float, wake_in_s: float | None
    ) -> IsolateReport:
        """Everything collected, as a message."""
        return IsolateReport(
            key=key,
            done=tuple(self.done),
            jobs_done=tuple(self.jobs_done),
            jobs=self.jobs,
            calls=tuple(self.calls),
            fetches=tuple(self.fetches),
            fetches_taken=self.fetches_taken,
            kv_ops=tuple(self.kv_ops),
            cancelled_ops=tuple(self.cancelled),
            op_owners=tuple(self.op_owners),
            logs=tuple(self.logs),
            handlers=tuple(handlers) if self.handlers_changed else None,
            rebuilt=self.rebuilt,
            busy=busy,
            quiet_until_s=quiet_until_s,
            wake_in_s=wake_in_s,
            lost=self.lost,
            wedged=self.wedged,
            unstarted=tuple(self.unstarted),
            starts_no_more=self.starts_no_more,
            counted=tuple(self.counts.items()) if self.counts else (),
        )


def kind_of(name: str) -> str:
    """What the author calls an event of this name: dispatch, cron or broadcast."""
    return "broadcast" if name == "ready" else "cron" if name.startswith(CRON_PREFIX) else "dispatch"
