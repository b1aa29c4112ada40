"""Measures a deploy, from the request over HTTP until the new script has answered a message in Discord.

    python -m flora.scripts.bench_deploy            a table
    python -m flora.scripts.bench_deploy --quick    fewer deploys

The project has 20 TypeScript files of 2.5 KB each. It is deployed again and again to one guild that runs it: with every file changed
(what a first deploy is like, for the compiler), and with one changed. Processor time by process is the figure to compare on a busy
machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed, Sandbox, cpu_s
from flora.scripts.bench_systems import Discord, Flora

FILES: Final = 20
FILE_BYTES: Final = 2_500
GOAL_MS: Final = 400
DEPLOYS, QUICK_DEPLOYS = 25, 8
WARM_UP_DEPLOYS: Final = 3
REPLY_LIMIT_S: Final = 10.0

_ONE_TYPE: Final = """
export interface Item{n} {{ readonly id: string; count: number; tags?: string[] }}

export class Shelf{n}<T extends Item{n}> {{
  private readonly items = new Map<string, T>()

  constructor(private readonly name: string, readonly limit: number = {n}) {{}}

  add(item: T): boolean {{
    if (this.items.size >= this.limit || this.items.has(item.id)) return false
    this.items.set(item.id, item)
    return true
  }}

  find(wanted: (item: T) => boolean): T | undefined {{
    for (const item of this.items.values()) if (wanted(item)) return item
    return undefined
  }}

  total(): number {{
    return [...this.items.values()].reduce((sum: number, item: T) => sum + item.count, 0)
  }}

  describe(): string {{
    return `${{this.name}}: ${{this.items.size}} of ${{this.limit}}, ${{this.total()}} in all`
  }}
}}
"""

_MAIN: Final = """{imports}
const shelves = [{shelves}]

on('messageCreate', async (msg) => {{
  if (msg.author.bot) return
  if (msg.content === '!version') await msg.reply(String(version + shelves.length - {others}))
}})
"""


def project(version: int, *, all_new: bool) -> list[dict[str, str]]:
    """The files of a project that answers `!version`; those of two versions differ in one file, or in all."""
    others = range(1, FILES)
    imports = [f"import {{ Shelf{n}x0 }} from './part{n}'" for n in others]
    head = f"const version: number = {version}\n"
    shelves = ", ".join(f"new Shelf{n}x0('shelf {n}')" for n in others)
    main = head + _MAIN.format(imports="\n".join(imports), shelves=shelves, others=len(others))
    files = [{"path": "src/main.ts", "contents": _filled(main, "m")}]
    for n in others:
        text = f"export const part{n}: number = {version if all_new else 0}\n{_ONE_TYPE.format(n=f'{n}x0')}"
        files.append({"path": f"src/part{n}.ts", "contents": _filled(text.replace(f"= {n}x0)", f"= {n})"), str(n))})
    return files


def _filled(text: str, name: str) -> str:
    """The text with as many more functions as make it FILE_BYTES long."""
    number = 0
    while len(text) < FILE_BYTES:
        number += 1
        text += f"\nfunction helper{name}_{number}(a: number, b?: string): string {{ return `${{a * {number}}} ${{b ?? ''}}` }}"
        text += f"\nexport {{ helper{name}_{number} }}\n"
    return text


def measure(deploys: int) -> dict[str, Any]:
    """Milliseconds until the answer over HTTP and until the new script has answered, by how much was changed."""
    with Sandbox() as sandbox:
        discord = Discord(sandbox)
        discord.grow(1)
        flora = Flora(sandbox, discord)
        result: dict[str, Any] = {"bytes": sum(len(file["contents"]) for file in project(1, all_new=True))}
        version = 0
        for name, all_new in (("every file new", True), ("one file new", False)):
            answered, live, spent_s = [], [], {}
            for number in range(WARM_UP_DEPLOYS + deploys):
                version += 1
                if number == WARM_UP_DEPLOYS:
                    spent_s = cpu_s(flora.pids())
                took = _deploy(flora, discord, version, all_new=all_new)
                if number >= WARM_UP_DEPLOYS:
                    answered.append(took[0])
                    live.append(took[1])
            cpu_ms = _per_deploy(spent_s, cpu_s(flora.pids()), deploys)
            result[name] = {"answered_ms": _figures(answered), "live_ms": _figures(live), "cpu_ms": cpu_ms}
        return result


def _deploy(flora: Flora, discord: Discord, version: int, *, all_new: bool) -> tuple[float, float]:
    began = time.perf_counter()
    flora.deploy(discord.guilds[0], "src/main.ts", project(version, all_new=all_new))
    answered_s = time.perf_counter() - began
    discord.burst(count=1, content="!version", wait_replies_s=REPLY_LIMIT_S)
    live_s = time.perf_counter() - began
    newest = discord.call("GET", f"/sim/channels/{discord.channels[0]}/messages?limit=1")
    if [message["content"] for message in newest] != [str(version)]:
        raise BenchFailed(f"version {version} was deployed, and what answered is {newest}")
    return answered_s * 1000, live_s * 1000


def _per_deploy(before: Mapping[str, float], after: Mapping[str, float], deploys: int) -> dict[str, float]:
    """Processor time in ms, by process, most first; what is less than one is left out."""
    spent = {name: (after[name] - before.get(name, 0.0)) * 1000 / deploys for name in after}
    return {name: round(ms, 1) for name, ms in sorted(spent.items(), key=lambda item: -item[1]) if ms >= 1}


def _figures(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    p90 = ordered[min(len(ordered) - 1, round(0.9 * len(ordered)))]
    return {"median": round(statistics.median(ordered), 1), "p90": round(p90, 1), "max": round(ordered[-1], 1)}


def table(found: dict[str, Any]) -> str:
    """For people, beside the goal."""
    lines = [
        f"deploy of {FILES} files, {found['bytes'] / 1000:.0f} KB",
        f"{'ms':24} {'median':>8} {'p90':>8} {'max':>8}",
    ]
    for name in ("every file new", "one file new"):
        for what, title in (("answered_ms", "answered"), ("live_ms", "live")):
            figures = found[name][what]
            goal = ""
            if what == "live_ms":
                goal = f"  goal ≤ {GOAL_MS}: {'reached' if figures['median'] <= GOAL_MS else 'NOT reached'}"
            shown = " ".join(f"{figures[key]:8.1f}" for key in ("median", "p90", "max"))
            lines.append(f"{f'{name}, {title}':24} {shown}{goal}")
        spent = found[name]["cpu_ms"]
        shown = ", ".join(f"{process} {ms:.0f}" for process, ms in spent.items())
        lines.append(f"  processor time {sum(spent.values()):.0f} ms: {shown}")
    return "\n".join(lines)


def main() -> None:
    """Entry point; `scripts/bench --deploy` calls it."""
    parser = argparse.ArgumentParser(description="Measures deploys.")
    parser.add_argument("--quick", action="store_true", help="fewer deploys")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    try:
        found = measure(QUICK_DEPLOYS if args.quick else DEPLOYS)
    except (BenchFailed, OSError) as exc:
        sys.exit(f"the benchmark failed: {exc}")
    print(f"\n{table(found)}\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
