"""Measures the whole chain, from a message in Discord to the bot's reply there, beside two plain bots.

    python -m flora.scripts.bench_chain                 everything, as tables
    python -m flora.scripts.bench_chain --quick         one round, fewer messages

In each round each system is started once against a fresh simulated Discord, gets 1, then 10, then 100 guilds, and is
measured at each. Rounds go through the systems in alternating order; figures are medians over the rounds. All on one
machine: the simulated Discord shares its cores with what is measured, and so counts for all alike.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed, Sandbox, cpu_s, memory_mb
from flora.scripts.bench_systems import Discord, Flora, System, start_system

SYSTEMS: Final = ("flora", "disnake", "discord.js")
GUILDS: Final = (1, 10, 100)
RATE_PER_S: Final = 200
REPLY_LIMIT_S: Final = 60.0
JOIN_LIMIT_S: Final = 30.0
REPLIES_UNDER_WAY: Final = 2_000
"""At most this many unanswered messages over all guilds, so that nobody must drop any, and …"""
REPLIES_UNDER_WAY_PER_GUILD: Final = 400
"""… in one channel: the simulated Discord keeps the last 1,000 messages of each, replies included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    guilds: tuple[int, ...] = GUILDS
    systems: tuple[str, ...] = SYSTEMS
    workers: int | None = None  # of flora; None: its default
    replies_s: float = 3.0  # how long each kind of load goes on, at least
    events: int = 40_000
    latency_s: float = 10.0


WHAT_TRACES_COST: Final = Plan(rounds=5, guilds=(100,), systems=("flora", "flora untraced"), latency_s=1.0)
QUICK: Final = Plan(rounds=1, guilds=(1, 100), replies_s=0.5, events=8_000, latency_s=3.0)


class _Account:
    """Processor time that a load costs, by process, in µs per message."""

    def __init__(self, system: System, sandbox: Sandbox) -> None:
        self._pids = {**system.pids(), **dict.fromkeys(sandbox.pids(Discord.NAME), "simulated discord")}
        self._before = cpu_s(self._pids)

    def us_per(self, count: int) -> dict[str, float]:
        after = cpu_s(self._pids)
        spent = {name: (after[name] - self._before.get(name, 0.0)) / max(count, 1) * 1e6 for name in after}
        return {name: round(us, 1) for name, us in sorted(spent.items(), key=lambda item: -item[1]) if us >= 0.05}


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """All rounds and their medians, as one JSON object."""
    rounds = []
    for number in range(plan.rounds):
        order = plan.systems if number % 2 == 0 else tuple(reversed(plan.systems))
        for name in order:
            say(f"round {number + 1} of {plan.rounds}: {name} …")
            rounds.append({"round": number + 1, **_one_system(name, plan, last=number == plan.rounds - 1)})
    return {"rounds": rounds, "medians": medians(rounds)}


def _one_system(name: str, plan: Plan, *, last: bool) -> dict[str, Any]:
    with Sandbox() as sandbox:
        discord = Discord(sandbox)
        discord.grow(1)
        system = start_system(name, sandbox, discord, plan.workers)
        result: dict[str, Any] = {"system": name, "start_s": round(system.start_s, 2), "guilds": {}}
        for count in plan.guilds:
            new = discord.grow(count)
            system.serve(discord.guilds if count == plan.guilds[0] else new)
            _join(discord, name)
            result["guilds"][str(count)] = _at_one_size(system, discord, sandbox, plan)
        if isinstance(system, Flora):
            result["deploy_ms"] = round(statistics.median(system.deploy_ms), 1)
            if last:
                result["restart_s"] = round(system.restart(), 2)
        return result


def _join(discord: Discord, name: str) -> None:
    """Waits until every guild is answered, and warms up."""
    deadline = time.monotonic() + JOIN_LIMIT_S
    while time.monotonic() < deadline:
        if discord.burst(count=5 * len(discord.channels), rate=500, wait_replies_s=3)["complete"]:
            discord.burst(count=0, final_content="!seen", wait_replies_s=REPLY_LIMIT_S)
            return
    raise BenchFailed(f"{name} does not answer in all of {len(discord.channels)} guilds")


