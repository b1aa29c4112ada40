"""`/api/deployments/{guild}/…`: every attempt to deploy, and the way back to one of them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime

from aiohttp import web

from flora.http.deps import DEPS, IDENTITY, TRACE
from flora.http.query import count_parameter, flag_parameter
from flora.http.render import json_response
from flora.http.routes.deployment_request import parse_source
from flora.http.routes.deployments import AS_LONG_AS_IT_TAKES_S, SOURCE_HEADER, actor_of, prefixed
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.deployment import GetRevision, ListRevisions, RollBack
from flora.messages.errors import BadRequest, BundleFailed, GuestError
from flora.messages.ids import ReqId

DEFAULT_REVISIONS = 25
MAX_REVISIONS = 100
MORE_HEADER = "X-Flora-More"
"""`true` where older revisions exist: a page may be shorter than its limit, because code is large."""


_LOST_PLUS = re.compile(r" (\d\d:\d\d)$")


async def history(request: web.Request) -> web.Response:
    """A bare array of revisions, newest first: `limit` (25, 1 to 100) of those older than the last one seen.

    The last one is named by `cursor_deployed_at` and `cursor_id`, both or neither. Files and maps come along unless
    `include_files=false` says otherwise, bundles with `include_bundle=true`.
    """
    deps = request.app[DEPS]
    message = ListRevisions(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id_of(request),
        limit=max(1, count_parameter(request, "limit", DEFAULT_REVISIONS, MAX_REVISIONS)),
        before=_cursor(request),
        include_bundle=flag_parameter(request, "include_bundle"),
        include_files=flag_parameter(request, "include_files", default=True),
    )
    page = await deps.peers.ask("deployer", message, deps.limits.peer_s)
    response = json_response(page["revisions"])
    response.headers[MORE_HEADER] = "true" if page["more"] else "false"
    return response


async def revision(request: web.Request) -> web.Response:
    """One revision with its files; the bundle only with `include_bundle=true`."""
    deps = request.app[DEPS]
    message = GetRevision(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id_of(request),
        revision_id=_revision_id(request),
        include_bundle=flag_parameter(request, "include_bundle"),
    )
    return json_response(await deps.peers.ask("deployer", message, deps.limits.peer_s))


async def roll_back(request: web.Request) -> web.Response:
    """Deploys what a successful revision stored, as a new revision, which is the answer. Ends also when the client leaves."""
    deps = request.app[DEPS]
    guild_id = guild_id_of(request)
    source = parse_source(request.headers.get(SOURCE_HEADER))
    message = RollBack(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id,
        revision_id=_revision_id(request),
        source="api" if source == "unknown" else source,
        actor=await actor_of(deps, request[IDENTITY], guild_id),
    )
    try:
        return json_response(await deps.peers.ask("deployer", message, AS_LONG_AS_IT_TAKES_S))
    except (BundleFailed, GuestError) as error:
        raise prefixed("rollback failed", error) from error


def _revision_id(request: web.Request) -> str:
    try:
        return str(uuid.UUID(request.match_info["revision_id"]))
    except ValueError:
        raise BadRequest("Invalid revision ID") from None


def _cursor(request: web.Request) -> tuple[datetime, str] | None:
    at, revision_id = request.query.get("cursor_deployed_at"), request.query.get("cursor_id")
    if at is None and revision_id is None:
        return None
    if at is None or revision_id is None:
        raise BadRequest("`cursor_deployed_at` and `cursor_id` must be given together", parameter="cursor_id")
    try:
        return _instant(at), str(uuid.UUID(revision_id))
    except (ValueError, OverflowError):
        raise BadRequest("the cursor must be an RFC 3339 time and a UUID", parameter="cursor_deployed_at") from None


def _instant(text: str) -> datetime:
    # A '+' that the client did not encode has become a space.
    instant = datetime.fromisoformat(_LOST_PLUS.sub(r"+\1", text))
    if instant.tzinfo is None:
        raise ValueError("no time zone")
    return instant.astimezone(UTC)


_BELOW = "/deployments/{guild_id}"
ROUTES = (
    Route(method="GET", path=f"{_BELOW}/history", handler=history, access=Access.GUILD_ADMIN),
    Route(method="GET", path=f"{_BELOW}/revisions/{{revision_id}}", handler=revision, access=Access.GUILD_ADMIN),
    Route(
        method="POST",
        path=f"{_BELOW}/rollback/{{revision_id}}",
        handler=roll_back,
        access=Access.GUILD_ADMIN,
        timed=False,
    ),
)
