"""`flora get`: what a guild runs."""

from __future__ import annotations

from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.output import local_time, print_json, safe


def add_to(parser: Parser) -> None:
    """Adds the command."""
    command = parser.command("get", "show a guild's deployment", run, json=True)
    command.add_guild()


def run(args: Args) -> int:
    """Four lines, or the API's answer as JSON."""
    from urllib.parse import quote

    from flora.scripts.cli.connection import connect

    guild = required(args, "guild", "guild")
    found = connect(args).get_json(f"/deployments/{quote(guild, safe='')}")
    if args.json:
        print_json(found)
        return 0
    print(f"guild    {found['guild_id']}")
    print(f"entry    {safe(found['entry'])}")
    print(f"created  {local_time(found['created_at'])}")
    print(f"updated  {local_time(found['updated_at'])}")
    return 0
