"""Runs the benchmarks and keeps what they find: `scripts/bench` is the way in.

scripts/bench              everything, about twenty minutes
scripts/bench --quick      everything, smaller, about three minutes
scripts/bench --engine     the engine alone: time per event, cold start, memory of an idle guild
scripts/bench --kv         the key-value stores: rates, opening a large store, listing, compacting; get and set from a script
scripts/bench --deploy     a deploy of 20 files, until the new script answers
scripts/bench --scrape     size of the largest scrape of the metrics there can be, and the time to put it together
scripts/bench --moves      guilds that move: pauses, emptying a worker under load, more and fewer workers
scripts/bench --chain      the whole chain, beside a plain disnake bot and a plain discord.js bot
scripts/bench --traces     the whole chain of flora alone, with traces and without in turn, and the ratio
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

from flora.messages.settings import MAX_WORKERS
from flora.scripts import bench_chain, bench_report
from flora.scripts.bench_processes import BenchFailed
from flora.scripts.bench_systems import install_peers

ROOT: Final = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    args = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    result: dict[str, Any] = {"machine": bench_report.machine(ROOT), "quick": args.quick}
    _say("{cpu}, {cores} cores, {kernel}, Python {python}, commit {commit}".format(**result["machine"]))
    if result["machine"]["load_before"] > 0.5:
        _say("this machine is doing other work; the figures will suffer")
    try:
        everything = not (args.engine or args.kv or args.deploy or args.scrape or args.chain or args.traces)
        for part in ("engine", "kv", "deploy", "scrape"):
            if everything or getattr(args, part):
                result[part] = _in_own_process(part, args.quick)
        if everything or args.chain:
            result["chain"] = _chain(args)
        if args.traces:
            result["traces"] = _traces(args)
    except BenchFailed as exc:
        print(f"the benchmark failed: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _keep(result, args.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures flora.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer messages")
    parser.add_argument("--engine", action="store_true", help="only the engine")
    parser.add_argument("--kv", action="store_true", help="only the key-value stores")
    parser.add_argument("--deploy", action="store_true", help="only deploys")
    parser.add_argument("--scrape", action="store_true", help="only scrapes of the metrics")
    parser.add_argument("--moves", action="store_true", help="only guilds that move")
    parser.add_argument("--chain", action="store_true", help="only the whole chain")
    parser.add_argument("--traces", action="store_true", help="only what traces cost")
    parser.add_argument("--workers", type=_workers, metavar="N", help="flora's workers (default: its own default)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of the chain")
    parser.add_argument("--guilds", type=int, nargs="+", metavar="N", help="sizes of the chain, rising")
    parser.add_argument("--systems", nargs="+", choices=bench_chain.SYSTEMS, help="who is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-results", help="folder for the result file")
    return parser


def _workers(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_WORKERS}")
    return number


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # unwinds through every block that cleans up


def _in_own_process(part: str, quick: bool) -> Any:
    """A benchmark that is a program of its own; it prints its table."""
    with tempfile.TemporaryDirectory(prefix="flora-bench-") as folder:
        file = Path(folder) / f"{part}.json"
        command = [sys.executable, "-m", f"flora.scripts.bench_{part}", "--json", str(file), *["--quick"] * quick]
        if subprocess.run(command, check=False).returncode != 0:
            raise BenchFailed(f"the part {part} ended with an error, see above")
        return json.loads(file.read_text(encoding="utf-8"))


def _traces(args: argparse.Namespace) -> dict[str, Any]:
    found = bench_chain.measure(_chosen(bench_chain.WHAT_TRACES_COST, args), _say)
    print(f"\n{bench_report.trace_table(found)}\n", flush=True)
    return found


def _chosen(plan: bench_chain.Plan, args: argparse.Namespace) -> bench_chain.Plan:
    chosen = {
        "rounds": args.rounds,
        "workers": args.workers,
        "guilds": tuple(sorted(args.guilds or ())),
        "systems": tuple(args.systems or ()),
    }
    return replace(plan, **{name: value for name, value in chosen.items() if value})


def _chain(args: argparse.Namespace) -> dict[str, Any]:
    plan = _chosen(bench_chain.QUICK if args.quick else bench_chain.Plan(), args)
    if "discord.js" in plan.systems:
        install_peers()
    found = bench_chain.measure(plan, _say)
    print(f"\n{bench_report.chain_tables(found)}\n", flush=True)
    return found


def _keep(result: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = result["machine"]["date"][:19].replace(":", "").replace("-", "")
    file = folder / f"{stamp}-{result['machine']['commit'] or 'no-commit'}.json"
    file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _say(f"written to {file}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
