"""Kills flora's processes at random under load, and checks that nothing is lost, doubled or left behind.

scripts/soak                              five minutes, 500 events a second, every part
scripts/soak --seconds 40 --kill worker   shorter, workers only
scripts/soak --moves                      moves, deploys, scales, drains and kills instead, most of them at once
scripts/soak --json                       the report as JSON on stdout

Exit code 0: all was well; 1: something was not, and the report says what; 2: the soak itself could not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed, Sandbox
from flora.scripts.soak_kills import PARTS
from flora.scripts.soak_moves import KILLED, MovesSoak
from flora.scripts.soak_run import Plan, Soak

MAX_RATE_PER_S: Final = 5000


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    args = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    plan = Plan(
        seconds=args.seconds,
        rate_per_s=args.rate,
        guilds=args.guilds,
        parts=tuple(args.kill) if args.kill is not None else KILLED if args.moves else PARTS,
        seed=args.seed,
        workers=args.workers,
    )
    try:
        with Sandbox() as sandbox:
            _say(f"{plan.seconds:g} s, {plan.rate_per_s} events/s over {plan.guilds} guilds, seed {plan.seed} …")
            try:
                report = (MovesSoak if args.moves else Soak)(plan, sandbox, _say).run()
            finally:
                if args.log is not None:
                    shutil.copyfile(sandbox.folder / "flora.err", args.log)
    except (BenchFailed, OSError) as exc:
        _say(f"the soak could not run: {exc}")
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report) if args.json else shown(report), flush=True)
    return 0 if report["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=Plan().seconds, metavar="N", help="how long (default: 300)")
    parser.add_argument(
        "--rate", type=_rate, default=Plan().rate_per_s, metavar="N", help="events per second (default: 500)"
    )
    parser.add_argument("--guilds", type=int, default=Plan().guilds, metavar="N", help="guilds (default: 40)")
    parser.add_argument("--workers", type=int, default=Plan().workers, metavar="N", help="workers (default: 2)")
    parser.add_argument(
        "--kill", nargs="*", choices=PARTS, help="what may be killed (default: everything; with --moves: worker)"
    )
    parser.add_argument("--moves", action="store_true", help="move guilds, change the pool of workers, kill workers")
    parser.add_argument("--seed", type=int, default=Plan().seed, metavar="N", help="of the order of kills (default: 1)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep there what flora says meanwhile")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _rate(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_RATE_PER_S:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_RATE_PER_S}")
    return number


def shown(report: dict[str, Any]) -> str:
    """The report for a person."""
    lines = [
        "sent {sent:,}, answered {answered:,}".format(**report),
        "failed and told {failed}, refused {shed}, reply not known {reply_not_known}".format(**report),
        "reply after {p50} ms (median), {p99} ms (99 %), {max} ms (longest)".format(**report["latency_ms"]),
        "memory {mean:,.0f} MB, {growth:+.0f} MB over {samples} samples after the warm-up".format(
            **report["memory_mb"]
        ),
        *(_kill_lines(report["kills"]) if "orders" not in report else _order_lines(report)),
        *(f"PROBLEM: {problem}" for problem in report["problems"]),
        "all was well" if report["ok"] else f"{len(report['problems'])} problems",
    ]
    return "\n".join(lines)


def _kill_lines(kills: Sequence[dict[str, Any]]) -> list[str]:
    by_part: dict[str, list[dict[str, Any]]] = {}
    for kill in kills:
        by_part.setdefault(kill["part"], []).append(kill)
    lines = [f"{len(kills)} kills"]
    for part, found in sorted(by_part.items()):
        slowest = [
            max((k[key] for k in found if k[key] is not None), default=float("nan")) for key in ("back_s", "settled_s")
        ]
        lines.append(
            f"  {part:12} {len(found):3} times, back after at most {slowest[0]:.1f} s, all well after {slowest[1]:.1f} s"
        )
    return lines


def _order_lines(report: dict[str, Any]) -> list[str]:
    """How each kind of order was answered."""
    lines = [f"{report['rests']} times all came to rest, with every guild in one worker"]
    for act, answers in report["orders"].items():
        shown = ", ".join(f"{answer} {times}" for answer, times in sorted(answers.items(), key=lambda one: -one[1]))
        lines.append(f"  {act:12} {sum(answers.values()):5} times: {shown}")
    return lines


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # unwinds through every block that cleans up


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
