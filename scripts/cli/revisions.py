"""`flora history`, `flora revision show`, `flora rollback`, `flora undeploy`: every attempt to deploy, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.arguments import Args, Parser, confirm, required
from flora.scripts.cli.errors import ApiError, CliError, UsageError
from flora.scripts.cli.output import Progress, local_time, note, plural, print_json, safe, size

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

Facts = Mapping[str, Any]

DEFAULT_SHOWN = 25
ID_CHARS = 36
SHORTEST_PREFIX = 4
SEARCHED = 100  # the API's largest page
HTTP_NOT_FOUND = 404
LIMIT_S = 900.0  # the server ends everything well before this
SOURCE = {"x-flora-deploy-source": "cli"}


def add_to(parser: Parser) -> None:
    """Adds the commands."""
    command = parser.command("history", "list the attempts to deploy to a guild, newest first", run_history, json=True)
    command.add_argument("guild", metavar="GUILD", nargs="?", help="the guild's id")
    command.add_argument("-g", "--guild", metavar="ID", dest="guild_option", help="the same")
    command.add_argument("-n", "--limit", type=int, default=DEFAULT_SHOWN, metavar="N", help="how many (25)")
    command.add_argument("--before", metavar="REVISION", help="only those older than this one")

    group = parser.command("revision", "look at one attempt to deploy", None)
    command = group.command("show", "show a revision: who, when, what changed, its files", run_show, json=True)
    command.add_argument("revision", metavar="REVISION", help="its id, or how it begins")
    command.add_guild()
    command.add_argument("--file", metavar="PATH", help="print this file of it")
    command.add_argument("--bundle", action="store_true", help="print the script that ran")

    command = parser.command("rollback", "make an earlier revision the guild's script again", run_rollback, json=True)
    command.add_argument(
        "revision",
        metavar="REVISION",
        nargs="?",
        help="its id, or how it begins (default: the success before this one)",
    )
    command.add_guild()

    text = "stop a guild's script and forget the deployment; its history stays"
    command = parser.command("undeploy", text, run_undeploy, json=True)
    command.add_guild()
    command.add_yes()


def run_history(args: Args) -> int:
    """One line per attempt, or the API's answer as JSON."""
    from flora.scripts.cli.connection import connect

    args.guild = args.guild or args.guild_option
    guild, client = required(args, "guild", "guild"), connect(args)
    query = {"limit": str(args.limit), "include_files": "false"}
    if args.before:
        last = _revision(client, guild, args.before)
        query |= {"cursor_deployed_at": last["deployed_at"], "cursor_id": last["id"]}
    found, headers = client.get_json_and_headers(f"{_path(guild)}/history", query)
    if args.json:
        print_json(found)
        return 0
    for row in found:
        print(revision_line(row))
    if not found:
        print("Nothing was deployed.")
    elif headers.get("X-Flora-More") == "true":
        note(f"older ones: --before {found[-1]['id']}")
    return 0


def run_show(args: Args) -> int:
    """What is known of one revision; one of its files; or its script."""
    from flora.scripts.cli.connection import connect

    guild, client = required(args, "guild", "guild"), connect(args)
    revision_id = _full_id(client, guild, args.revision)
    query = {"include_bundle": "true" if args.bundle else "false"}
    found = client.get_json(f"{_path(guild)}/revisions/{revision_id}", query)
    if args.json:
        print_json(found)
    elif args.bundle:
        print(_kept(found.get("bundle"), "the script of this revision is not kept"), end="")
    elif args.file is not None:
        contents = [file["contents"] for file in found.get("files", ()) if file["path"] == args.file]
        print(_kept(contents[0] if contents else None, f"this revision has no file {args.file}"), end="")
    else:
        print("\n".join(revision_text(found)))
    return 0


def run_rollback(args: Args) -> int:
    """Shows the new revision."""
    from flora.scripts.cli.connection import connect

    guild, client = required(args, "guild", "guild"), connect(args)
    target = _full_id(client, guild, args.revision) if args.revision else _one_before(client, guild)
    with Progress(f"Rolling guild {guild} back to {target}"):
        made = client.post_json(f"{_path(guild)}/rollback/{target}", None, SOURCE, LIMIT_S)
    if args.json:
        print_json(made)
    else:
        print(f"Rolled back guild {guild} to {target}")
        print(f"  entry     {safe(made['entry'])}")
        print(f"  revision  {made['id']}")
    return 0


