"""`/api/traces`: what happened to events, requests, deploys and cron runs.

Which ones: `guild_id`, `event` (also of hops; with * and ?), `kind`, `outcome` (ok, failed, dropped or a word), `since`, `until` (Unix
milliseconds or RFC 3339), `slower_than_ms`, `limit`. With `records=true` each has its hops. A guild's administrators see the traces of
their guild, and of those only the hops of it and of no guild.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flora.http.auth import is_operator
from flora.http.deps import DEPS
from flora.http.query import count_parameter, flag_parameter, moment_parameter, one_of_parameter, text_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route, checked_guild_id
from flora.http.traces import TraceFiles
from flora.messages.errors import BadRequest, NotFound
from flora.storage.trace_query import Trace, TraceFilter, details, only_for, split_id, summary

KINDS = ("event", "http", "deploy", "cron", "message", "refused", "move")
DEFAULT_TRACES, MAX_TRACES = 50, 500
MAX_MS = 10**12


async def list_traces(request: web.Request) -> web.Response:
    """The newest ones: `{"traces": […], "complete": true}`; false: older ones were not looked at."""
    wanted, limit = _filter(request), count_parameter(request, "limit", DEFAULT_TRACES, MAX_TRACES)
    shape = details if flag_parameter(request, "records") else summary
    found = await _files(request).newest(wanted, limit)
    visible = [
        seen for trace in found.traces if (seen := _visible(request, trace)) is not None and wanted.matches(seen)
    ]
    return json_response({"traces": [shape(trace) for trace in visible], "complete": found.complete})


async def get_trace(request: web.Request) -> web.Response:
    """One with its hops. The id may be shortened as long as it means one trace."""
    text = request.match_info["trace_id"]
    parts = split_id(text)
    if parts is None:
        raise BadRequest("Invalid trace id", trace_id=text[:100])
    found = [seen for trace in await _files(request).of_id(*parts) if (seen := _visible(request, trace)) is not None]
    if not found:
        raise NotFound("Trace not found", trace_id=text[:100])
    if len(found) > 1:
        raise BadRequest("The trace id is not unique", trace_ids=[trace.trace_id for trace in found[:10]])
    return json_response(details(found[0]))


def _files(request: web.Request) -> TraceFiles:
    files = request.app[DEPS].trace_files
    if files is None:
        raise NotFound("Nothing is traced here")
    return files


def _visible(request: web.Request, trace: Trace) -> Trace | None:
    if is_operator(request, request.app[DEPS].operator_secret):
        return trace
    return only_for(trace, checked_guild_id(request.query["guild_id"]))


def _filter(request: web.Request) -> TraceFilter:
    guild_id = request.query.get("guild_id")
    slower_than_ms = count_parameter(request, "slower_than_ms", 0, MAX_MS)
    return TraceFilter(
        guild_id="" if guild_id is None else checked_guild_id(guild_id),
        event=text_parameter(request, "event"),
        kind=one_of_parameter(request, "kind", KINDS) or "",
        outcome=text_parameter(request, "outcome"),
        since_us=_us(moment_parameter(request, "since")),
        until_us=_us(moment_parameter(request, "until")),
        slower_than_us=_us(slower_than_ms or None),
    )


def _us(ms: Any) -> int | None:
    return None if ms is None else ms * 1000


ROUTES = (
    Route(method="GET", path="/traces", handler=list_traces, access=Access.GUILD_ADMIN_OR_OPERATOR),
    Route(method="GET", path="/traces/{trace_id}", handler=get_trace, access=Access.GUILD_ADMIN_OR_OPERATOR),
)
