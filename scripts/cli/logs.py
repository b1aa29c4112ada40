"""`flora logs`: what a guild's script printed, and what the runtime says about it."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flora.messages.logs import LEVELS, SOURCES
from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.errors import ApiError, CliError, Unreachable, UsageError
from flora.scripts.cli.output import level_label, note, plural, print_json, safe

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DEFAULT_LINES = 100
DEFAULT_LINES_FOLLOWING = 10
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "show a guild's log; with --json one array, or one object per line when following"
    command = parser.command("logs", text, run, json=True)
    command.add_guild()
    command.add_argument("-f", "--follow", action="store_true", help="go on with new lines until interrupted")
    command.add_argument(
        "-n", "--limit", metavar="LINES", type=int, help="how many kept lines (default 100; 10 with -f)"
    )
    command.add_argument("--level", choices=LEVELS, help="this level and above")
    command.add_argument("--source", choices=tuple(SOURCES), help="what the script printed, or what the runtime says")
    command.add_argument("--grep", metavar="TEXT", help="lines with this text in them, in any case")
    when = "as 30s, 10m, 2h, 7d ago, or as an RFC 3339 time"
    command.add_argument("--since", metavar="TIME", help=f"lines from then on; {when}")
    command.add_argument("--until", metavar="TIME", help="lines before then; the same forms")
    command.add_argument("--all", action="store_true", help="of all guilds, for the operator")


def run(args: Args) -> int:
    """Kept lines, then live ones if wanted."""
    from urllib.parse import quote

    from flora.scripts.cli.as_operator import connect_as_operator
    from flora.scripts.cli.connection import connect

    lines = args.limit if args.limit is not None else DEFAULT_LINES_FOLLOWING if args.follow else DEFAULT_LINES
    if lines < 0:
        raise UsageError("--limit must not be negative")
    query = _query(args, time.time())
    if args.all:
        client, path, whose = connect_as_operator(args), "/logs", "all guilds"
    else:
        guild = required(args, "guild", "guild")
        client, path, whose = connect(args), f"/logs/{quote(guild, safe='')}", f"guild {guild}"
    if args.follow:
        note(f"Following the log of {whose}; press Ctrl-C to stop")
        Follower(client, f"{path}/stream", query, as_json=args.json).run(history=lines)
    found = client.get_json(path, {"limit": str(lines), **query})
    if args.json:
        print_json(found)
        return 0
    if not found:
        print("No logs found")
    for entry in found:
        print(line_of(entry))
    return 0


def _query(args: Args, now_s: float) -> dict[str, str]:
    given = {
        "level": args.level,
        "source": args.source,
        "q": args.grep,
        "since": args.since and str(moment_ms(args.since, now_s)),
        "until": args.until and str(moment_ms(args.until, now_s)),
    }
    return {name: value for name, value in given.items() if value}


def moment_ms(text: str, now_s: float) -> int:
    """`10m` (ago) or an RFC 3339 time, which is local where it has no offset, as Unix milliseconds.

    Raises:
        UsageError: neither.
    """
    amount, unit = text[:-1], text[-1:]
    if amount.isascii() and amount.isdecimal() and unit in UNITS_S:
        return int((now_s - min(int(amount), 10**9) * UNITS_S[unit]) * 1000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write 30s, 10m, 2h or 7d (ago), or 2026-01-31T12:00:00Z") from None


def line_of(entry: Mapping[str, Any]) -> str:
    """`<UTC time> LEVEL [<guild>] <target>: <message>`."""
    moment = datetime.fromtimestamp(entry["timestamp"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    guild = entry.get("guild_id") or "-"
    return f"{moment} {level_label(entry['level'])} [{guild}] {entry['target']}: {safe(entry['message'])}"


def pause_s(failures: int, spread: float) -> float:
    """How long to wait before the next attempt: doubling, capped, and spread by ±20 % (`spread` 0…1)."""
    doubled: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
    return doubled * (0.8 + 0.4 * spread)


class Follower:
    """Prints live lines for ever. When the connection breaks it comes back and asks for what it missed."""

    def __init__(self, client: ApiClient, path: str, query: Mapping[str, str], *, as_json: bool) -> None:
        self._client = client
        self._path = path
        self._query = query
        self._as_json = as_json
        self._last_id: str | None = None
        self._failures = 0

    def run(self, history: int) -> None:
        """Returns never; a refusal that trying again does not change ends it as an error."""
        while True:
            try:
                self._read_once(history if self._last_id is None else 0)
                self._wait("the server ended the stream")
            except Unreachable as error:
                self._wait(str(error))
            except ApiError as error:
                if error.status not in {408, 429} and error.status < 500:
                    raise
                self._wait(str(error))

    def _read_once(self, history: int) -> None:
        from flora.scripts.cli.event_stream import read_events

        query = {**self._query, **({"history": str(history)} if history else {})}
        for event in read_events(self._client.stream(self._path, query, self._last_id)):
            self._failures = 0
            self._last_id = event.id or self._last_id
            self._show(event.name, event.data)

    def _show(self, name: str, data: str) -> None:
        try:
            value = json.loads(data)
        except ValueError:
            raise CliError("the server sent something that is no log line; is this a flora API?") from None
        if name == "lost":
            note(f"({plural(value['lost'], 'line')} lost: they came faster than they could be sent)")
        elif name == "message":
            print(json.dumps(value, ensure_ascii=False) if self._as_json else line_of(value))
            sys.stdout.flush()

    def _wait(self, reason: str) -> None:
        self._failures += 1
        wait_s = pause_s(self._failures, random.random())
        note(f"({reason}; trying again in {wait_s:.1f} s)")
        time.sleep(wait_s)
