"""What the benchmark found, as tables for people, beside the goals."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from flora.scripts import bootstrap

PACKAGES: Final = ("thespian", "disnake", "mini-racer", "aiohttp", "orjson")
PEER: Final = "disnake"
GOAL_GUILDS: Final = "100"


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure of flora at 100 guilds, as a multiple of the plain disnake bot's in the same run."""

    title: str
    load: str
    figure: str
    factor: float
    at_least: bool

    def line(self, chain: dict[str, Any]) -> str | None:
        """`title   flora   disnake   ratio   goal   reached?`; None when one of the two was not measured."""
        ours, theirs = (_figure(chain, name, GOAL_GUILDS, self) for name in ("flora", PEER))
        if not ours or not theirs:
            return None
        ratio = ours / theirs
        reached = ratio >= self.factor if self.at_least else ratio <= self.factor
        sign = "≥" if self.at_least else "≤"
        return (
            f"{self.title:38} {ours:10,.6g} {theirs:10,.6g} {ratio:7.2f}× {sign} {self.factor:g}×"
            f"  {'reached' if reached else 'NOT reached'}"
        )


GOALS: Final = (
    Goal("events/s without replies", "events", "per_s", 0.6, True),
    Goal("replies/s at saturation", "replies", "per_s", 0.5, True),
    Goal("p50 push to reply at 200/s, ms", "latency", "p50_ms", 4.0, False),
    Goal("p99 push to reply at 200/s, ms", "latency", "p99_ms", 4.0, False),
)


def _figure(chain: dict[str, Any], system: str, guilds: str, goal: Goal) -> float | None:
    try:
        return float(chain["medians"][system]["guilds"][guilds][goal.load][goal.figure])
    except (KeyError, TypeError):
        return None


def machine(root: Path) -> dict[str, Any]:
    """Where and on what the figures were measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said(["git", "-C", str(root), "rev-parse", "--short", "HEAD"]),
        "changed_since": bool(_said(["git", "-C", str(root), "status", "--porcelain"])),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": _said([bootstrap.node_and_npm()[0], "--version"]),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def chain_tables(chain: dict[str, Any]) -> str:
    """Everything about the chain."""
    found = chain["medians"]
    parts = [_throughput(found), _latency(found), _cpu(found), _goals(chain)]
    if "flora" in found:
        parts.insert(2, _memory(found["flora"]))
    return "\n\n".join(part for part in parts if part)


def trace_table(chain: dict[str, Any]) -> str:
    """What traces cost: throughput with them and without, and processor time of all of flora per message."""
    found = chain["medians"]
    lines = [f"{'guilds':>6}  {'':12} {'traced':>10} {'untraced':>10} {'cost':>8}"]
    for guilds, traced in found["flora"]["guilds"].items():
        untraced = found["flora untraced"]["guilds"][guilds]
        for kind in ("replies", "events"):
            on, off = traced[kind]["per_s"], untraced[kind]["per_s"]
            lines.append(f"{guilds:>6}  {kind + '/s':12} {on:10,.0f} {off:10,.0f} {_cost(off, on)}")
            on, off = _own_us(traced[kind]["cpu_us"]), _own_us(untraced[kind]["cpu_us"])
            lines.append(f"{guilds:>6}  {kind + ' µs':12} {on:10,.1f} {off:10,.1f} {_cost(on, off)}")
    return "\n".join(lines)


def _own_us(cpu_us: dict[str, float]) -> float:
    return sum(us for name, us in cpu_us.items() if name != "simulated discord")


def _cost(more: float, less: float) -> str:
    return f"{(more / less - 1) * 100:7.1f} %" if less else ""


def _throughput(found: dict[str, Any]) -> str:
    lines = [f"{'guilds':>6}  {'system':12} {'replies/s':>10} {'lost':>7} {'events/s':>10} {'lost':>7}"]
    for guilds, name, figures in _each(found):
        replies, events = figures["replies"], figures["events"]
        lines.append(
            f"{guilds:>6}  {name:12} {replies['per_s']:10,.0f} {replies['lost']:7,.0f}"
            f" {events['per_s']:10,.0f} {events['lost']:7,.0f}"
        )
    return "\n".join(lines)


def _latency(found: dict[str, Any]) -> str:
    lines = [
        f"{'guilds':>6}  {'system':12} {'p50 ms':>10} {'p90 ms':>10} {'p99 ms':>10} {'max ms':>10}  (200 messages/s)"
    ]
    for guilds, name, figures in _each(found):
        shown = " ".join(f"{figures['latency'][key] or 0:10.2f}" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
        lines.append(f"{guilds:>6}  {name:12} {shown}")
    return "\n".join(lines)


def _each(found: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    sizes = dict.fromkeys(size for system in found.values() for size in system["guilds"])
    return [
        (size, name, found[name]["guilds"][size]) for size in sizes for name in found if size in found[name]["guilds"]
    ]


def _memory(flora: dict[str, Any]) -> str:
    restart = f", again with all guilds {flora['restart_s']:.1f} s" if flora.get("restart_s") else ""
    lines = [f"flora starts in {flora['start_s']:.1f} s{restart}; a deploy takes {flora['deploy_ms']:.0f} ms"]
    for guilds, figures in flora["guilds"].items():
        for state, key in (("idle", "idle_mb"), ("after load", "busy_mb")):
            used = figures[key]
            if used:
                shown = ", ".join(f"{name} {mb:.0f}" for name, mb in used.items() if mb >= 0.5)
                lines.append(f"memory, {guilds} guilds, {state}: {sum(used.values()):,.0f} MB ({shown})")
    return "\n".join(lines)


def _cpu(found: dict[str, Any]) -> str:
    lines = ["processor time per message, µs"]
    for guilds, name, figures in _each(found):
        for load in ("replies", "events"):
            spent = figures[load]["cpu_us"]
            if spent:
                shown = ", ".join(f"{process} {us:.0f}" for process, us in spent.items() if us >= 1)
                lines.append(f"{guilds:>6}  {name:12} {load:8} {sum(spent.values()):6.0f}: {shown}")
    return "\n".join(lines) if len(lines) > 1 else ""


def _goals(chain: dict[str, Any]) -> str:
    lines: Sequence[str] = [line for goal in GOALS if (line := goal.line(chain)) is not None]
    head = f"{'goals, 100 guilds':38} {'flora':>10} {PEER:>10} {'ratio':>8} goal"
    return "\n".join([head, *lines]) if lines else ""
