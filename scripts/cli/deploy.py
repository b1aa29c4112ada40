"""`flora deploy`: make a project the script of a guild."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.errors import ApiError
from flora.scripts.cli.output import Progress, local_time, note, plural, print_json, safe, size

if TYPE_CHECKING:
    from flora.scripts.cli.sources import SourceText

DEPLOY_LIMIT_S = 900.0  # the server ends every deploy well before this; it only guards against a dead connection


def add_to(parser: Parser) -> None:
    """Adds the command."""
    command = parser.command("deploy", "send a project's sources and make them the guild's script", run, json=True)
    command.add_argument(
        "entry", nargs="?", metavar="ENTRY", help="file that runs (default: configured, or src/main.ts)"
    )
    command.add_guild()
    command.add_argument("--root", metavar="FOLDER", help="the project's folder (default: configured, or .)")
    command.add_argument("--bundle", metavar="FILE", help="send this finished script instead of sources")


def run(args: Args) -> int:
    """Collects, sends, and shows what became of it."""
    from flora.scripts.cli.connection import connect

    guild = required(args, "guild", "guild")
    client = connect(args)
    body, sources = _bundle(args) if args.bundle else _project(args)
    bulk = size(sum(len(source.contents.encode()) for source in sources))
    what = f"{plural(len(sources), 'file')}, {bulk}"
    try:
        with Progress(f"Deploying {body['entry']} ({what}) to guild {guild}") as progress:
            headers = {"x-flora-deploy-source": "cli"}
            answer = client.post_json(f"/deployments/{_quoted(guild)}", body, headers, DEPLOY_LIMIT_S)
    except ApiError as error:
        if args.json:
            print_json({"message": str(error), "code": error.code, "details": error.details})
        for line in where(error.details, str(error), sources):
            note(line)
        raise
    if args.json:
        print_json(answer)
    else:
        print(f"Deployed guild {answer['guild_id']}")
        print(f"  entry  {answer['entry']} ({what})")
        print(f"  time   {local_time(answer['updated_at'])} (took {progress.elapsed_s:.1f} s)")
    return 0


def _project(args: Args) -> tuple[dict[str, Any], list[SourceText]]:
    from flora.scripts.cli.project import find_project
    from flora.scripts.cli.sources import collect

    project = find_project(args.entry, args.root, Path.cwd())
    sources = collect(project.root, project.entry)
    return {"entry": project.entry, "files": [source._asdict() for source in sources]}, sources


def _bundle(args: Args) -> tuple[dict[str, Any], list[SourceText]]:
    from flora.scripts.cli.sources import SourceText, read_text

    file = Path(args.bundle)
    source_map = file.with_name(f"{file.name}.map")
    body: dict[str, Any] = {"entry": args.entry or file.name, "bundle": read_text(file)}
    if source_map.is_file():
        body["source_map"] = {"path": source_map.name, "contents": read_text(source_map)}
    return body, [SourceText(file.name, body["bundle"])]


def where(details: Mapping[str, Any], message: str, sources: Sequence[SourceText]) -> list[str]:
    """The place that an error names, and its line with a mark below; nothing when it names none."""
    file, line, column = details.get("file"), details.get("line"), details.get("column")
    if not isinstance(file, str) or not isinstance(line, int):
        found = _first_place(message, sources)
        if found is None:
            return []
        file, line, column = found
    place = f"{file}:{line}:{column}" if isinstance(column, int) else f"{file}:{line}"
    shown = [] if place in message else [f"at {place}"]
    text = next((source.contents for source in sources if source.path == file), "").split("\n")
    if 1 <= line <= len(text):
        number = f"{line:>5} | "
        shown.append(number + safe(text[line - 1].rstrip().expandtabs(1)))
        if isinstance(column, int) and column >= 1:
            shown.append(" " * (len(number) - 2) + "| " + " " * (column - 1) + "^")
    return shown


def _first_place(message: str, sources: Sequence[SourceText]) -> tuple[str, int, int] | None:
    """The first `file:line:column` in a stack trace that is in one of the files sent."""
    paths = {source.path for source in sources}
    for file, line, column in re.findall(r"([^\s()]+):(\d{1,7}):(\d{1,7})", message):
        if file in paths:
            return file, int(line), int(column)
    return None


def _quoted(guild: str) -> str:
    from urllib.parse import quote

    return quote(guild, safe="")
