"""`/api/tokens`: API tokens of the person who is logged in. A token cannot make, list or delete tokens, but end itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from flora.http.auth import bearer
from flora.http.body import JsonObject, optional_string_field, read_json_object
from flora.http.deps import DEPS, IDENTITY, Deps
from flora.http.errors import UnprocessableBody
from flora.http.ports import TokenStore
from flora.http.render import json_response
from flora.http.routing import Access, Route
from flora.messages.deployment import DeployActor
from flora.messages.errors import BadRequest, NotFound, Unavailable
from flora.storage import token_text

MAX_DAYS = 3_650
MAX_TOKEN_ID_CHARS = 64


async def create_token(request: web.Request) -> web.Response:
    """`{label?, expires_in_days?}` → `{"token", "token_id", "expires_at"}`. The token is shown only this once."""
    deps, caller = request.app[DEPS], request[IDENTITY]
    body = await read_json_object(request) if request.can_read_body else {}
    label = optional_string_field(body, "label")
    if label is not None and not token_text.is_label(label):
        raise BadRequest(f"`label` must be at most {token_text.MAX_LABEL_CHARS} characters of text", field="label")
    days = _days(body)
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    token = await _store(deps).create(caller.user_id, label or None, expires_at)
    token_id = token.partition(".")[0]
    _tell(request, "token.create", token_id, {"expires_in_days": days})
    return json_response({"token": token, "token_id": token_id, "expires_at": expires_at})


async def list_tokens(request: web.Request) -> web.Response:
    """`[{"token_id", "label", "created_at", "last_used_at", "expires_at"}]`, newest first."""
    found = await _store(request.app[DEPS]).list(request[IDENTITY].user_id)
    return json_response(
        [
            {
                "token_id": record.token_id,
                "label": record.label,
                "created_at": record.created_at,
                "last_used_at": record.last_used_at,
                "expires_at": record.expires_at,
            }
            for record in found
        ]
    )


async def delete_token(request: web.Request) -> web.Response:
    """Deletes one of the caller's own; `null`."""
    token_id = request.match_info["token_id"]
    await _delete(request, token_id)
    return json_response(None)


async def end_own_token(request: web.Request) -> web.Response:
    """Ends the very token that the request comes with; `null`."""
    token = bearer(request)
    if request[IDENTITY].kind != "token" or token is None:
        raise BadRequest("this ends the API token that a request comes with; this one comes with a session")
    await _delete(request, token.partition(".")[0])
    return json_response(None)


async def _delete(request: web.Request, token_id: str) -> None:
    plausible = len(token_id) <= MAX_TOKEN_ID_CHARS and token_id.isascii() and token_id.isalnum()
    if not plausible or not await _store(request.app[DEPS]).delete(request[IDENTITY].user_id, token_id):
        raise NotFound("token not found", token_id=token_id[:MAX_TOKEN_ID_CHARS])
    _tell(request, "token.delete", token_id, {})


def _days(body: JsonObject) -> int | None:
    days = body.get("expires_in_days")
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int):
        raise UnprocessableBody("`expires_in_days` must be a whole number", field="expires_in_days")
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"`expires_in_days` must be from 1 to {MAX_DAYS}", field="expires_in_days")
    return days


def _store(deps: Deps) -> TokenStore:
    if deps.tokens is None:
        raise Unavailable("API tokens are not set up on this server")
    return deps.tokens


def _tell(request: web.Request, action: str, token_id: str, details: dict[str, Any]) -> None:
    caller = request[IDENTITY]
    actor = DeployActor(kind=caller.kind, user_id=caller.user_id, username=caller.username)
    request.app[DEPS].audit.record(None, actor, action, token_id, details)


ROUTES = (
    Route(method="POST", path="/tokens", handler=create_token, access=Access.SESSION),
    Route(method="GET", path="/tokens", handler=list_tokens, access=Access.SESSION),
    Route(method="DELETE", path="/tokens/current", handler=end_own_token, access=Access.USER),
    Route(method="DELETE", path="/tokens/{token_id}", handler=delete_token, access=Access.SESSION),
)
