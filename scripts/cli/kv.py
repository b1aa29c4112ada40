"""`flora kv`: a guild's key-value stores. Exports are in kv_exports.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from flora.scripts.cli import kv_exports
from flora.scripts.cli.api_calls import connected, quoted, tell
from flora.scripts.cli.arguments import Args, Parser, confirm, required
from flora.scripts.cli.errors import UsageError
from flora.scripts.cli.output import local_time, note, plural, print_json, safe, size


def add_to(parser: Parser) -> None:
    """Adds the command group. The second names are those of the runtime whose scripts run here."""
    group = parser.command("kv", "read and change a guild's key-value stores", None)
    _add_stores(group)
    _add_keys(group)
    kv_exports.add_to(group)


def _add_stores(group: Parser) -> None:
    command = group.command("stores", "list a guild's stores", list_stores, ["list-stores"], json=True)
    command.add_guild()
    _add_named(group.command("create", "make an empty store", create_store, ["create-store"], json=True))
    _add_named(group.command("usage", "show how full a store is", show_usage, json=True))
    text = "delete a store with everything in it"
    command = group.command("drop", text, drop_store, ["delete-store"], json=True)
    _add_named(command)
    command.add_yes()


def _add_named(command: Parser) -> None:
    command.add_guild()
    command.add_argument("name_given", nargs="?", metavar="NAME", help="the store's name")
    command.add_argument("--name", metavar="NAME", help="the same")


def _add_keys(group: Parser) -> None:
    command = group.command("list", "list the keys of a store", list_keys, ["list-keys"], json=True)
    _add_store(command)
    command.add_argument("--prefix", metavar="TEXT", help="only keys that begin with this")
    command.add_argument("-n", "--limit", metavar="KEYS", type=int, help="how many (default 100, at most 1000)")
    command.add_argument("--cursor", metavar="KEY", help="go on after this key")
    command = group.command("get", "print a value", get_key, json=True)
    _add_store(command)
    command.add_argument("key", metavar="KEY", help="the key")
    command = group.command("set", "replace a value, its expiration and its metadata", set_key, json=True)
    _add_store(command)
    command.add_argument("value", metavar="VALUE", help="the value; - reads it from standard input")
    command.add_argument("-k", "--key", metavar="KEY", help="the key")
    command.add_argument("--type", choices=("string", "json"), help="what VALUE is (default string)")
    command.add_argument("--ttl", metavar="SECONDS", type=float, help="remove it after so long")
    command.add_argument("--expiration", metavar="TIME", type=int, help="remove it then, in Unix seconds")
    command.add_argument("--metadata", metavar="JSON", help="what to keep beside the value")
    command = group.command("delete", "delete a key", delete_key, json=True)
    _add_store(command)
    command.add_argument("key", metavar="KEY", help="the key")


def _add_store(command: Parser) -> None:
    command.add_guild()
    command.add_argument("-s", "--store", metavar="NAME", help="the store's name")


def list_stores(args: Args) -> int:
    """One line per store."""
    guild = required(args, "guild", "guild")
    found = connected(args).get_json("/kv/stores", {"guild_id": guild})
    if args.json:
        print_json(found)
        return 0
    if not found:
        print(f"No KV stores found in guild {guild}.")
    for row in found:
        print(f"{safe(row['store_name']):<30} made {local_time(row['created_at'])}")
    return 0


def create_store(args: Args) -> int:
    """Fails when there is one of this name."""
    guild, name = required(args, "guild", "guild"), _name(args)
    made = connected(args).post_json("/kv/stores", {"guild_id": guild, "store_name": name})
    return tell(args, made, f"Created store {safe(name)}")


def show_usage(args: Args) -> int:
    """Keys and bytes; bytes as the quotas count them."""
    guild, name = required(args, "guild", "guild"), _name(args)
    found = connected(args).get_json(f"/kv/stores/{quoted(guild)}/{quoted(name)}")
    usage = found["usage"]
    return tell(args, found, f"{plural(usage['keys'], 'key')}, {size(usage['stored_bytes'])}")


def drop_store(args: Args) -> int:
    """Asks first at a terminal."""
    guild, name = required(args, "guild", "guild"), _name(args)
    confirm(f"Delete store {safe(name)} of guild {guild} with everything in it?", args, only_people=True)
    connected(args).delete(f"/kv/stores/{quoted(guild)}/{quoted(name)}")
    return tell(args, {"deleted": True}, f"Deleted store {safe(name)}")


def list_keys(args: Args) -> int:
    """One line per key; where it goes on is told on stderr."""
    given = {"prefix": args.prefix, "limit": args.limit, "cursor": args.cursor}
    query = {name: str(value) for name, value in given.items() if value is not None}
    client, path = connected(args), _store_path(args)
    page = client.get_json(path, query)
    if args.json:
        print_json(page)
        return 0
    if not page["keys"]:
        print("No keys found.")
    for key in page["keys"]:
        print(_key_line(key))
    if not page["listComplete"]:
        note(f"(there are more; go on with --cursor {_shell_quoted(page['cursor'])})")
    return 0


def get_key(args: Args) -> int:
    """The value as it is, for other programs; exit code 1 when there is none."""
    path = f"{_store_path(args)}/{quoted(args.key)}"
    found = connected(args).get_json(path)
    if args.json:
        print_json(found)
    elif found["value"] is not None:
        print(safe(found["value"]) if sys.stdout.isatty() else found["value"])
    if found["value"] is None:
        note(f"Key '{safe(args.key)}' not found")
        return 1
    return 0


def set_key(args: Args) -> int:
    """Says which key, not what: a value may be private."""
    key = required(args, "key", "key")
    text = sys.stdin.read() if args.value == "-" else args.value
    body: dict[str, Any] = {"value": text, "type": args.type, "ttl": args.ttl, "expiration": args.expiration}
    if args.metadata is not None:
        body["metadata"] = _parsed(args.metadata, "--metadata")
    if args.type == "json":
        _parsed(text, "VALUE")
    path = f"{_store_path(args)}/{quoted(key)}"
    answer = connected(args).put_json(path, {name: value for name, value in body.items() if value is not None})
    return tell(args, answer, f"Set {safe(key)}")


def delete_key(args: Args) -> int:
    """A key that is not there is fine."""
    path = f"{_store_path(args)}/{quoted(args.key)}"
    connected(args).delete(path)
    return tell(args, {"deleted": True}, f"Deleted {safe(args.key)}")


def _store_path(args: Args) -> str:
    return f"/kv/{quoted(required(args, 'guild', 'guild'))}/{quoted(required(args, 'store', 'store'))}"


def _name(args: Args) -> str:
    if args.name is None:
        args.name = args.name_given
    return required(args, "name", "store name")


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UsageError(f"{what} is not valid JSON: {exc}") from None


def _key_line(key: Mapping[str, Any]) -> str:
    parts = [safe(key["name"])]
    if "expiration" in key:
        parts.append(f"(expires: {key['expiration']})")
    if "metadata" in key:
        parts.append(f"[metadata: {safe(json.dumps(key['metadata'], ensure_ascii=False))}]")
    return " ".join(parts)


def _shell_quoted(text: str) -> str:
    import shlex

    return shlex.quote(safe(text))
