"""`/api/secrets`: what guild scripts may send along without seeing it."""

from __future__ import annotations

from aiohttp import web

from flora.http.body import JsonObject, read_json_object, string_field
from flora.http.deps import DEPS, IDENTITY, TRACE
from flora.http.errors import UnprocessableBody
from flora.http.render import json_response
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.deployment import DeployActor
from flora.messages.ids import ReqId
from flora.messages.secret_changes import DeleteSecret, ListSecrets, PutSecret, RotateSecrets

AS_LONG_AS_IT_TAKES_S = 0
"""A rotation goes through every secret there is; cut short here, it would go on all the same."""


async def list_secrets(request: web.Request) -> web.Response:
    """Names, hosts, and whether a configured key opens it; never values."""
    deps = request.app[DEPS]
    message = ListSecrets(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id_of(request))
    return json_response(await deps.peers.ask("deployer", message, deps.limits.peer_s))


async def put_secret(request: web.Request) -> web.Response:
    """Stores `{"value", "allowed_hosts"}` under a name. `delivered` says whether the running script goes by it already."""
    deps = request.app[DEPS]
    body = await read_json_object(request)
    message = PutSecret(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id_of(request),
        name=request.match_info["name"],
        value=string_field(body, "value"),
        allowed_hosts=_hosts(body),
        actor=_actor(request),
    )
    return json_response(await deps.peers.ask("deployer", message, deps.limits.peer_s))


async def delete_secret(request: web.Request) -> web.Response:
    """Forgets a secret; one that is not there is fine."""
    deps = request.app[DEPS]
    message = DeleteSecret(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id_of(request),
        name=request.match_info["name"],
        actor=_actor(request),
    )
    return json_response(await deps.peers.ask("deployer", message, deps.limits.peer_s))


async def rotate(request: web.Request) -> web.Response:
    """Encrypts every guild's secrets under the current master key. Shape: `RotateSecrets`."""
    deps = request.app[DEPS]
    message = RotateSecrets(req_id=ReqId(""), trace=request[TRACE], actor=DeployActor(kind="operator"))
    return json_response(await deps.peers.ask("deployer", message, AS_LONG_AS_IT_TAKES_S))


def _hosts(body: JsonObject) -> tuple[str, ...]:
    hosts = body.get("allowed_hosts")
    if hosts is None:
        return ()
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise UnprocessableBody("`allowed_hosts` must be a list of texts", field="allowed_hosts")
    return tuple(hosts)


def _actor(request: web.Request) -> DeployActor:
    caller = request[IDENTITY]
    return DeployActor(kind=caller.kind, user_id=caller.user_id, username=caller.username)


ROUTES = (
    Route(method="POST", path="/secrets/rotate", handler=rotate, access=Access.OPERATOR, timed=False),
    Route(method="GET", path="/secrets/{guild_id}", handler=list_secrets, access=Access.GUILD_ADMIN),
    Route(method="PUT", path="/secrets/{guild_id}/{name}", handler=put_secret, access=Access.GUILD_ADMIN),
    Route(method="DELETE", path="/secrets/{guild_id}/{name}", handler=delete_secret, access=Access.GUILD_ADMIN),
)
