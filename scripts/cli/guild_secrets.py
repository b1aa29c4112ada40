"""`flora secret`: what guild scripts may send along without seeing it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.errors import CliError, UsageError
from flora.scripts.cli.output import Progress, note, plural, print_json, safe

ROTATE_LIMIT_S = 3600.0
ANSWER_LIMIT_S = 30.0
MAX_VALUE_BYTES = 65_536


def add_to(parser: Parser) -> None:
    """Adds the command group."""
    group = parser.command("secret", "manage what scripts send to other servers without seeing it", None)
    listing = group.command("list", "show a guild's secrets: names and hosts, never values", run_list, json=True)
    listing.add_guild()
    setting = group.command(
        "set", "store a secret; its value comes from a prompt, a pipe or a file", run_set, json=True
    )
    setting.add_guild()
    setting.add_argument("name", metavar="NAME", help="1 to 64 of A-Z a-z 0-9 _ . -")
    setting.add_argument(
        "--host",
        metavar="HOST",
        action="append",
        dest="hosts",
        help="where it may be sent: api.example.com, *.example.com; may be repeated (without: as before)",
    )
    setting.add_argument("--value-file", metavar="FILE", help="read the value from a file, every byte of it")
    deleting = group.command("delete", "forget a secret", run_delete, json=True)
    deleting.add_guild()
    deleting.add_argument("name", metavar="NAME", help="its name")
    text = "encrypt every guild's secrets under the current master key (for the operator)"
    group.command("rotate", text, run_rotate, json=True)


def run_list(args: Args) -> int:
    """One line each: name, hosts."""
    from flora.scripts.cli.connection import connect

    found = connect(args).get_json(_path(args))
    if args.json:
        print_json(found)
        return 0
    if not found:
        note("no secrets; `flora secret set NAME --host HOST` adds one")
        return 0
    width = max(len(safe(each["name"])) for each in found)
    for each in found:
        print(f"{safe(each['name']):<{width}}  {safe(', '.join(each['allowed_hosts'])) or 'no host'}{_remark(each)}")
    return 0


def run_set(args: Args) -> int:
    """Stores a value that never stood on a command line."""
    from flora.scripts.cli.connection import connect

    client = connect(args)
    path = _path(args, args.name)
    hosts = args.hosts if args.hosts is not None else _hosts_before(client.get_json(_path(args)), args.name)
    answer = client.put_json(path, {"value": _value(args), "allowed_hosts": hosts}, ANSWER_LIMIT_S)
    if args.json:
        print_json(answer)
        return 0
    print(f"{answer['name']} is set for {', '.join(answer['allowed_hosts']) or 'no host'}{_when(answer)}")
    if not answer["allowed_hosts"]:
        note(
            "it can be sent nowhere until you name a host (--host), unless the operator allows any (secrets.allow_any_host)"
        )
    return 0


def run_delete(args: Args) -> int:
    """One that is not there is fine."""
    from flora.scripts.cli.connection import connect

    answer = connect(args).delete_json(_path(args, args.name))
    if args.json:
        print_json(answer)
    else:
        print(f"{args.name} is deleted{_when(answer)}")
    return 0


def run_rotate(args: Args) -> int:
    """Exit code 1 when some could not be read."""
    from flora.scripts.cli.as_operator import connect_as_operator

    client = connect_as_operator(args)
    with Progress("encrypting secrets under the current key"):
        found = client.post_json("/secrets/rotate", {}, {}, ROTATE_LIMIT_S)
    if args.json:
        print_json(found)
    else:
        bound = f", {found['bound']} of them bound to guild and name for the first time" if found["bound"] else ""
        print(f"{plural(found['rotated'], 'secret')} encrypted under key {found['key_id']}{bound}")
        if not found["unreadable_count"]:
            note("previous keys (secrets.previous_keys) are not needed any more")
        for each in found["unreadable"]:
            print(f"not readable with any configured key: {safe(each['name'])} of guild {safe(each['guild_id'])}")
    return 1 if found["unreadable_count"] else 0


def _path(args: Args, name: str | None = None) -> str:
    from urllib.parse import quote

    guild = quote(required(args, "guild", "guild"), safe="")
    return f"/secrets/{guild}" + ("" if name is None else f"/{quote(name, safe='')}")


def _hosts_before(found: list[dict[str, Any]], name: str) -> list[str]:
    return next((each["allowed_hosts"] for each in found if each["name"] == name), [])


def _value(args: Args) -> str:
    if args.value_file is not None:
        try:
            value = Path(args.value_file).read_text(encoding="utf-8")
        except OSError as exc:
            raise CliError(f"{args.value_file} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError:
            raise CliError(f"{args.value_file} is not text in UTF-8") from None
    elif sys.stdin.isatty():
        from getpass import getpass

        value = getpass(f"value of {args.name} (not shown): ")
    else:
        # As typed into a pipe: `echo` adds a line end that nobody means.
        value = sys.stdin.read(MAX_VALUE_BYTES + 2).removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageError("the value is empty; to remove a secret: flora secret delete")
    return value


def _remark(secret: dict[str, Any]) -> str:
    return "" if secret.get("readable", True) else "  (not readable with the configured keys: set it again)"


def _when(answer: dict[str, Any]) -> str:
    return "" if answer.get("delivered", True) else "; the running script gets to know a little later"
