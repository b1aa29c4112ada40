"""Measures the engine alone: µs per event, start, memory, and the same events through the public way of mini-racer.

    python -m flora.scripts.bench_engine                 everything, as a table
    python -m flora.scripts.bench_engine --json FILE     also as JSON, with machine and commit
    python -m flora.scripts.bench_engine --quick         fewer events and runs

Each figure is the median of several runs, each run a fresh process; runs of the two ways alternate, so that a busy machine
troubles both. The public way is `wrap_py_function`: the handler awaits a Python coroutine, the host awaits the promise of
each dispatch. Both ways get the same message. The handler `silent` looks at it, the handler `reply` also answers it: one
call to the host, whose result it awaits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from flora.scripts.bench_isolates import (
    HANDLERS,
    HEAP_LIMIT_MB,
    REPOSITORY,
    measure_engine,
    measure_heap,
    measure_public,
    measure_start,
)


def _one(args: argparse.Namespace) -> dict[str, float]:
    from flora.actors.isolate.cores import pin_process, usable_cores

    if args.pin and usable_cores():
        pin_process(usable_cores()[-1])
    flags = tuple(args.flag)
    match args.one:
        case "engine":
            return measure_engine(args.isolates, args.batch, args.handler, args.events, flags)
        case "public":
            return measure_public(args.isolates, args.batch, args.handler, args.events)
        case "start":
            return measure_start(args.isolates, flags)
        case _:
            return measure_heap(args.events, flags)


def _run(kind: str, *, pin: bool = True, flags: tuple[str, ...] = (), **settings: Any) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "flora.scripts.bench_engine", "--one", kind, "--pin" if pin else "--no-pin"]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    for flag in flags:
        command.append(f"--flag={flag}")
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr}")
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _rows(quick: bool, flags: tuple[str, ...]) -> list[dict[str, Any]]:
    """µs per event for every size, on one core and on all; the public way beside it, one event per dispatch."""
    runs, events, public_events = (1, 8_000, 500) if quick else (3, 40_000, 1_500)
    rows = []
    for isolates in (1, 10, 100):
        sizes = [(handler, batch) for handler in HANDLERS for batch in (1, 100)]
        found: dict[Any, list[dict[str, float]]] = {}
        for run in range(runs):
            print(f"measuring {isolates} isolates, run {run + 1} of {runs} …", file=sys.stderr)
            for pin in (True, False):
                public = _run("public", pin=pin, isolates=isolates, handler="reply", events=public_events)
                found.setdefault(("public", pin), []).append(public)
                for handler, batch in sizes:
                    ours = _run(
                        "engine", pin=pin, flags=flags, events=events, isolates=isolates, handler=handler, batch=batch
                    )
                    found.setdefault((handler, batch, pin), []).append(ours)
        us = {key: _median(measured)["us_per_event"] for key, measured in found.items()}
        rows += [
            {
                "handler": handler,
                "isolates": isolates,
                "batch": batch,
                "us_one_core": us[handler, batch, True],
                "us_all_cores": us[handler, batch, False],
                "public_us_one_core": us["public", True],
                "public_us_all_cores": us["public", False],
            }
            for handler, batch in sizes
        ]
    return rows


def _machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "machine": f"{model[0] if model else platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
    }


def measure_all(quick: bool, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """Everything this script measures, as one JSON object."""
    runs = 1 if quick else 3
    result: dict[str, Any] = {**_machine(), "dispatch": _rows(quick, flags)}
    result["start"] = _median([_run("start", flags=flags, isolates=100) for _ in range(runs)])
    result["heap"] = {"events": 200_000, **_run("heap", flags=flags, events=200_000)}
    return result


def _print_table(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, Python {result['python']}, commit {result['commit']}\n")
    print("µs per event; public way: wrap_py_function, the handler calls it once, one event per dispatch\n")
    print("                           ---- one core ----         ---- all cores ----")
    print("handler  isolates  batch   engine  public  factor     engine  public  factor")
    for row in result["dispatch"]:
        columns = ""
        for cores in ("one_core", "all_cores"):
            ours, public = row[f"us_{cores}"], row[f"public_us_{cores}"]
            columns += f"{ours:9.1f} {public:7.0f} {public / ours:6.0f}×   "
        print(f"{row['handler']:7} {row['isolates']:9} {row['batch']:6}{columns}")
    start, heap = result["start"], result["heap"]
    print(f"\nisolate with prelude, SDK and starter: {start['start_ms']:.1f} ms (p99 {start['start_p99_ms']:.1f} ms)")
    print(f"memory per idle guild: {start['mb_per_guild']:.2f} MB")
    print(
        f"heap around {heap['events']:,} events: {heap['before_mb']:.2f} MB before, {heap['after_mb']:.2f} MB after,"
        f" {heap['uncollected_mb']:.1f} MB before collecting; limit {HEAP_LIMIT_MB} MB"
    )


def main() -> None:
    """Entry point; `--one` is what it starts itself with for each measurement."""
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("--quick", action="store_true", help="fewer events and runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--flag", action="append", default=[], help="one more V8 flag, for experiments: --flag=--lite-mode"
    )
    parser.add_argument("--one", choices=["engine", "public", "start", "heap"], help=argparse.SUPPRESS)
    parser.add_argument("--isolates", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--handler", choices=list(HANDLERS), default="silent", help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=10_000, help=argparse.SUPPRESS)
    parser.add_argument("--pin", action=argparse.BooleanOptionalAction, default=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_one(args)), flush=True)
        os._exit(0)  # open contexts would hang the interpreter's own exit
    result = measure_all(args.quick, tuple(args.flag))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    _print_table(result)


if __name__ == "__main__":
    main()
