"""Measures guilds that move: how long one waits, how a full worker is emptied under load, and what more and fewer workers cost.

    python -m flora.scripts.bench_moves            a table
    python -m flora.scripts.bench_moves --quick    fewer guilds and moves

Every script counts its events in its store and has a job of every second, as in a soak of moves; so what is lost, doubled or out of order
is known event by event. A move gives a guild's script a new life: from the lives in the replies it is seen how often each guild moved.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed, Sandbox
from flora.scripts.bench_systems import Discord, Flora
from flora.scripts.soak_ledger import COUNTING_SCRIPT, GuildLedger
from flora.scripts.soak_traffic import OPERATOR, OPERATOR_SECRET, Traffic

GOAL_PAUSE_MS: Final = 50
QUIET_S: Final = 3.0  # of traffic before and after what is measured
COLLECT_EVERY_S: Final = 1.0
BURST_S: Final = 1.0  # so that the traffic ends soon after what is measured
POLL_S: Final = 0.05
LIMIT_S: Final = 240.0
WRONG: Final = ("lost", "doubled", "disordered", "miscounted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    moves: int = 60
    drained: int = 500  # guilds
    scaled: int = 100  # guilds
    rate_per_s: int = 500


QUICK: Final = Plan(moves=20, drained=60, scaled=30, rate_per_s=200)


class Bench:
    """One flora with two workers, and what is done to it."""

    def __init__(self, sandbox: Sandbox, guilds: int, rate_per_s: int) -> None:
        self.discord = Discord(sandbox)
        self.discord.grow(guilds)
        # Rebalancing would move guilds that nobody asked to move; replies of a busy machine take long.
        environ = {
            "API_OPERATOR_SECRET": OPERATOR_SECRET,
            "RUNTIME_DISPATCH_TIMEOUT_SECS": "30",
            "RUNTIME_REBALANCE": "false",
        }
        self.flora = Flora(sandbox, self.discord, 2, script=COUNTING_SCRIPT, environ=environ)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._deploy, self.discord.guilds))
        self.traffic = Traffic(self.discord, self.flora, rate_per_s)

    def _deploy(self, guild_id: str) -> None:
        self.flora.deploy(guild_id, "main.ts", [{"path": "main.ts", "contents": COUNTING_SCRIPT}])

    def order(self, path: str, body: Mapping[str, object]) -> Any:
        """A change of the pool, or a move; gives the answer."""
        return self.flora.request("POST", path, body, OPERATOR)

    def change_pool(self, path: str, body: Mapping[str, object]) -> float:
        """Seconds until a change of the pool has been carried out."""
        began_s = time.monotonic()
        number = self.order(path, body)["operation"]

        def is_done() -> bool:
            operation = self.flora.api("/workers/pool", OPERATOR)["operation"]
            if operation is None or operation["number"] < number:
                return False  # the router has not heard of it yet
            if operation["state"] == "stuck" or operation["number"] > number:
                raise BenchFailed(f"{path} does not get on: {operation}")
            return bool(operation["state"] == "done")

        _wait(is_done, path)
        return time.monotonic() - began_s

    def guilds_of(self, worker: int) -> int:
        """How many guilds a worker has."""
        return sum(one["worker"] == worker for one in self.flora.api("/guilds/status", OPERATOR))

    @contextmanager
    def load(self) -> Iterator[None]:
        """Steady traffic while the block runs; leaving it waits for the last reply."""
        over = threading.Event()
        self.traffic.begin()
        with ThreadPoolExecutor(2) as pool:
            try:
                sending = pool.submit(self.traffic.send, LIMIT_S, over.is_set, BURST_S)
                collecting = pool.submit(self._collect, over)
                time.sleep(QUIET_S)
                yield
                time.sleep(QUIET_S)
            finally:
                over.set()
            sending.result()
            collecting.result()
        self.traffic.await_last_replies()

    def _collect(self, over: threading.Event) -> None:
        while not over.wait(COLLECT_EVERY_S):
            self.traffic.collect_messages()
            self.traffic.count_shed()

    def wrong(self) -> dict[str, int]:
        """How many events were lost, doubled, out of order or miscounted; how many were refused for a full queue."""
        ledgers = self.traffic.ledgers.values()
        found = {
            "lost": sum(max(0, len(ledger.unanswered) - ledger.failed) for ledger in ledgers),
            "doubled": sum(len(ledger.doubled) for ledger in ledgers),
            "disordered": sum(len(ledger.disordered) for ledger in ledgers),
            "miscounted": sum(len(ledger.miscounted) for ledger in ledgers),
        }
        return {**found, "failed": sum(ledger.failed for ledger in ledgers), "shed": int(self.traffic.shed)}


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchFailed(f"not within {LIMIT_S:g} s: {what}")
        time.sleep(POLL_S)


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures."""
    say(f"pause of {plan.moves} moves …")
    with Sandbox() as sandbox:
        pause = _pause(Bench(sandbox, 10, plan.rate_per_s), plan.moves)
    say(f"emptying a worker of {plan.drained} guilds …")
    with Sandbox() as sandbox:
        drain = _drain(Bench(sandbox, plan.drained, plan.rate_per_s))
    say(f"2, 4, 2 workers with {plan.scaled} guilds …")
    with Sandbox() as sandbox:
        scale = _scale(Bench(sandbox, plan.scaled, plan.rate_per_s))
    return {"rate_per_s": plan.rate_per_s, "pause_ms": pause, "drain": drain, "scale": scale}


