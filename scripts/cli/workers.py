"""`flora workers`: the processes that guilds run in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import duration, print_json, size

HEADER = ("WORKER", "KIND", "STATE", "GUILDS", "EVENTS", "RESTARTS", "MEMORY", "PROCESSOR")


def add_to(parser: Parser) -> None:
    """Adds the command."""
    parser.command("workers", "list the workers, with what each has and uses (for the operator)", run, json=True)


def run(args: Args) -> int:
    """A table, or the API's answer as JSON."""
    from flora.scripts.cli.as_operator import connect_as_operator

    found = connect_as_operator(args).get_json("/workers")
    if args.json:
        print_json(found)
    else:
        print("\n".join(table(found)))
    return 0


def table(workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per worker below a header, columns aligned."""
    rows = [HEADER, *(_row(facts) for facts in workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    memory, cpu_us = facts.get("rss_bytes"), facts.get("cpu_us")
    return (
        str(facts["worker"]),
        "dedicated" if facts["dedicated"] else "shared",
        "up" if facts["up"] else "down",
        str(facts["guilds"]),
        str(facts["unfinished"]),
        str(facts["restarts"]),
        "?" if memory is None else size(memory),
        "?" if cpu_us is None else duration(cpu_us / 1e6),
    )
