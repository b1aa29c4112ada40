"""`flora whoami`: as whom the other commands act, and where."""

from __future__ import annotations

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import print_json, safe


def add_to(parser: Parser) -> None:
    """Adds the command."""
    parser.command("whoami", "show as which user the other commands act", run, json=True)


def run(args: Args) -> int:
    """User and API; fails where the token is not valid any more."""
    from flora.scripts.cli.connection import connect

    client = connect(args)
    user = client.get_json("/auth/me")["user"]
    if args.json:
        print_json({"user": user, "api": client.api_url})
        return 0
    name = user.get("global_name") or user.get("username")  # an API token does not say them
    print(f"user {user['id']}" + (f" ({safe(name)})" if name else ""))
    print(f"  api   {client.api_url}")
    return 0
