"""`flora trace`: what happened to an event, a request, a deploy or a cron run, hop by hop through the processes."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.errors import CliError, Unreachable, UsageError
from flora.scripts.cli.logs import moment_ms
from flora.scripts.cli.output import colours, note, plural, print_json, safe

if TYPE_CHECKING:
    from flora.scripts.cli.trace_source import Source
    from flora.scripts.cli.trace_view import Look
    from flora.storage.trace_query import Trace, TraceFilter

KINDS = ("event", "http", "deploy", "cron", "message", "refused", "move")
FORMATS = ("chrome", "otlp")
DEFAULT_LISTED, DEFAULT_EXPORTED = 20, 1000
LONGEST_LIMIT = 100_000
UNITS_US = {"us": 1, "µs": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000}
AWAY_S = 3.0


def add_to(parser: Parser) -> None:
    """Adds the command group."""
    group = parser.command("trace", "see what happened to an event, a request, a deploy or a cron run", None)
    listing = group.command("list", "list the newest traces, newest first", run_list, json=True)
    show = group.command("show", "show one trace as a waterfall, hop by hop", run_show, json=True)
    follow = group.command("follow", "show traces as they come, one line each", run_follow, json=True)
    export = group.command("export", "write traces for Perfetto, Chrome or OpenTelemetry", run_export)
    show.add_argument("id", metavar="ID", help="as `flora trace list` shows it, or the beginning of a whole id")
    export.add_argument("id", metavar="ID", nargs="?", help="of one trace; else those that the filters choose")
    export.add_argument(
        "--format", choices=FORMATS, default="chrome", help="chrome (Perfetto opens it), or otlp as JSON"
    )
    export.add_argument("-o", "--out", metavar="FILE", help="where to; standard output, if left out")
    for command in (listing, follow, export):
        _add_filters(command)
    for command in (listing, export):
        command.add_argument("-n", "--limit", metavar="TRACES", type=int, help="how many (list 20, export 1000)")
    for command in (listing, show, follow, export):
        command.add_argument(
            "--data-dir", metavar="FOLDER", help="flora's data folder (default ./data; FLORA_DATA_DIR)"
        )
        command.add_argument("--remote", action="store_true", help="ask the API instead of reading files of this host")
    show.add_guild()


def _add_filters(command: Parser) -> None:
    command.add_guild()
    command.add_argument("--event", metavar="NAME", help="this event, cron job or hop; * and ? stand for anything")
    command.add_argument("--kind", choices=KINDS, help="what it began with")
    outcome = "ok, failed, dropped, or as it is called: threw, timed_out, shed, held, refused, a code …"
    command.add_argument("--outcome", metavar="WORD", help=outcome)
    command.add_argument("--slower-than", metavar="TIME", help="took longer, as 200ms or 1.5s")
    when = "as 30s, 10m, 2h, 7d ago, or as an RFC 3339 time"
    command.add_argument("--since", metavar="TIME", help=f"began then or later; {when}")
    command.add_argument("--until", metavar="TIME", help="began before; the same forms")


def run_list(args: Args) -> int:
    """One line per trace."""
    from flora.scripts.cli.trace_source import source_of
    from flora.storage.trace_query import summary

    wanted, limit = _filter(args), _limit(args, DEFAULT_LISTED)
    source: Source = source_of(args)
    traces = source.newest(wanted, limit)
    if args.json:
        print_json([summary(trace) for trace in traces])
    elif traces:
        _print_lines(traces, _look())
    else:
        note(f"No traces found in {source.where}")
    _tell_if_cut(source)
    return 0


def run_show(args: Args) -> int:
    """One trace, hop by hop."""
    from flora.scripts.cli.trace_source import source_of, the_one
    from flora.scripts.cli.trace_waterfall import waterfall
    from flora.storage.trace_query import details

    trace = the_one(source_of(args), args.id)
    if args.json:
        print_json(details(trace))
    else:
        print("\n".join(waterfall(trace, _look())))
    return 0


def run_follow(args: Args) -> int:
    """Traces as they come; one is shown when nothing more of it has come for a moment."""
    from flora.scripts.cli.trace_following import Settling
    from flora.scripts.cli.trace_source import source_of

    wanted, look = _filter(args), _look()
    source: Source = source_of(args)
    poll = source.poll()
    settling = Settling()
    note("Following traces; press Ctrl-C to stop")
    while True:
        try:
            settling.take(poll(), time.monotonic())
        except Unreachable as error:
            note(f"({error}; trying again)")
            time.sleep(AWAY_S)
        traces = [trace for trace in settling.settled(time.monotonic()) if wanted.matches(trace)]
        _print_new(traces, look, as_json=args.json)
        time.sleep(source.every_s)


def run_export(args: Args) -> int:
    """A document for another tool."""
    from flora.scripts.cli.trace_source import source_of, the_one

    wanted, limit = _filter(args), _limit(args, DEFAULT_EXPORTED)
    source: Source = source_of(args)
    traces = source.newest(wanted, limit) if args.id is None else [the_one(source, args.id)]
    if not traces:
        raise CliError("no traces were found, so there is nothing to export")
    _write(args.out, _document(args.format, traces))
    where = f" to {args.out}" if args.out else ""
    hint = "; open it at https://ui.perfetto.dev" if args.format == "chrome" and args.out else ""
    note(f"Wrote {plural(len(traces), 'trace')}{where}{hint}")
    _tell_if_cut(source)
    return 0


def _tell_if_cut(source: Source) -> None:
    if not source.complete:
        note("(the server looked at the newest files only; where flora runs, all are searched)")


def _document(form: str, traces: list[Trace]) -> dict[str, Any]:
    if form == "chrome":
        from flora.scripts.cli.trace_chrome import chrome_trace

        return chrome_trace(traces)
    from flora.storage.trace_otlp import export_json

    return export_json(hop for trace in traces for hop in trace.hops)


def _write(out: str | None, document: dict[str, Any]) -> None:
    import orjson

    text = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    if out is None:
        sys.stdout.buffer.write(text)
        return
    try:
        Path(out).write_bytes(text)
    except OSError as exc:
        raise CliError(f"{out} cannot be written: {exc.strerror or exc}") from exc


def _print_lines(traces: list[Trace], look: Look) -> None:
    from flora.scripts.cli.trace_view import list_line

    today = f"{datetime.now().astimezone():%Y-%m-%d}"
    for trace in traces:
        print(list_line(trace, look, today))


def _print_new(traces: list[Trace], look: Look, *, as_json: bool) -> None:
    if as_json:
        import json

        from flora.storage.trace_query import details

        for trace in traces:
            print(json.dumps(details(trace), ensure_ascii=False))
    else:
        _print_lines(traces, look)
    sys.stdout.flush()


def _look() -> Look:
    from flora.scripts.cli.trace_view import Look
    from flora.scripts.cli.trace_waterfall import HANDLED, WAITED

    try:
        (WAITED + HANDLED).encode(sys.stdout.encoding or "ascii")
        blocks = True
    except UnicodeEncodeError:
        blocks = False
    return Look(columns=shutil.get_terminal_size((120, 0)).columns, colour=colours(sys.stdout), blocks=blocks)


def _limit(args: Args, default: int) -> int:
    limit: int = default if args.limit is None else args.limit
    if not 1 <= limit <= LONGEST_LIMIT:
        raise UsageError(f"--limit must be from 1 to {LONGEST_LIMIT}")
    return limit


def _filter(args: Args) -> TraceFilter:
    from flora.storage.trace_query import TraceFilter

    now_s = time.time()
    guild = (args.guild or "").strip()
    if guild and not (guild.isascii() and guild.isdecimal()):
        raise UsageError(f"{safe(guild)!r} is no guild id")
    return TraceFilter(
        guild_id=guild,
        event=args.event or "",
        kind=args.kind or "",
        outcome=args.outcome or "",
        since_us=moment_ms(args.since, now_s) * 1000 if args.since else None,
        until_us=moment_ms(args.until, now_s) * 1000 if args.until else None,
        slower_than_us=span_us(args.slower_than) if args.slower_than else None,
    )


def span_us(text: str) -> int:
    """`200ms`, `1.5s`, `800us`, `2m`; a bare number is milliseconds. In µs.

    Raises:
        UsageError: none of these.
    """
    digits = text.rstrip("µmus")
    unit = text[len(digits) :] or "ms"
    try:
        value = float(digits)
    except ValueError:
        value = -1.0
    if unit not in UNITS_US or not 0 <= value < 1e9:
        raise UsageError(f"{text!r} is no length of time: write 200ms, 1.5s or 800us")
    return int(value * UNITS_US[unit])
