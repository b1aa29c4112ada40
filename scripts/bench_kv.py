"""Measures the key-value stores: alone, without scripts and actors, rates and what size does to them; then from a script.

    python -m flora.scripts.bench_kv                 everything, as a table
    python -m flora.scripts.bench_kv --json FILE     also as JSON
    python -m flora.scripts.bench_kv --quick         a tenth of the keys

Keys are random and so is their order in the file, which is the worst case for opening.
Rates are medians of batches of 100 calls, as a handler may make.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from flora.messages.ids import GuildId
from flora.messages.kv import KvValue
from flora.scripts import bench_kv_script
from flora.storage.kv import Durability, KvFiles, KvLimits
from flora.storage.ports import KvGuild

KEYS: Final = 1_000_000
BATCH: Final = 100
BATCHES: Final = 50
SYNCED_BATCHES: Final = 20
VALUE: Final = KvValue("x" * 60)
LIMITS: Final = KvLimits(writes_per_minute=0, max_store_bytes=2**33, max_guild_bytes=2**33, max_store_keys=2**33)
STORE: Final = "bench"
GOALS: Final = {
    "script_get_per_s": ("≥", 20_000.0),
    "script_set_per_s": ("≥", 10_000.0),
    "open_s": ("≤", 3.0),
    "list_page_ms": ("≤", 5.0),
    "set_size_ratio": ("≤", 1.5),
}


def measure(keys: int) -> dict[str, float]:
    """All figures; medians where something is done more than once."""
    with tempfile.TemporaryDirectory(prefix="flora-bench-kv-") as folder:
        small = _rates(Path(folder) / "small", 1_000)
        synced = _rates(Path(folder) / "synced", 1_000, Durability.ALWAYS, SYNCED_BATCHES)
        large = _large(Path(folder) / "large", keys)
        script = bench_kv_script.measure(Path(folder) / "script")
        script_synced = bench_kv_script.measure(Path(folder) / "script-synced", "always", SYNCED_BATCHES)
    return {
        "get_per_s": small["get_per_s"],
        "set_per_s": small["set_per_s"],
        "increment_per_s": small["increment_per_s"],
        "synced_set_per_s": synced["set_per_s"],
        "keys": keys,
        **large,
        **{f"script_{name}": figure for name, figure in script.items()},
        "script_synced_set_per_s": script_synced["set_per_s"],
        "set_size_ratio": small["set_per_s"] / large["large_set_per_s"],
    }


def _rates(root: Path, keys: int, durability: Durability = Durability.INTERVAL, batches: int = BATCHES) -> Any:
    files = KvFiles(root, durability=durability, limits=LIMITS)
    kv = files.open_guild(GuildId("1"))
    rng = random.Random(1)
    names = [_key(rng) for _ in range(keys)]
    with kv.batch():
        for name in names:
            kv.set(STORE, name, VALUE)
    found = {
        "set_per_s": _per_s(kv, batches, lambda: kv.set(STORE, rng.choice(names), VALUE)),
        "get_per_s": _per_s(kv, batches, lambda: kv.get(STORE, rng.choice(names))),
        "increment_per_s": _per_s(kv, batches, lambda: kv.increment(STORE, f"n{rng.randrange(100)}")),
    }
    files.close()
    return found


def _large(root: Path, keys: int) -> dict[str, float]:
    rng = random.Random(2)
    names = [_key(rng) for _ in range(keys)]
    files = KvFiles(root, limits=LIMITS)
    kv = files.open_guild(GuildId("1"))
    for name in names:
        kv.set(STORE, name, VALUE)
    files.close()
    files = KvFiles(root, limits=LIMITS)
    kv = files.open_guild(GuildId("1"))
    cpu_s = time.process_time()
    open_s = _seconds(lambda: kv.get(STORE, names[0]))
    open_cpu_s = time.process_time() - cpu_s
    pages = [_seconds(lambda: kv.list(STORE, cursor=rng.choice(names), limit=1_000)) for _ in range(30)]
    found = {
        "open_s": open_s,
        "open_cpu_s": open_cpu_s,  # what it would be on a machine with nothing else to do
        "list_page_ms": statistics.median(pages) * 1e3,
        "list_page_worst_ms": max(pages) * 1e3,
        "large_set_per_s": _per_s(kv, BATCHES, lambda: kv.set(STORE, rng.choice(names), VALUE)),
        "large_new_key_per_s": _per_s(kv, BATCHES, lambda: kv.set(STORE, _key(rng), VALUE)),
        "large_get_per_s": _per_s(kv, BATCHES, lambda: kv.get(STORE, rng.choice(names))),
        **_compaction(kv, next(root.glob("*/*/data")), names, rng),
        "resident_mb": _resident_mb(),
    }
    files.close()
    return found


def _compaction(kv: KvGuild, data: Path, names: list[str], rng: random.Random) -> dict[str, float]:
    """How long calls take that are made between the steps of a compaction."""
    for name in names + names[: len(names) // 5]:
        kv.set(STORE, name, VALUE)
    steps: list[float] = []
    calls: list[float] = []
    begun, limit_s = time.perf_counter(), 120.0
    while time.perf_counter() - begun < limit_s:
        file_bytes = data.stat().st_size
        _took(steps, lambda: kv.maintain(0.001))
        for _ in range(5):
            _took(calls, lambda: kv.set(STORE, rng.choice(names), VALUE))
        if data.stat().st_size < file_bytes:
            limit_s = time.perf_counter() - begun
    while kv.maintain(0.001):
        pass
    return {
        "compaction_s": limit_s,
        "compaction_step_p99_ms": statistics.quantiles(steps, n=100)[-1] * 1e3,
        "compaction_step_worst_ms": max(steps) * 1e3,
        "set_while_compacting_p99_us": statistics.quantiles(calls, n=100)[-1] * 1e6,
    }


def _took(times: list[float], call: Callable[[], Any]) -> None:
    """Notes the processor time of a call: what it would take on a machine with nothing else to do."""
    begun = time.thread_time()
    call()
    times.append(time.thread_time() - begun)


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _per_s(kv: KvGuild, batches: int, call: Callable[[], Any]) -> float:
    """Calls per second, in batches; the median of the batches."""

    def batch() -> None:
        with kv.batch():
            for _ in range(BATCH):
                call()

    return BATCH / statistics.median(_seconds(batch) for _ in range(batches))


def _key(rng: random.Random) -> str:
    return f"user:{rng.getrandbits(60)}"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(found: dict[str, float]) -> str:
    """The figures for people, goals beside those that have one."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, float]) -> Iterator[str]:
    yield "key-value stores on files"
    for name, figure in found.items():
        sign, goal = GOALS.get(name, ("", 0.0))
        is_reached = figure <= goal if sign == "≤" else figure >= goal
        verdict = f"  {sign} {goal:g}  {'reached' if is_reached else 'NOT reached'}" if sign else ""
        yield f"  {name.replace('_', ' '):30} {figure:14,.2f}{verdict}"


def main() -> int:
    """Entry point; gives the exit code."""
    parser = argparse.ArgumentParser(prog="bench_kv", description="Measures the key-value stores.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the keys")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    found = measure(KEYS // 10 if args.quick else KEYS)
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