def run_undeploy(args: Args) -> int:
    """Asks first, where there is somebody to ask."""
    from flora.scripts.cli.connection import connect

    guild = required(args, "guild", "guild")
    confirm(f"Stop the script of guild {guild} and forget its deployment?", args)
    answer = connect(args).delete_json(_path(guild), SOURCE, LIMIT_S)
    if args.json:
        print_json(answer)
    else:
        print(f"Undeployed guild {guild}; `flora rollback` brings a revision back")
    return 0


def revision_line(row: Facts) -> str:
    """One attempt: when, how it ended, which, by whom, what changed or what was wrong."""
    actor = row["actor"]
    who = actor.get("username") or actor.get("user_id") or actor["actor_type"]
    what = row["error_message"].splitlines()[0] if row.get("error_message") else _changes(row)
    line = (
        f"{local_time(row['deployed_at'])}  {row['status']:<7}  {row['id']}  {row['deploy_source']:<9} {who:<16} {what}"
    )
    return safe(line).rstrip()


def revision_text(row: Facts) -> list[str]:
    """All of one revision but its code."""
    actor = row["actor"]
    who = " ".join(
        str(part) for part in (actor.get("username"), actor.get("user_id"), f"({actor['actor_type']})") if part
    )
    lines = [
        f"revision  {row['id']} ({row['status']})",
        f"entry     {row['entry']}",
        f"time      {local_time(row['deployed_at'])}",
        f"by        {who}, {row['deploy_source']}",
    ]
    named = {"build": row.get("build_id"), "base": row.get("base_revision_id"), "changes": _changes(row)}
    lines += [f"{name:<9} {value}" for name, value in named.items() if value]
    if row.get("error_message"):
        lines += ["error", *(f"  {line}" for line in row["error_message"].splitlines())]
    files = row.get("files", ())
    if files:
        lines.append(f"{plural(len(files), 'file')}:")
        lines += [f"  {file['path']}  {size(len(file['contents'].encode()))}" for file in files]
    return [safe(line) for line in lines]


def _changes(row: Facts) -> str:
    summary = row.get("change_summary")
    if summary is None:
        return ""
    return f"+{summary['added_files']} -{summary['removed_files']} ~{summary['modified_files']} files"


def _path(guild: str) -> str:
    from urllib.parse import quote

    return f"/deployments/{quote(guild, safe='')}"


def _revision(client: ApiClient, guild: str, beginning: str) -> Facts:
    found: Facts = client.get_json(f"{_path(guild)}/revisions/{_full_id(client, guild, beginning)}")
    return found


def _full_id(client: ApiClient, guild: str, beginning: str) -> str:
    """The revision whose id begins like this; an id that is whole is taken as it is."""
    text = beginning.strip().lower()
    if len(text) >= ID_CHARS:
        return text
    if len(text) < SHORTEST_PREFIX:
        raise UsageError(f"{beginning} is too short: give at least {SHORTEST_PREFIX} characters of a revision's id")
    matching = [row["id"] for row in _newest(client, guild) if row["id"].startswith(text)]
    if len(matching) != 1:
        which = "no revision begins" if not matching else f"{plural(len(matching), 'revision')} begin"
        raise CliError(f"{which} with {text}; `flora history` lists them")
    return str(matching[0])


def _one_before(client: ApiClient, guild: str) -> str:
    good = [row["id"] for row in _newest(client, guild) if row["status"] == "success"]
    earlier = good[1:] if _is_deployed(client, guild) else good
    if not earlier:
        raise CliError("there is no earlier successful revision to roll back to")
    return str(earlier[0])


def _is_deployed(client: ApiClient, guild: str) -> bool:
    try:
        client.get_json(_path(guild))
    except ApiError as error:
        if error.status != HTTP_NOT_FOUND:
            raise
        return False
    return True


def _newest(client: ApiClient, guild: str) -> list[Facts]:
    query = {"limit": str(SEARCHED), "include_files": "false"}
    found: list[Facts] = client.get_json(f"{_path(guild)}/history", query)
    return found


def _kept(text: str | None, otherwise: str) -> str:
    if text is None:
        raise CliError(otherwise)
    return text