def _at_one_size(system: System, discord: Discord, sandbox: Sandbox, plan: Plan) -> dict[str, Any]:
    idle_mb = memory_mb(system.pids())
    found = {
        "latency": _latency(system, discord, sandbox, plan),
        "replies": _replies(system, discord, sandbox, plan),
        "events": _events(system, discord, sandbox, plan),
    }
    return {**found, "idle_mb": _rounded(idle_mb), "busy_mb": _rounded(memory_mb(system.pids()))}


def _replies(system: System, discord: Discord, sandbox: Sandbox, plan: Plan) -> dict[str, Any]:
    """Replies per second when as many messages as allowed are always waiting for one, in waves."""
    wave = min(REPLIES_UNDER_WAY, REPLIES_UNDER_WAY_PER_GUILD * len(discord.channels))
    account, sent, answered, spent_s = _Account(system, sandbox), 0, 0, 0.0
    while spent_s < plan.replies_s:
        wave_found = discord.burst(count=wave, wait_replies_s=REPLY_LIMIT_S)
        sent, answered = sent + wave, answered + wave_found["replies"]
        if not wave_found["complete"]:
            break  # lost, and told below; its time would measure our patience
        spent_s += wave_found["replies_elapsed_s"]
    per_s = answered / spent_s if spent_s else 0.0
    return {"per_s": round(per_s, 1), "sent": sent, "lost": sent - answered, "cpu_us": account.us_per(answered)}


def _events(system: System, discord: Discord, sandbox: Sandbox, plan: Plan) -> dict[str, Any]:
    """Messages per second that are counted and not answered; the count asked for at the end tells what was lost."""
    account = _Account(system, sandbox)
    found = discord.burst(count=plan.events, content="message {i}", final_content="!seen", wait_replies_s=REPLY_LIMIT_S)
    cpu_us = account.us_per(plan.events)
    if not found["complete"]:  # the question itself was lost; asked again it tells the count all the same
        discord.burst(count=0, final_content="!seen", wait_replies_s=REPLY_LIMIT_S)
    handled = discord.told_numbers()
    per_s = handled / found["replies_elapsed_s"] if found["complete"] else 0.0
    return {"per_s": round(per_s, 1), "sent": plan.events, "lost": plan.events - handled, "cpu_us": cpu_us}


def _latency(system: System, discord: Discord, sandbox: Sandbox, plan: Plan) -> dict[str, Any]:
    """Milliseconds from push to reply at a steady rate, whatever is answered."""
    count = int(plan.latency_s * RATE_PER_S)
    account = _Account(system, sandbox)
    found = discord.burst(count=count, rate=RATE_PER_S, wait_replies_s=REPLY_LIMIT_S)
    shown = {f"{name}_ms": found["reply_latency_ms"][name] for name in ("p50", "p90", "p99", "max")}
    return {**shown, "sent": count, "lost": count - found["replies"], "cpu_us": account.us_per(count)}


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 1) for name, figure in sorted(figures.items(), key=lambda item: -item[1])}


def medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per system, the median of each figure over its rounds; dictionaries are gone through."""
    systems = dict.fromkeys(one["system"] for one in rounds)
    return {name: _median([one for one in rounds if one["system"] == name]) for name in systems}


def _median(values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if isinstance(present[0], dict):
        keys = dict.fromkeys(key for value in present for key in value)
        skipped = {"system", "round"}
        return {key: _median([value.get(key) for value in present]) for key in keys if key not in skipped}
    return statistics.median(present)


def main() -> None:
    """This part alone; `scripts/bench --chain` is the same with result files."""
    from flora.scripts.bench_all import main as bench_all

    sys.exit(bench_all(["--chain", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
