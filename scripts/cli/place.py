"""`flora place`: say where a guild is to run."""

from __future__ import annotations

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import Progress, print_json

ANSWER_LIMIT_S = 120.0  # a worker is started and the script loaded there


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "run a guild in a worker of its own, or among others (for the operator)"
    command = parser.command("place", text, run, json=True)
    command.add_argument("guild_id", metavar="GUILD", help="the guild's id")
    command.add_argument("placement", choices=("shared", "dedicated"), help="among others, or alone")


def run(args: Args) -> int:
    """Returns when the guild runs there."""
    from urllib.parse import quote

    from flora.scripts.cli.as_operator import connect_as_operator
    from flora.scripts.cli.status import guild_lines

    client = connect_as_operator(args)
    path = f"/guilds/{quote(args.guild_id, safe='')}/placement"
    with Progress(f"moving guild {args.guild_id}"):
        found = client.put_json(path, {"placement": args.placement}, ANSWER_LIMIT_S)
    if args.json:
        print_json(found)
    else:
        print("\n".join(guild_lines(found)))
    return 0
