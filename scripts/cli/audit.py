"""`flora audit`: who changed what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import local_time, note, print_json, safe

DEFAULT_LINES = 50


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "show who deployed, rolled back, placed, and changed secrets, stores and tokens (for the operator)"
    command = parser.command("audit", text, run, json=True)
    command.add_guild()
    command.add_argument("-n", "--limit", type=int, default=DEFAULT_LINES, metavar="N", help="how many lines (50)")
    command.add_argument("--cursor", metavar="TEXT", help="go on where an earlier page ended")


def run(args: Args) -> int:
    """One line per change, newest first, or the API's answer as JSON."""
    from flora.scripts.cli.as_operator import connect_as_operator

    wanted = {"limit": args.limit, "guild_id": args.guild, "cursor": args.cursor}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    found = connect_as_operator(args).get_json(f"/audit?{query}")
    if args.json:
        print_json(found)
        return 0
    for line in found["lines"]:
        print(audit_text(line))
    if not found["lines"]:
        print("Nothing was changed.")
    if "cursor" in found:
        note(f"more: --cursor {found['cursor']}")
    return 0


def audit_text(line: Mapping[str, Any]) -> str:
    """One change: when, which guild, who, what."""
    actor = line["actor"]
    who = actor.get("username") or actor.get("user_id") or actor["actor_type"]
    details = " ".join(f"{name}={value}" for name, value in line["details"].items() if value is not None)
    guild = line["guild_id"] or "-"
    return safe(
        f"{local_time(line['at'])}  {guild:<20} {who:<20} {line['action']:<16} {line['target']}  {details}".rstrip()
    )
