"""`/api/metrics`: numbers for the operator, as Prometheus text and as JSON. Those with labels: `labelled_metrics.py`."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from flora.http import labelled_metrics
from flora.http.deps import DEPS, TRACE
from flora.http.labelled_metrics import notable
from flora.http.query import flag_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import ReadMetrics
from flora.messages.placement import DescribeGuilds, DescribeWorkers

log = logging.getLogger("flora.api")


class Metric(NamedTuple):
    """How a number of the JSON answer is called and explained in Prometheus."""

    name: str
    kind: str
    help: str


METRICS: Mapping[str, Metric] = {
    "isolate_count": Metric("flora_isolate_count", "gauge", "Live isolates."),
    "dispatch_total": Metric("flora_dispatch_total", "counter", "Event and cron dispatches, whatever came of them."),
    "dispatch_errors": Metric("flora_dispatch_errors_total", "counter", "Dispatches that failed."),
    "timeout_errors": Metric("flora_timeout_errors_total", "counter", "Dispatches ended at their time limit."),
    "oom_errors": Metric("flora_oom_errors_total", "counter", "Dispatches ended at their heap limit."),
    "memory_kills": Metric(
        "flora_memory_kills_total", "counter", "Isolates ended because their worker's memory was used up."
    ),
    "rss_bytes": Metric("flora_rss_bytes", "gauge", "Resident memory of all workers together, in bytes."),
    "isolate_restarts": Metric("flora_isolate_restarts_total", "counter", "Isolates built again."),
    "isolate_rebuilds": Metric("flora_isolate_rebuilds_total", "counter", "Isolates made anew after they were ended."),
    "isolates_wedged": Metric("flora_isolates_wedged_total", "counter", "Isolates that did not end when told to."),
    "rest_calls": Metric("flora_rest_calls_total", "counter", "Calls to Discord that scripts asked for."),
    "ops_refused": Metric("flora_ops_refused_total", "counter", "Operations of scripts refused at a limit."),
    "timers_refused": Metric("flora_timers_refused_total", "counter", "Timers of scripts refused at their limit."),
    "log_lines_dropped": Metric("flora_log_lines_dropped_total", "counter", "Log lines of scripts over their limit."),
    "guild_throttled": Metric(
        "flora_guild_throttled_total", "counter", "Times a guild used up its processor budget and had to wait."
    ),
    "guild_cpu_us": Metric("flora_guild_cpu_us_total", "counter", "Processor time of guild scripts, in microseconds."),
    "cron_runs": Metric("flora_cron_runs_total", "counter", "Runs of cron jobs."),
    "cron_failures": Metric("flora_cron_failures_total", "counter", "Runs of cron jobs that did not end well."),
    "cron_timeouts": Metric("flora_cron_timeouts_total", "counter", "Runs of cron jobs ended at their time limit."),
    "cron_skipped": Metric(
        "flora_cron_skipped_total", "counter", "Times of cron jobs left out because the run before was still going on."
    ),
    "cron_missed": Metric("flora_cron_missed_total", "counter", "Times of cron jobs that passed for another reason."),
    "cron_late_us": Metric(
        "flora_cron_late_us_total", "counter", "From when cron runs were due to their start, added up, in microseconds."
    ),
    "guilds_quarantined": Metric(
        "flora_guilds_quarantined", "gauge", "Guilds that run alone because their script ended a worker."
    ),
    "workers_dedicated": Metric("flora_workers_dedicated", "gauge", "Workers that belong to one guild alone."),
    "worker_deaths": Metric("flora_worker_deaths_total", "counter", "Workers that died, since the router started."),
    "cpu_us": Metric("flora_worker_cpu_us_total", "counter", "Processor time of all workers, in microseconds."),
    "runtime_restarts": Metric("flora_runtime_restarts_total", "counter", "Workers started again."),
    "fetches": Metric("flora_fetches_total", "counter", "Fetches that scripts started."),
    "fetches_refused": Metric("flora_fetches_refused_total", "counter", "Fetches that a rule forbade."),
    "fetches_failed": Metric("flora_fetches_failed_total", "counter", "Fetches that failed for any other reason."),
    "fetched_bytes": Metric("flora_fetched_bytes_total", "counter", "Bytes that fetches brought, unpacked."),
    "kv_gets": Metric("flora_kv_gets_total", "counter", "Reads of keys by scripts."),
    "kv_sets": Metric("flora_kv_sets_total", "counter", "Writes of values or metadata by scripts."),
    "kv_deletes": Metric("flora_kv_deletes_total", "counter", "Deletions of keys by scripts."),
    "kv_lists": Metric("flora_kv_lists_total", "counter", "Listings of keys by scripts."),
    "kv_calls": Metric("flora_kv_calls_total", "counter", "Key-value operations of clients."),
    "kv_failed": Metric("flora_kv_failed_total", "counter", "Key-value operations refused to scripts, or failed."),
    "kv_batches": Metric("flora_kv_batches_total", "counter", "Batches of operations that scripts asked for at once."),
    "kv_batch_us": Metric("flora_kv_batch_us_total", "counter", "Time those took to be answered, in microseconds."),
    "kv_guilds_open": Metric("flora_kv_guilds_open", "gauge", "Guilds whose key-value stores a worker has."),
    "kv_stores_open": Metric("flora_kv_stores_open", "gauge", "Key-value stores that are open."),
    "kv_stored_bytes": Metric("flora_kv_stored_bytes", "gauge", "What is in the open stores, as quotas count it."),
    "kv_compactions": Metric("flora_kv_compactions_total", "counter", "Files of stores that were made shorter."),
    "migration_success": Metric("flora_migration_success_total", "counter", "Guilds moved between workers."),
    "migration_timeout": Metric("flora_migration_timeout_total", "counter", "Moves given up at their time limit."),
    "migration_quiesce_duration_us": Metric(
        "flora_migration_quiesce_duration_us", "gauge", "How long the last move waited for its guild, in microseconds."
    ),
    "avg_latency_us": Metric("flora_dispatch_latency_avg_us", "gauge", "Mean dispatch time, in microseconds."),
    "p50_latency_us": Metric("flora_dispatch_latency_p50_us", "gauge", "Median dispatch time, in microseconds."),
    "p95_latency_us": Metric("flora_dispatch_latency_p95_us", "gauge", "95th percentile, in microseconds."),
    "p99_latency_us": Metric("flora_dispatch_latency_p99_us", "gauge", "99th percentile, in microseconds."),
}
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


async def metrics_json(request: web.Request) -> web.Response:
    """Every number by name; with `detail=true` also `"workers"` and the notable `"guilds"`, as the routes of that name give them."""
    if not flag_parameter(request, "detail"):
        return json_response(await _read(request))
    values, workers, guilds = await asyncio.gather(
        _read(request), _described(request, DescribeWorkers), _described(request, DescribeGuilds)
    )
    return json_response({**values, "workers": workers, "guilds": notable(guilds)})


async def metrics_text(request: web.Request) -> web.Response:
    """Prometheus text: numbers of the whole system, then those with labels."""
    values, workers, guilds = await asyncio.gather(
        _read(request), _described(request, DescribeWorkers), _described(request, DescribeGuilds)
    )
    text = prometheus_text(values) + labelled_metrics.prometheus_text(workers, guilds)
    return web.Response(text=text, content_type="text/plain", charset="utf-8")


async def _described(request: web.Request, kind: type[DescribeWorkers | DescribeGuilds]) -> list[dict[str, Any]]:
    """What the router says of workers or guilds; nothing when it does not in time: the plain numbers come all the same."""
    deps = request.app[DEPS]
    try:
        found: list[dict[str, Any]] = await deps.peers.ask(
            "router", kind(req_id=ReqId(""), trace=request[TRACE]), deps.limits.lookup_s
        )
    except FloraError as exc:
        log.warning("metrics without %s: %s", kind.__name__, exc, extra={"action": "metrics_partial"})
        return []
    return found


def prometheus_text(values: Mapping[str, float]) -> str:
    """Numbers in Prometheus' text format; one that has no entry above becomes an untyped `flora_<name>`."""
    lines: list[str] = []
    for field, value in values.items():
        metric = METRICS.get(field)
        if metric is None and not _PLAIN_NAME.fullmatch(field):
            continue
        name, kind, text = metric or Metric(f"flora_{field}", "untyped", f"{field.replace('_', ' ')}.")
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value:.17g}"]
    return "\n".join([*lines, ""])


async def _read(request: web.Request) -> dict[str, float]:
    deps = request.app[DEPS]
    message = ReadMetrics(req_id=ReqId(""), trace=request[TRACE])
    values = await deps.peers.ask("router", message, deps.limits.peer_s)
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


ROUTES = (
    Route(method="GET", path="/metrics", handler=metrics_text, access=Access.OPERATOR, traced=False),
    Route(method="GET", path="/metrics/json", handler=metrics_json, access=Access.OPERATOR, traced=False),
)
