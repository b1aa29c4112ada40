"""`flora migrate`: move one guild to another worker. `flora moves`: what is moved, and was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flora.scripts.cli.api_calls import quoted
from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import Progress, duration, local_time, print_json, safe

ANSWER_LIMIT_S = 120.0
HEADER = ("GUILD", "FROM", "TO", "STATE", "BEGAN", "TOOK", "PAUSED", "QUEUED", "WHY")


def add_to(parser: Parser) -> None:
    """Adds both commands."""
    command = parser.command("migrate", "move a guild to another shared worker (for the operator)", run, json=True)
    command.add_argument("guild_id", metavar="GUILD", help="the guild's id")
    command.add_argument("--to", metavar="W", type=int, help="the worker's number (default: flora chooses)")
    parser.command("moves", "list guilds that are being moved, and the last moves (for the operator)", moves, json=True)


def run(args: Args) -> int:
    """Returns when the guild serves there; exit code 1 when it stays where it was."""
    from flora.scripts.cli.as_operator import connect_as_operator

    client = connect_as_operator(args)
    body = {} if args.to is None else {"to": args.to}
    with Progress(f"moving guild {safe(args.guild_id)}"):
        moved = client.post_json(f"/guilds/{quoted(args.guild_id)}/migrate", body, limit_s=ANSWER_LIMIT_S)
    if args.json:
        print_json(moved)
    elif moved["source"] == moved["target"]:
        print(f"guild {safe(args.guild_id)} is in worker {moved['target']} already")
    else:
        paused = duration((moved.get("paused_us") or 0) / 1e6)
        print(
            f"guild {safe(args.guild_id)} moved from worker {moved['source']} to worker {moved['target']};"
            f" its events waited for {paused}"
        )
    return 0


def moves(args: Args) -> int:
    """A table, or the API's answer as JSON."""
    from flora.scripts.cli.as_operator import connect_as_operator

    found = connect_as_operator(args).get_json("/moves")
    if args.json:
        print_json(found)
    elif found:
        print("\n".join(table(found)))
    else:
        print("No guild has been moved.")
    return 0


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per move below a header, columns aligned."""
    rows = [HEADER, *(_row(move) for move in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(move: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        safe(str(move["guild_id"])),
        str(move["source"]),
        str(move["target"]),
        safe(str(move["state"])),
        local_time(move["at"]),
        _time(move.get("took_us")),
        _time(move.get("paused_us")),
        str(move.get("queued", 0)),
        safe(str(move.get("why") or "")),
    )


def _time(microseconds: int | None) -> str:
    return "" if microseconds is None else duration(microseconds / 1e6)
