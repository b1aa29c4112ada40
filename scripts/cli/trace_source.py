"""Where `flora trace` has its traces from: the files of a data folder, or the API."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flora.scripts.cli.arguments import Args
from flora.scripts.cli.errors import ApiError, CliError, UsageError
from flora.scripts.cli.output import plural
from flora.storage.trace_query import Trace, TraceFilter, split_id, trace_from
from flora.storage.trace_record import TraceRecord
from flora.storage.trace_search import find, search
from flora.storage.trace_tail import TraceTail

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

FOLDER = "traces"  # in the data folder
MOST_NAMED = 5  # of several that an id may mean
REMOTE_LIMIT = 100  # traces in one answer of the API

Poll = Callable[[], list[TraceRecord]]


class Source(Protocol):
    """Traces from somewhere. Every method raises CliError where that cannot be read."""

    where: str  # for people
    every_s: float  # how often it may be polled
    complete: bool  # False: the last search did not go back as far as it might have

    def newest(self, wanted: TraceFilter, limit: int) -> list[Trace]:
        """The newest ones that match, newest first."""

    def candidates(self, text: str) -> list[Trace]:
        """Those that an id which somebody typed may mean."""

    def poll(self) -> Poll:
        """A function that gives the hops which were added since it was last called, or made."""


def source_of(args: Args) -> Source:
    """The API where that is asked for, or where there is no data folder; else the files.

    Raises:
        CliError: there is neither.
        UsageError: both were asked for.
    """
    if args.remote and args.data_dir:
        raise UsageError("--remote and --data-dir cannot be used together")
    if not args.remote and args.api is None:
        data_dir = _data_dir(args.data_dir)
        if args.data_dir and not data_dir.is_dir():
            raise CliError(f"there is no folder {data_dir}")
        if data_dir.is_dir():
            return FolderSource(data_dir / FOLDER)
    from flora.scripts.cli.as_operator import connect_as_either

    return ApiSource(connect_as_either(args), args.guild)


def _data_dir(given: str | None) -> Path:
    """As flora itself would choose it; nothing else of the settings matters here, so nothing else may stand in the way."""
    from flora.storage.config import data_dir_of

    environ = {**os.environ, **({"FLORA_DATA_DIR": given} if given else {})}
    return data_dir_of(environ, Path.cwd())


def the_one(source: Source, text: str) -> Trace:
    """The trace that an id means: the whole of it, what it begins with, or its short form.

    Raises:
        UsageError: it cannot be one.
        CliError: there is none, or more than one.
    """
    if split_id(text) is None:
        raise UsageError(f"{text!r} is no trace id: it has hex digits only, as 3f29-ba34d2 or 4bf92f35")
    traces = source.candidates(text)
    if not traces:
        raise CliError(f"no trace {text}; `flora trace list` shows which there are (old ones are given up)")
    if len(traces) > 1:
        named = ", ".join(trace.trace_id for trace in traces[:MOST_NAMED])
        more = f" and {len(traces) - MOST_NAMED} more" if len(traces) > MOST_NAMED else ""
        raise CliError(f"{text} may be any of {plural(len(traces), 'trace')}: {named}{more}")
    return traces[0]


class FolderSource:
    """The files of this host; flora need not run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        self.every_s = 0.25
        self.complete = True

    def newest(self, wanted: TraceFilter, limit: int) -> list[Trace]:
        with self._readable():
            return search(self.folder, wanted, limit).traces

    def candidates(self, text: str) -> list[Trace]:
        begins, ends = split_id(text) or ("", "")
        with self._readable():
            return find(self.folder, begins, ends)

    def poll(self) -> Poll:
        with self._readable():
            tail = TraceTail(self.folder)

        def news() -> list[TraceRecord]:
            with self._readable():
                return tail.news()

        return news

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise CliError(f"the traces in {self.folder} cannot be read: {exc.strerror or exc}") from exc


class ApiSource:
    """A running flora, also on another host."""

    def __init__(self, client: ApiClient, guild_id: str | None) -> None:
        self._client = client
        self.where = client.api_url
        self.every_s = 2.0
        self.complete = True
        self._guild_id = guild_id

    def newest(self, wanted: TraceFilter, limit: int) -> list[Trace]:
        query = {
            "event": wanted.event,
            "kind": wanted.kind,
            "outcome": wanted.outcome,
            "since": _ms(wanted.since_us),
            "until": _ms(wanted.until_us),
            "slower_than_ms": _ms(wanted.slower_than_us),
            "guild_id": wanted.guild_id,
        }
        found = self._get("/traces", {name: value for name, value in query.items() if value} | {"limit": str(limit)})
        traces = _traces(found)
        self.complete = bool(found.get("complete", True))
        return traces

    def candidates(self, text: str) -> list[Trace]:
        from urllib.parse import quote

        query = {"guild_id": self._guild_id} if self._guild_id else {}
        try:
            return _traces({"traces": [self._get(f"/traces/{quote(text, safe='')}", query)]})
        except ApiError as error:
            if error.status == 404:
                return []
            raise

    def poll(self) -> Poll:
        seen: dict[tuple[str, str], None] = {}

        def news() -> list[TraceRecord]:
            wanted = TraceFilter(guild_id=self._guild_id or "")
            hops = [hop for trace in self.newest(wanted, REMOTE_LIMIT) for hop in trace.hops]
            fresh = [hop for hop in hops if (hop.trace, hop.span) not in seen]
            seen.update(dict.fromkeys((hop.trace, hop.span) for hop in fresh))
            for old in list(seen)[: -100 * REMOTE_LIMIT]:
                del seen[old]
            return fresh

        news()  # what is there already
        return news

    def _get(self, path: str, query: dict[str, str]) -> Any:
        try:
            return self._client.get_json(path, {**query, "records": "true"})
        except ApiError as error:
            if error.details.get("parameter") == "guild_id" and not self._guild_id:
                raise UsageError("say which guild's with --guild; all traces are for the operator") from None
            raise


def _ms(us: int | None) -> str:
    return "" if us is None else str(us // 1000)


def _traces(found: Any) -> list[Trace]:
    try:
        traces = [trace_from(each) for each in found["traces"]]
    except (TypeError, LookupError, AttributeError):
        raise CliError("the server sent something that is no trace; is this a flora API?") from None
    return [trace for trace in traces if trace is not None]
