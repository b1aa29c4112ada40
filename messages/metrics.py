"""What actors count with labels, and how it is called outside.

An actor answers `ReadMetrics` with `{name: number}`; beside the numbers stand

    "incarnation"   of the actor: its counters began at 0 with it
    "process"       {"cpu_us", "rss_bytes", "unknown_messages", "traces_lost"} of its process
    "series"        {key of FAMILIES: {label values: sample}}; a histogram's sample is (counts per bucket, sum), the last bucket being
                    for what is above all bounds
    "workers"       the router only: the facts of GET /api/workers, each with such an answer, or None, as "metrics"
    "guilds"        if asked for: of a worker {"usage": {guild id: as in ReadGuildUsage}, "states": {guild id: state of one that is not
                    serving}}; of the router {"notable": [as GET /api/guilds/status], "states": {state: how many guilds}, "placements":
                    {placement: how many}}

Everything is counted in whole numbers, times in microseconds; `Family.per_unit` turns them into what is shown. Label values come from sets
that are bounded here or where they are counted: a series costs whoever collects it memory for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Labels = tuple[str, ...]
HistogramSample = tuple[tuple[int, ...], int]
Sample = int | HistogramSample
Series = Mapping[str, Mapping[Labels, Sample]]
Answer = Mapping[str, Any]
"""What `ReadMetrics` is answered with."""

MAX_GUILDS: Final = 100
"""So many guilds have series of their own: those that are not simply serving on a shared worker first, then those that used the most
processor time in the last minute. The others are in the sums, and in GET /api/guilds/status."""

OTHER: Final = "other"
"""Label value of everything that is outside a bounded set."""


class Kind(StrEnum):
    """Types of families, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family of series. `name` has no `_total`; the exposition adds it to counters."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    bounds: tuple[int, ...] = ()  # of a histogram: upper ends of its buckets, as counted
    per_unit: int = 1  # so many as counted are one as shown


