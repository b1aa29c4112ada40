"""`flora top`: workers, guilds and rates, live."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.errors import ApiError, Unreachable, UsageError
from flora.scripts.cli.output import colours, note, print_json
from flora.scripts.cli.top_view import SORTS, Sample, screen

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

ALTERNATE, NORMAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
SERVER_ERROR = 500  # from this status on, trying again may help
QUIT_KEYS = ("q", "Q", "\x1b")
LEAST_INTERVAL_S, FIRST_INTERVAL_S = 0.2, 0.5


def add_to(parser: Parser) -> None:
    """Adds the command."""
    command = parser.command("top", "watch workers and guilds live (for the operator)", run, json=True)
    command.add_argument(
        "--interval", metavar="SECONDS", type=float, default=2.0, help="between two screens (default 2)"
    )
    command.add_argument("--sort", choices=tuple(SORTS), default="c", help="what guilds are sorted by at the start")
    command.add_argument("--once", action="store_true", help="print one screen and end; so does output to no terminal")


def run(args: Args) -> int:
    """Screens until q or Ctrl-C; one where nobody watches; with --json what the API said."""
    from flora.scripts.cli.as_operator import connect_as_operator

    if not LEAST_INTERVAL_S <= args.interval <= 3600:
        raise UsageError(f"--interval must be from {LEAST_INTERVAL_S:g} to 3600 seconds")
    client = connect_as_operator(args)
    if args.json:
        now = look(client)
        print_json({"metrics": now.metrics, "workers": now.workers, "guilds": now.guilds})
    elif args.once or not sys.stdout.isatty():
        before = look(client)
        time.sleep(FIRST_INTERVAL_S)
        width = shutil.get_terminal_size((120, 0)).columns
        lines = screen(
            before, look(client), sort=args.sort, columns=width, rows=sys.maxsize, colour=colours(sys.stdout)
        )
        print("\n".join(lines))
    else:
        watch(client, args.interval, args.sort)
    return 0


def look(client: ApiClient) -> Sample:
    """One sample."""
    metrics = client.get_json("/metrics/json")
    return Sample(time.monotonic(), metrics, client.get_json("/workers"), client.get_json("/guilds/status"))


def watch(client: ApiClient, interval_s: float, sort: str) -> None:
    """Shows screens until somebody presses q. A flora that is away is waited for."""
    before: Sample | None = None
    with _full_screen():
        while True:
            terminal = shutil.get_terminal_size()
            pause_s = interval_s if before is not None else FIRST_INTERVAL_S
            try:
                now = look(client)
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status < SERVER_ERROR:
                    raise
                before, lines, pause_s = None, [f"{error}; trying again"], interval_s
            else:
                lines = screen(
                    before, now, sort=sort, columns=terminal.columns, rows=terminal.lines, colour=colours(sys.stdout)
                )
                before = now
            _paint(lines)
            key = _key_within(pause_s)
            if key in QUIT_KEYS:
                return
            sort = key if key in SORTS else sort


def _paint(lines: list[str]) -> None:
    sys.stdout.write(HOME + f"{REST_OF_LINE}\r\n".join(lines) + REST_OF_LINE + REST_OF_SCREEN)
    sys.stdout.flush()


def _key_within(limit_s: float) -> str:
    """The key that was pressed, "" when none was in time."""
    if not sys.stdin.isatty():
        time.sleep(limit_s)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], limit_s)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


@contextmanager
def _full_screen() -> Iterator[None]:
    """The terminal's second screen, keys as they are pressed; everything is put back at the end."""
    kept = None
    if sys.stdin.isatty():
        import termios
        import tty

        kept = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
    else:
        note("press Ctrl-C to end")
    sys.stdout.write(ALTERNATE)
    try:
        yield
    finally:
        sys.stdout.write(NORMAL)
        sys.stdout.flush()
        if kept is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)