def _pause(bench: Bench, moves: int) -> dict[str, float]:
    """How long the events of an idle guild would have waited."""
    paused = []
    for number in range(moves):
        guild_id = bench.discord.guilds[number % len(bench.discord.guilds)]
        here = bench.flora.api(f"/guilds/{guild_id}/status", OPERATOR)["worker"]
        paused.append(bench.order(f"/guilds/{guild_id}/migrate", {"to": 1 - here})["paused_us"] / 1000)
    return _figures(paused)


def _figures(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    p90 = ordered[min(len(ordered) - 1, round(0.9 * len(ordered)))]
    return {"median": round(statistics.median(ordered), 1), "p90": round(p90, 1), "max": round(ordered[-1], 1)}


def _drain(bench: Bench) -> dict[str, Any]:
    """All guilds in one worker, which is emptied under load."""
    idle_s = bench.change_pool("/workers/0/drain", {})
    bench.change_pool("/workers/0/undrain", {})
    full = bench.guilds_of(1)
    with bench.load():
        took_s = bench.change_pool("/workers/1/drain", {})
    left = bench.guilds_of(1)
    return {
        "guilds": full,
        "left": left,
        "idle_s": round(idle_s, 2),
        "took_s": round(took_s, 2),
        "sent": sum(len(ledger.sent) for ledger in bench.traffic.ledgers.values()),
        **bench.wrong(),
    }


def _scale(bench: Bench) -> dict[str, Any]:
    """More and fewer workers under load."""
    steps = []
    with bench.load():
        for count in (4, 2):
            before = bench.traffic.sent_so_far()
            took_s = bench.change_pool("/workers/scale", {"count": count})
            after = bench.traffic.sent_so_far()
            _wait(lambda after=after: bench.traffic.has_answered(after), "answers after the step")  # type: ignore[misc]
            moved = [_lives(ledger, before[guild]) - 1 for guild, ledger in bench.traffic.ledgers.items()]
            steps.append(
                {
                    "to": count,
                    "took_s": round(took_s, 2),
                    "guilds_moved": sum(times > 0 for times in moved),
                    "most_moves_of_one": max(moved),
                }
            )
    sent = sum(len(ledger.sent) for ledger in bench.traffic.ledgers.values())
    return {"guilds": len(bench.discord.guilds), "steps": steps, "sent": sent, **bench.wrong()}


def _lives(ledger: GuildLedger, from_number: int) -> int:
    """How many lives have answered events from this one on."""
    return len({found[0][0] for number, found in ledger.replies.items() if number >= from_number})


def table(found: dict[str, Any]) -> str:
    """For people, beside the goals."""
    pause, drain, scale = found["pause_ms"], found["drain"], found["scale"]
    shown = ", ".join(f"{name} {pause[name]:g}" for name in ("median", "p90", "max"))
    lines = [
        f"pause of an idle guild, ms: {shown}{_verdict(f'median ≤ {GOAL_PAUSE_MS}', pause['median'] <= GOAL_PAUSE_MS)}"
    ]
    clean = not any(drain[what] for what in WRONG)
    head = f"{drain['guilds']} guilds off a worker at {found['rate_per_s']} events/s"
    lines.append(f"{head}: {drain['took_s']} s, {drain['left']} left (without load {drain['idle_s']} s)")
    lines.append(f"  {_counts(drain)}{_verdict('0 of each', clean)}")
    for step in scale["steps"]:
        at_most_once = _verdict("each at most once", step["most_moves_of_one"] <= 1)
        lines.append(
            f"to {step['to']} workers with {scale['guilds']} guilds: {step['took_s']} s, {step['guilds_moved']} guilds moved,"
            f" one at most {step['most_moves_of_one']} times{at_most_once}"
        )
    lines.append(f"  {_counts(scale)}{_verdict('0 of each', not any(scale[what] for what in WRONG))}")
    return "\n".join(lines)


def _counts(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{what} {found[what]:,}" for what in ("sent", *WRONG, "failed", "shed"))


def _verdict(goal: str, is_reached: bool) -> str:
    return f"  goal {goal}: {'reached' if is_reached else 'NOT reached'}"


def main() -> None:
    """Entry point; `scripts/bench --moves` calls it."""
    parser = argparse.ArgumentParser(description="Measures moves of guilds.")
    parser.add_argument("--quick", action="store_true", help="fewer guilds and moves")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    try:
        found = measure(QUICK if args.quick else Plan(), lambda text: print(text, file=sys.stderr, flush=True))
    except (BenchFailed, OSError) as exc:
        sys.exit(f"the benchmark failed: {exc}")
    print(f"\n{table(found)}\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
