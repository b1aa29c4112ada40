"""`flora cron`: a guild's scheduled jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flora.scripts.cli.api_calls import quoted
from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.output import Progress, duration, local_time, print_json, safe

HEADER = ("JOB", "SCHEDULE", "NEXT", "LAST", "OUTCOME", "TOOK", "RUNS", "FAILED", "SKIPPED", "MISSED")
RUN_LIMIT_S = 3600.0  # runs have a limit of their own, unless the operator wants none


def add_to(parser: Parser) -> None:
    """Adds the command group."""
    group = parser.command("cron", "see and run a guild's scheduled jobs", None)
    command = group.command("list", "list the jobs: when they run next, how the last run went", list_jobs, json=True)
    _add_guild(command)
    command = group.command("run", "run a job now, and wait for its end", run_job, json=True)
    _add_guild(command)
    command.add_argument("job", metavar="JOB", help="the job's name")


def _add_guild(command: Parser) -> None:
    command.add_argument("guild", metavar="GUILD", nargs="?", help="the guild's id")
    command.add_argument("-g", "--guild", dest="guild_option", metavar="ID", help="the same")


def list_jobs(args: Args) -> int:
    """A table, or the API's answer as JSON."""
    from flora.scripts.cli.as_operator import connect_as_either

    guild = _guild(args)
    found = connect_as_either(args).get_json(f"/cron/{quoted(guild)}")
    if args.json:
        print_json(found)
    elif found:
        print("\n".join(table(found)))
    else:
        print(f"Guild {guild} has no cron jobs.")
    return 0


def run_job(args: Args) -> int:
    """Exit code 1 when the run did not end well."""
    from flora.scripts.cli.as_operator import connect_as_either

    path = f"/cron/{quoted(_guild(args))}/{quoted(args.job)}/run"
    client = connect_as_either(args)
    with Progress(f"running {safe(args.job)}"):
        ended = client.post_json(path, None, limit_s=RUN_LIMIT_S)
    if args.json:
        print_json(ended)
    else:
        print(f"{safe(ended['name'])}: {ended['outcome']} after {duration(ended['duration_ms'] / 1000)}")
    return 0 if ended["outcome"] == "ok" else 1


def _guild(args: Args) -> str:
    args.guild = args.guild or args.guild_option
    return required(args, "guild", "guild")


def table(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per job below a header, columns aligned; times on this machine's clock."""
    rows = [HEADER, *(_row(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    last = job["last"] or {}
    took_ms = last.get("duration_ms")
    outcome = "running" if job["running"] else last.get("outcome") or "-"
    return (
        safe(job["name"]),
        safe(job["expression"]),
        local_time(job["next"][0]) if job["next"] else "never",
        local_time(last["at"]) if last else "never",
        outcome,
        "-" if took_ms is None else duration(took_ms / 1000),
        *(str(job[count]) for count in ("runs", "failures", "skipped", "missed")),
    )
