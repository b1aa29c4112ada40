"""Counters of one worker. Pure.

Names are those of GET /api/metrics/json. Percentiles of latencies are over the last 1,000 successful dispatches of each worker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

from flora.actors.worker_series import WorkerSeries
from flora.messages.dispatch import Outcome

LATENCY_WINDOW = 1000
_NO_NUMBERS = frozenset({"latencies_us", "series"})


@dataclass(slots=True)
class WorkerCounters:
    """What a worker counts. The field names of the numbers are the metric names."""

    isolate_count: int = 0
    dispatch_total: int = 0
    dispatch_errors: int = 0
    timeout_errors: int = 0
    oom_errors: int = 0
    isolate_restarts: int = 0
    isolate_rebuilds: int = 0
    runtime_restarts: int = 1  # one per start of a worker
    memory_kills: int = 0  # isolates ended because the worker's memory was used up
    rss_bytes: int = 0  # resident memory at the moment of the question
    isolates_wedged: int = 0
    rest_calls: int = 0
    fetches: int = 0
    fetches_refused: int = 0  # by a rule of this host
    fetches_failed: int = 0  # for any other reason
    fetched_bytes: int = 0  # bodies, unpacked
    ops_refused: int = 0
    timers_refused: int = 0
    log_lines_dropped: int = 0
    guild_throttled: int = 0  # times a guild used up its processor budget
    guild_cpu_us: int = 0  # of all guilds
    cron_runs: int = 0
    cron_failures: int = 0  # runs that did not end well, those over their time among them
    cron_timeouts: int = 0
    cron_skipped: int = 0  # times that passed because the run before was still going on, as the author wanted it
    cron_missed: int = 0  # times that passed for another reason
    cron_late_us: int = 0  # from when runs were due to when they were started, added up
    kv_gets: int = 0  # operations of scripts
    kv_sets: int = 0  # everything that writes a value or metadata
    kv_deletes: int = 0
    kv_lists: int = 0
    kv_failed: int = 0  # refused ones included
    kv_calls: int = 0  # operations of clients
    kv_batches: int = 0  # of scripts, asked for and answered together
    kv_batch_us: int = 0  # from asking to answering, of all batches
    kv_stores_open: int = 0
    kv_stored_bytes: int = 0  # in those
    kv_guilds_open: int = 0
    kv_compactions: int = 0
    latencies_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCY_WINDOW))
    series: WorkerSeries = field(default_factory=WorkerSeries)  # with labels

    def ended(self, outcome: str, elapsed_us: int) -> None:
        """Counts a dispatch that has come to its end."""
        self.dispatch_total += 1
        if outcome in (Outcome.OK, Outcome.NOT_A_PROMISE):
            self.latencies_us.append(elapsed_us)
            return
        self.dispatch_errors += 1
        self.timeout_errors += outcome == Outcome.TIMED_OUT
        self.oom_errors += outcome == Outcome.OUT_OF_MEMORY

    def late(self, late_us: int) -> None:
        """Counts how late a cron job was started."""
        self.cron_late_us += late_us
        self.series.cron_lateness.add(late_us)

    def fetched(self, code: str | None, received_bytes: int) -> None:
        """Counts a fetch that has ended; `code` is that of its error."""
        self.fetches_refused += code == "FETCH_BLOCKED"
        self.fetches_failed += code not in {None, "FETCH_BLOCKED"}
        self.fetched_bytes += received_bytes
        self.series.fetches["ok" if code is None else "refused" if code == "FETCH_BLOCKED" else "failed"] += 1

    def snapshot(self) -> dict[str, Any]:
        """For `ReadMetrics`."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_NUMBERS}
        return {**numbers, "latencies_us": tuple(self.latencies_us), "series": self.series.samples()}
