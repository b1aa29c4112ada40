"""`flora list`: the deployments of all guilds that the caller administers."""

from __future__ import annotations

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import local_time, note, plural, print_json, safe


def add_to(parser: Parser) -> None:
    """Adds the command."""
    parser.command("list", "list the deployments of your guilds", run, json=True)


def run(args: Args) -> int:
    """One line per guild, or the API's answer as JSON."""
    from flora.scripts.cli.connection import connect

    found, headers = connect(args).get_json_and_headers("/deployments")
    skipped = int(headers.get("X-Flora-Skipped-Guilds", 0))
    if skipped:
        note(f"warning: {plural(skipped, 'guild')} left out, because Discord did not say whether you may see them")
    if args.json:
        print_json(found)
        return 0
    if not found:
        print("No deployments found.")
    for row in sorted(found, key=lambda row: str(row["guild_id"])):
        print(f"{row['guild_id']:<20} {safe(row['entry']):<30} updated {local_time(row['updated_at'])}")
    return 0
