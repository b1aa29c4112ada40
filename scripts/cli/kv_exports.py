"""`flora kv export` and what is done with exports afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.api_calls import connected, quoted, tell
from flora.scripts.cli.arguments import Args, Parser, confirm, required
from flora.scripts.cli.errors import CliError
from flora.scripts.cli.output import Progress, local_time, plural, print_json, safe, size

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

WORK_LIMIT_S = 900.0  # for a guild at its quota it takes a minute; this only guards against a dead connection


def add_to(group: Parser) -> None:
    """Adds the commands to `flora kv`."""
    text = "write all stores of a guild, as they are at one moment, into one file on flora's host"
    group.command("export", text, make_export, json=True).add_guild()
    group.command("exports", "list the exports that are kept, newest first", list_exports, json=True).add_guild()
    command = group.command("download", "fetch an export: JSON Lines, compressed with gzip", download, json=True)
    _add_export(command)
    command.add_argument(
        "-o", "--output", metavar="FILE", help="where to (default kv-GUILD-EXPORT.jsonl.gz; - prints it)"
    )
    command = group.command("restore", "give stores the contents they had in an export", restore, json=True)
    _add_export(command)
    command.add_argument("-s", "--store", metavar="NAME", help="only this store (default all that are in the export)")
    command.add_yes()
    command = group.command("delete-export", "delete an export", delete_export, json=True)
    command.add_guild()
    command.add_argument("export_id", metavar="EXPORT", help="the export's id")
    command.add_yes()


def _add_export(command: Parser) -> None:
    command.add_guild()
    command.add_argument("export_id", metavar="EXPORT", nargs="?", help="the export's id (default the newest)")


def make_export(args: Args) -> int:
    """The id alone on stdout, for other programs."""
    guild = required(args, "guild", "guild")
    client = connected(args)
    with Progress(f"Exporting the key-value stores of guild {guild}") as progress:
        made = client.post_json(_path(guild), {}, limit_s=WORK_LIMIT_S)
    if args.json:
        print_json(made)
        return 0
    keys = sum(store["keys"] for store in made["stores"])
    what = f"{plural(len(made['stores']), 'store')}, {plural(keys, 'key')}, {size(made['size'])}"
    print(f"Exported {made['backup_id']}")
    print(f"  {what} (took {progress.elapsed_s:.1f} s)")
    return 0


def list_exports(args: Args) -> int:
    """One line per export."""
    guild = required(args, "guild", "guild")
    found = connected(args).get_json(_path(guild))
    if args.json:
        print_json(found)
        return 0
    if not found:
        print("No exports found.")
    for row in found:
        names = ", ".join(f"{safe(store['store_name'])} ({plural(store['keys'], 'key')})" for store in row["stores"])
        print(f"{row['backup_id']}  {local_time(row['created_at'])}  {size(row['size']):>9}  {names}")
    return 0


def download(args: Args) -> int:
    """The file appears under its name only when it is complete."""
    guild = required(args, "guild", "guild")
    client = connected(args)
    row = _chosen(client, guild, args.export_id)
    path = f"{_path(guild)}/{quoted(row['backup_id'])}"
    if args.output == "-":
        client.save(path, sys.stdout.buffer)
        return 0
    target = Path(args.output or f"kv-{guild}-{row['backup_id']}.jsonl.gz")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with Progress(f"Downloading {size(row['size'])}"), part.open("wb") as file:
            written = client.save(path, file)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return tell(args, {"file": str(target), "size": written}, f"Saved {safe(str(target))} ({size(written)})")


def restore(args: Args) -> int:
    """Asks first at a terminal: what the stores have now is replaced."""
    guild = required(args, "guild", "guild")
    client = connected(args)
    row = _chosen(client, guild, args.export_id)
    names = [args.store] if args.store else [store["store_name"] for store in row["stores"]]
    moment = local_time(row["created_at"])
    confirm(f"Replace what is in {safe(', '.join(names))} by what was there on {moment}?", args)
    body = {"store_name": args.store} if args.store else {}
    with Progress(f"Restoring {safe(', '.join(names))} from {moment}") as progress:
        answer = client.post_json(f"{_path(guild)}/{quoted(row['backup_id'])}/restore", body, limit_s=WORK_LIMIT_S)
    if args.json:
        print_json(answer)
        return 0
    for store in answer["restored"]:
        print(f"Restored {safe(store['store_name'])}: {plural(store['keys'], 'key')}")
    print(f"  took {progress.elapsed_s:.1f} s")
    return 0


def delete_export(args: Args) -> int:
    """Asks first at a terminal."""
    guild = required(args, "guild", "guild")
    confirm(f"Delete export {safe(args.export_id)}?", args)
    connected(args).delete(f"{_path(guild)}/{quoted(args.export_id)}")
    return tell(args, {"deleted": True}, f"Deleted export {safe(args.export_id)}")


def _chosen(client: ApiClient, guild: str, export_id: str | None) -> Mapping[str, Any]:
    found: Sequence[Mapping[str, Any]] = client.get_json(_path(guild))
    if not found:
        raise CliError(f"guild {guild} has no exports; `flora kv export --guild {guild}` makes one")
    chosen = found[0] if export_id is None else next((row for row in found if row["backup_id"] == export_id), None)
    if chosen is None:
        raise CliError(f"guild {guild} has no export {export_id}; `flora kv exports --guild {guild}` lists them")
    return chosen


def _path(guild: str) -> str:
    return f"/kv/export/{quoted(guild)}"
