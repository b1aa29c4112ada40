"""How large a scrape of `/api/metrics` is and how long it takes to put together, by number of guilds.

Everything that can have a label has it: every event with every outcome, every route with every status, as many workers as there may be. So
this is the most that a scrape can become, not what is usual.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

from flora.actors.discord.payloads import PAYLOADS
from flora.actors.discord.rest_figures import MAX_ROUTES
from flora.actors.metrics import WorkerCounters
from flora.http.metrics.exposition import exposition
from flora.http.metrics.families import families
from flora.http.metrics.reading import Reading
from flora.http.metrics.totals import Totals
from flora.http.routes import TABLES
from flora.messages.dispatch import Outcome
from flora.messages.metrics import FAMILIES, MAX_GUILDS, OTHER, Labels, Sample
from flora.messages.settings import MAX_WORKERS

GUILDS: Final = (0, 100, 1_000, 10_000)
ROUNDS: Final = 20
CODES: Final = 20  # error codes that a deploy can end with
LABELS: Final[dict[str, Sequence[str]]] = {
    "event": (*PAYLOADS, "cron", OTHER),
    "outcome": tuple(Outcome),
    "reason": ("no_isolate", "router_full", "died", "gateway_full", "nobody_listens", "no_guild", "malformed"),
    "status": ("2xx", "4xx", "5xx", "rate_limited", "forbidden", "failed"),
    "kind": ("get", "set", "delete", "list", OTHER),
    "by": ("script", "client"),
    "change": ("set", "delete", "rotate"),
    "actor": (*(f"worker {number}" for number in range(MAX_WORKERS)), "router", "gateway"),
    "cause": ("SIGKILL", "exit"),
    "level": ("trace", "debug", "info", "warn", "error"),
    "method": ("GET", "POST"),
    "route": tuple(f"POST /channels/{{id}}/made-up-{number}/{{id}}" for number in range(MAX_ROUTES + 1)),
}
HTTP_ROUTES: Final = tuple(sorted({f"/api{route.path}" for table in TABLES for route in table}))
STATES: Final = ("serving", "throttled", "loading", "failed")


def reading(guilds: int, workers: int = MAX_WORKERS) -> Reading:
    """What a system with so many guilds answers at most."""
    totals = Totals()
    totals.begin()
    actors = ["router", "gateway", *(f"worker {number}" for number in range(workers))]
    for actor in actors:
        totals.note(actor, {**WorkerCounters().snapshot(), "incarnation": "a", "series": _series()})
    return Reading(
        numbers=totals.numbers(),
        series=totals.series(),
        up=dict.fromkeys(actors, True),
        processes={
            actor: {"cpu_us": 81_234_567, "rss_bytes": 123_456_789, "unknown_messages": 0, "traces_lost": 0}
            for actor in actors
        },
        workers=[_worker(number) for number in range(workers)],
        guilds={
            "notable": [_guild(number) for number in range(min(guilds, MAX_GUILDS))],
            "states": dict.fromkeys(STATES, guilds),
            "placements": {"shared": guilds},
        },
    )


def _series() -> dict[str, dict[Labels, Sample]]:
    found: dict[str, dict[Labels, Sample]] = {}
    for key, family in FAMILIES.items():
        counts = tuple(range(1000, 1000 + len(family.bounds) + 1))
        sample: Sample = (counts, 123_456_789) if family.bounds else 123_456
        found[key] = dict.fromkeys(_labels(key, family.labels), sample)
    return found


def _labels(key: str, names: Labels) -> Iterable[Labels]:
    if key == "http":
        return product(("GET", "POST"), HTTP_ROUTES, ("200", "400", "401", "503"))
    if key == "http_time":
        return ((route,) for route in HTTP_ROUTES)
    if key == "compile":
        return ((f"CODE_{number}",) for number in range(CODES))
    if key == "deploys":
        return product(("deploy", "rollback", "undeploy"), (f"CODE_{number}" for number in range(CODES)))
    if key in {"kv", "fetches", "moves", "telemetry_pushes", "telemetry_hops"}:
        outcomes = ("ok", "refused", "failed")
        return product(LABELS["kind"], outcomes) if key == "kv" else ((outcome,) for outcome in outcomes)
    return product(*(LABELS[name] for name in names))


def _worker(number: int) -> dict[str, Any]:
    return {
        "worker": number,
        "up": True,
        "guilds": 250,
        "unfinished": 3,
        "restarts": 1,
        "rss_bytes": 345_678_901,
        "cpu_us": 987_654_321,
    }


def _guild(number: int) -> dict[str, Any]:
    usage = {
        "cpu_us": 123_456_789 + number,
        "cpu_us_last_minute": number,
        "events_done": 1_234_567,
        "throttled": 3,
        "rebuilds": 1,
        "ops_refused": 0,
        "log_lines_dropped": 12,
        "buffer_bytes": 1_048_576,
    }
    return {
        "guild_id": str(1_280_000_000_000_000_000 + number),
        "state": STATES[number % len(STATES)],
        "placement": "shared",
        "waiting": 1,
        "unfinished": 2,
        "usage": usage,
    }


def measure(guilds: int, rounds: int) -> dict[str, Any]:
    """Bytes, series and milliseconds (median) of putting a scrape together from what the actors answered."""
    found, times, body = reading(guilds), [], b""
    for _ in range(rounds):
        begun_s = time.perf_counter()
        body, _ = exposition(families(found), "")
        times.append((time.perf_counter() - begun_s) * 1000)
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    return {"guilds": guilds, "bytes": len(body), "series": series, "ms": round(statistics.median(times), 1)}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; `--json FILE` keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    rows = [measure(guilds, 3 if args.quick else ROUNDS) for guilds in GUILDS]
    print(f"{'guilds':>8}{'bytes':>12}{'series':>9}{'ms':>8}")
    for row in rows:
        print(f"{row['guilds']:>8}{row['bytes']:>12,}{row['series']:>9,}{row['ms']:>8}")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
