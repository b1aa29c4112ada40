"""The `flora` command. Front page of this folder: one file per command; beside them

    arguments      options that several commands share, and usage errors with a suggestion
    connection     which API, which token (flags, environment, cli.json), and the HTTP client
    as_operator    the same as the operator of this host
    user_config    cli.json                        output        tables, colours, progress
    project        flora.config.*, entry and root  sources       the files that make up a project
    kv_exports     half of `flora kv`              api_calls     what commands that call the API share
    trace_source   traces from files or the API    trace_view, trace_waterfall   how they look
    trace_following  which traces are at rest      trace_chrome     for Perfetto
    pool_operations  half of `flora workers`
    ignore         .gitignore and .ignore          event_stream  server-sent events
    errors         what ends a command with a sentence instead of a stack trace

Exit codes: 0 success, 1 it did not work, 2 wrong usage, 130 interrupted. Nothing heavy is imported before a command
needs it.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

from flora.scripts.cli import (
    audit,
    cron,
    deploy,
    get,
    guild_secrets,
    health,
    kv,
    login,
    logout,
    logs,
    migrate,
    place,
    revisions,
    status,
    tokens,
    top,
    trace,
    up,
    whoami,
    workers,
)
from flora.scripts.cli import list as listing
from flora.scripts.cli.arguments import Parser, parse
from flora.scripts.cli.errors import CliError

COMMANDS = (
    up,
    login,
    whoami,
    logout,
    deploy,
    get,
    listing,
    revisions,
    logs,
    cron,
    kv,
    status,
    workers,
    top,
    trace,
    place,
    migrate,
    guild_secrets,
    audit,
    health,
    tokens,
)
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    _write_anything()
    args = parse(build_parser(), sys.argv[1:] if argv is None else argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `flora logs | head`: nobody reads on
        return 0
    except Exception as exc:  # noqa: BLE001 - the outermost place: nobody is shown a stack trace unasked
        return _fail(exc, debug=args.debug)
    return code


def build_parser() -> Parser:
    """All commands with their options."""
    parser = Parser(prog="flora", description="Run, deploy and watch Discord bot scripts, one V8 isolate per guild.")
    parser.add_version()
    parser.add_common()
    for command in COMMANDS:
        command.add_to(parser)
    return parser


def _fail(exc: Exception, *, debug: bool) -> int:
    from flora.messages.errors import FloraError

    if debug:
        traceback.print_exception(exc)
    if isinstance(exc, CliError | FloraError):
        print(f"error: {exc}", file=sys.stderr)
        return getattr(exc, "exit_code", 1)
    reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    print(f"error: {reason}" + ("" if debug else " (--debug shows where)"), file=sys.stderr)
    return 1


def _write_anything() -> None:
    """Log lines and names may hold what the terminal's encoding cannot say; that must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
