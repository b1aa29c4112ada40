"""The numbers of GET /api/metrics/json, and their names in Prometheus. Names and meanings of the first are those of the Rust runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Number(NamedTuple):
    """How a number of the JSON answer is called and explained in Prometheus. `name` has no `_total`."""

    name: str
    kind: str  # counter, gauge, or unknown: counts, too, under a name that was there before
    help: str


NUMBERS: Mapping[str, Number] = {
    "isolate_count": Number("flora_isolate_count", "gauge", "Live isolates."),
    "dispatch_total": Number("flora_dispatch", "counter", "Event and cron dispatches, whatever came of them."),
    "dispatch_errors": Number("flora_dispatch_errors", "counter", "Dispatches that failed."),
    "timeout_errors": Number("flora_timeout_errors", "counter", "Dispatches ended at their time limit."),
    "oom_errors": Number("flora_oom_errors", "counter", "Dispatches ended at their heap limit."),
    "memory_kills": Number(
        "flora_memory_kills", "counter", "Isolates ended because their worker's memory was used up."
    ),
    "rss_bytes": Number("flora_rss_bytes", "gauge", "Resident memory of all workers together, in bytes."),
    "isolate_restarts": Number("flora_isolate_restarts", "counter", "Isolates built again."),
    "isolate_rebuilds": Number("flora_isolate_rebuilds", "counter", "Isolates made anew after they were ended."),
    "isolates_wedged": Number("flora_isolates_wedged", "counter", "Isolates that did not end when told to."),
    "rest_calls": Number("flora_rest_calls", "counter", "Calls to Discord that scripts asked for."),
    "ops_refused": Number("flora_ops_refused", "counter", "Operations of scripts refused at a limit."),
    "timers_refused": Number("flora_timers_refused", "counter", "Timers of scripts refused at their limit."),
    "log_lines_dropped": Number("flora_log_lines_dropped", "counter", "Log lines of scripts over their limit."),
    "guild_throttled": Number(
        "flora_guild_throttled", "counter", "Times a guild used up its processor budget and had to wait."
    ),
    "guild_cpu_us": Number("flora_guild_cpu_us", "counter", "Processor time of guild scripts, in microseconds."),
    "cron_runs": Number("flora_cron_runs", "counter", "Runs of cron jobs."),
    "cron_failures": Number("flora_cron_failures", "counter", "Runs of cron jobs that did not end well."),
    "cron_timeouts": Number("flora_cron_timeouts", "counter", "Runs of cron jobs ended at their time limit."),
    "cron_skipped": Number(
        "flora_cron_skipped", "counter", "Times of cron jobs left out because the run before was still going on."
    ),
    "cron_missed": Number("flora_cron_missed", "counter", "Times of cron jobs that passed for another reason."),
    "cron_late_us": Number(
        "flora_cron_late_us", "counter", "From when cron runs were due to their start, added up, in microseconds."
    ),
    "guilds_quarantined": Number(
        "flora_guilds_quarantined", "gauge", "Guilds that run alone because their script ended a worker."
    ),
    "workers_dedicated": Number("flora_workers_dedicated", "gauge", "Workers that belong to one guild alone."),
    "worker_deaths": Number("flora_worker_deaths", "counter", "Workers that died, since the router started."),
    "cpu_us": Number("flora_worker_cpu_us", "counter", "Processor time of all workers, in microseconds."),
    "runtime_restarts": Number("flora_runtime_restarts", "counter", "Workers started again."),
    "fetches": Number("flora_fetches", "counter", "Fetches that scripts started."),
    "fetches_refused": Number("flora_fetches_refused", "counter", "Fetches that a rule forbade."),
    "fetches_failed": Number("flora_fetches_failed", "counter", "Fetches that failed for any other reason."),
    "fetched_bytes": Number("flora_fetched_bytes", "counter", "Bytes that fetches brought, unpacked."),
    "kv_gets": Number("flora_kv_gets", "counter", "Reads of keys by scripts."),
    "kv_sets": Number("flora_kv_sets", "counter", "Writes of values or metadata by scripts."),
    "kv_deletes": Number("flora_kv_deletes", "counter", "Deletions of keys by scripts."),
    "kv_lists": Number("flora_kv_lists", "counter", "Listings of keys by scripts."),
    "kv_calls": Number("flora_kv_calls", "counter", "Key-value operations of clients."),
    "kv_failed": Number("flora_kv_failed", "counter", "Key-value operations refused to scripts, or failed."),
    "kv_batches": Number("flora_kv_batches", "counter", "Batches of operations that scripts asked for at once."),
    "kv_batch_us": Number("flora_kv_batch_us", "counter", "Time those took to be answered, in microseconds."),
    "kv_guilds_open": Number("flora_kv_guilds_open", "gauge", "Guilds whose key-value stores a worker has."),
    "kv_stores_open": Number("flora_kv_stores_open", "gauge", "Key-value stores that are open."),
    "kv_stored_bytes": Number("flora_kv_stored_bytes", "gauge", "What is in the open stores, as quotas count it."),
    "kv_compactions": Number("flora_kv_compactions", "counter", "Files of stores that were made shorter."),
    "migration_success": Number("flora_migration_success", "counter", "Guilds moved between workers."),
    "migration_timeout": Number("flora_migration_timeout", "counter", "Moves given up at their time limit."),
    "migration_quiesce_duration_us": Number(
        "flora_migration_quiesce_duration_us", "gauge", "How long the last move waited for its guild, in microseconds."
    ),
    "avg_latency_us": Number("flora_dispatch_latency_avg_us", "gauge", "Mean dispatch time, in microseconds."),
    "p50_latency_us": Number("flora_dispatch_latency_p50_us", "gauge", "Median dispatch time, in microseconds."),
    "p95_latency_us": Number("flora_dispatch_latency_p95_us", "gauge", "95th percentile, in microseconds."),
    "p99_latency_us": Number("flora_dispatch_latency_p99_us", "gauge", "99th percentile, in microseconds."),
    "guild_routes": Number("flora_guild_routes", "gauge", "Guilds that a worker owns."),
    "events_accepted": Number("flora_events_accepted", "unknown", "Events that the router took in."),
    "events_done": Number("flora_events_done", "unknown", "Events that came to an end in their worker, whichever."),
    "events_shed": Number("flora_events_shed", "unknown", "Events shed by the router because too many waited."),
    "events_without_isolate": Number(
        "flora_events_without_isolate", "unknown", "Events of guilds without a script, or whose script went away."
    ),
    "events_died": Number("flora_events_died", "unknown", "Events that ended with their worker."),
    "migration_failed": Number("flora_migration_failed", "counter", "Moves after which a guild stayed where it was."),
    "migrations_under_way": Number("flora_migrations_under_way", "gauge", "Guilds that are being moved."),
    "rebalance_decisions": Number("flora_rebalance_decisions", "counter", "Times guilds were to move by themselves."),
    "rebalance_in_vain": Number("flora_rebalance_in_vain", "counter", "Times that no move would have helped."),
    "rebalance_moved": Number("flora_rebalance_moved", "counter", "Guilds that moved by themselves."),
    "rebalance_not_moved": Number("flora_rebalance_not_moved", "counter", "Guilds that were to, and stayed."),
    "packets_refused": Number(
        "flora_packets_refused",
        "unknown",
        "Packets refused by all processes, because they were not signed or too large.",
    ),
}
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def number_of(field: str) -> Number | None:
    """What is known of a number; one that has no entry is `flora_<field>`, if that can be a name."""
    known = NUMBERS.get(field)
    if known is not None or not _PLAIN_NAME.fullmatch(field):
        return known
    return Number(f"flora_{field}", "unknown", f"{field.replace('_', ' ')}.")


def falls_with_its_actor(field: str) -> bool:
    """Whether a number is a counter that begins anew with the actor that counts it."""
    known = NUMBERS.get(field)
    return known is not None and known.kind != "gauge" and field != "packets_refused"  # that is counted system-wide