MS, S = 1_000, 1_000_000
WAIT_US: Final = (
    *(MS // 2, MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS),
    *(S, 3 * S, 10 * S, 30 * S),
)
DISPATCH_US: Final = (
    *(50, 100, 250, 500, MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS),
    *(S, 3 * S, 10 * S),
)
PAUSE_US: Final = (5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 5 * S // 2, 5 * S)
CALL_US: Final = (10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 2 * S, 4 * S, 8 * S)
KV_US: Final = (50, 100, 250, 500, MS, 2 * MS, 5 * MS, 10 * MS, 50 * MS, 250 * MS, S)
LATE_US: Final = (MS, 5 * MS, 10 * MS, 50 * MS, 100 * MS, 500 * MS, S, 5 * S, 60 * S, 600 * S, 3600 * S)
WORK_US: Final = (10 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 2 * S, 5 * S, 10 * S, 30 * S, 60 * S)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.COUNTER, help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.GAUGE, help=text, labels=labels)


def _times(name: str, text: str, bounds: tuple[int, ...], *labels: str) -> Family:
    return Family(name=name, kind=Kind.HISTOGRAM, help=text, labels=labels, bounds=bounds, per_unit=S)


FAMILIES: Mapping[str, Family] = {
    # Events
    "router_wait": _times(
        "flora_event_router_wait_seconds",
        "From the gateway's reading of an event until it is sent to its worker.",
        WAIT_US,
    ),
    "worker_wait": _times(
        "flora_event_worker_wait_seconds", "From an event's arrival in its worker until its handlers start.", WAIT_US
    ),
    "dispatch": _times(
        "flora_dispatch_duration_seconds",
        "Runs of events and cron jobs, from the start of their handlers to their end.",
        DISPATCH_US,
        "event",
        "outcome",
    ),
    "dropped": _counter(
        "flora_events_dropped", "Events that no handler ran for, by where and why they ended.", "reason"
    ),
    "gateway_backlog": _gauge("flora_gateway_waiting_events", "Events that wait in the gateway for the router."),
    "gateway_retained": _gauge(
        "flora_gateway_unsettled_events", "Events that the gateway keeps until the router has settled them."
    ),
    # Calls of scripts to Discord
    "rest": _counter(
        "flora_rest_finished",
        "Calls to Discord that came to an end, by what Discord or the host said.",
        "route",
        "status",
    ),
    "rest_time": _times(
        "flora_rest_duration_seconds",
        "Calls to Discord, from their turn to their end, retries and waits for rate limits among it.",
        CALL_US,
        "route",
    ),
    "rest_rate_limit": _times(
        "flora_rest_rate_limit_wait_seconds",
        "The part of that in which a call waited for a rate limit.",
        CALL_US,
        "route",
    ),
    "rest_waiting": _gauge("flora_rest_waiting_calls", "Calls to Discord that wait for their turn."),
    "rest_running": _gauge("flora_rest_running_calls", "Calls to Discord that are under way."),
    "rest_refused": _counter(
        "flora_rest_refused", "Calls to Discord refused because too many of their guild wait.", "reason"
    ),
    # Key-value stores, cron jobs, fetches and secrets of scripts
    "kv": _counter("flora_kv_operations", "Key-value operations of scripts.", "kind", "outcome"),
    "kv_time": _times(
        "flora_kv_duration_seconds",
        "Key-value operations from asking to answer: of scripts those asked for at once, of clients each.",
        KV_US,
        "by",
    ),
    "cron_lateness": _times(
        "flora_cron_lateness_seconds", "From when a run of a cron job was due to its start.", LATE_US
    ),
    "fetches": _counter("flora_fetches_finished", "Fetches of scripts that came to an end.", "outcome"),
    "secrets_given": _counter("flora_secrets_given", "Times a worker was given a guild's secrets."),
    "secret_fills_refused": _counter(
        "flora_secret_fills_refused", "Requests of scripts refused because of a secret in them.", "reason"
    ),
    "secret_changes": _counter("flora_secret_changes", "Secrets set, deleted, or encrypted anew.", "change"),
    # Deploys
    "compile": _times("flora_compile_duration_seconds", "Bundling and compiling of projects.", WORK_US, "outcome"),
    "compile_waiting": _gauge(
        "flora_compile_waiting", "Projects that wait to be compiled, the one under way among them."
    ),
    "deploys": _times(
        "flora_deploy_duration_seconds",
        "Deploys, rollbacks and undeploys, waiting for their turn included.",
        WORK_US,
        "kind",
        "outcome",
    ),
    # Guilds that move
    "moves": _counter("flora_moves", "Guilds moved between workers, or not.", "outcome"),
    "move_pause": _times("flora_move_pause_seconds", "How long a move kept its guild's events waiting.", PAUSE_US),
    # Processes
    "restarts": _counter(
        "flora_actor_restarts", "Actors started again, by how the one before ended.", "actor", "cause"
    ),
    # Logs
    "log_lines": _counter("flora_log_lines", "Lines that the log book took in.", "level"),
    "log_lines_lost": _counter("flora_log_lines_lost", "Log lines that were lost on their way to the log book."),
    "log_write_failures": _counter(
        "flora_log_lines_unwritten", "Lines that the disk did not take; they are in memory only."
    ),
    "log_followers": _gauge("flora_log_followers", "Readers that follow guild logs."),
    "log_lines_skipped": _counter("flora_log_lines_skipped", "Lines that slow readers of log streams did not get."),
    # HTTP
    "http": _counter("flora_http_requests", "Requests answered.", "method", "route", "status"),
    "http_time": _times(
        "flora_http_request_duration_seconds",
        "Requests until their answer began; of streams and deploys, until its end.",
        CALL_US,
        "route",
    ),
    "telemetry_hops": _counter(
        "flora_telemetry_hops", "Hops of traces pushed to the OpenTelemetry receiver.", "outcome"
    ),
    "telemetry_pushes": _counter(
        "flora_telemetry_pushes", "Attempts to push metrics to the OpenTelemetry receiver.", "outcome"
    ),
}
"""Every labelled family that actors count. Those about single workers and guilds are made of facts, see `flora.http.metrics`."""
