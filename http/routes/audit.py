"""`/api/audit`: who changed what, for the operator."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from flora.http.deps import DEPS, TRACE
from flora.http.query import count_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route, checked_guild_id
from flora.messages.audit import AuditCursor, AuditLine, ReadAudit
from flora.messages.errors import BadRequest
from flora.messages.ids import ReqId

DEFAULT_LINES = 50
MAX_LINES = 500

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


async def audit(request: web.Request) -> web.Response:
    """`{"lines": […], "cursor"?}`, newest first: of one guild with `guild_id`; up to `limit` (50, at most 500).

    `cursor`, where there is one, gives the next page when it is sent back. A line: `id`, `at`, `guild_id` (nullable),
    `actor` `{actor_type, user_id?, username?}`, `action`, `target`, `details`.
    """
    deps = request.app[DEPS]
    guild, cursor = request.query.get("guild_id"), request.query.get("cursor")
    limit = max(1, count_parameter(request, "limit", DEFAULT_LINES, MAX_LINES))
    message = ReadAudit(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=None if guild is None else checked_guild_id(guild),
        limit=limit,
        before=None if cursor is None else _parsed(cursor),
    )
    lines: Sequence[AuditLine] = await deps.peers.ask("deployer", message, deps.limits.peer_s)
    answer: dict[str, Any] = {"lines": [_line_json(line) for line in lines]}
    if len(lines) == limit:
        answer["cursor"] = _cursor(lines[-1])
    return json_response(answer)


def _line_json(line: AuditLine) -> dict[str, Any]:
    actor = {"actor_type": line.actor.kind}
    if line.actor.user_id is not None:
        actor["user_id"] = line.actor.user_id
    if line.actor.username is not None:
        actor["username"] = line.actor.username
    return {
        "id": line.line_id,
        "at": line.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "guild_id": line.guild_id,
        "actor": actor,
        "action": line.action,
        "target": line.target,
        "details": dict(line.details),
    }


def _cursor(line: AuditLine) -> str:
    return f"{(line.at - EPOCH) // MICROSECOND}-{line.line_id}"


def _parsed(text: str) -> AuditCursor:
    micros, _, line_id = text.partition("-")
    try:
        return AuditCursor(at=EPOCH + int(micros) * MICROSECOND, line_id=str(uuid.UUID(line_id)))
    except (ValueError, OverflowError):
        raise BadRequest("`cursor` is not one that this route gave", parameter="cursor") from None


ROUTES = (Route(method="GET", path="/audit", handler=audit, access=Access.OPERATOR),)
