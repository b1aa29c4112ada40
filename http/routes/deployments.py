"""`/api/deployments`: the script each guild runs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flora.http.auth import Identity
from flora.http.body import read_json_object
from flora.http.deps import DEPS, IDENTITY, TRACE, Deps
from flora.http.query import flag_parameter
from flora.http.render import json_response
from flora.http.routes.deployment_request import parse_deployment, parse_source
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.deployment import Deploy, DeployActor, GetDeployment, ListDeployments, Undeploy
from flora.messages.errors import BundleFailed, FloraError, GuestError
from flora.messages.gateway import DescribeMember
from flora.messages.ids import GuildId, ReqId

AS_LONG_AS_IT_TAKES_S = 0
"""The deployer ends every deploy by its own limits. Cutting it short here would leave the caller guessing."""

SOURCE_HEADER = "x-flora-deploy-source"
SKIPPED_HEADER = "X-Flora-Skipped-Guilds"


async def deploy(request: web.Request) -> web.Response:
    """Makes what was sent the guild's script. The answer has the deployment's times, no code.

    A client that goes away changes nothing: the deploy runs to its end.
    """
    deps = request.app[DEPS]
    guild_id = guild_id_of(request)
    wanted = parse_deployment(await read_json_object(request))
    source = parse_source(request.headers.get(SOURCE_HEADER))
    message = Deploy(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id,
        entry=wanted.entry,
        files=wanted.files,
        bundle=wanted.bundle,
        source_map=wanted.source_map,
        source=source,
        actor=await actor_of(deps, request[IDENTITY], guild_id),
        build_id=wanted.build_id,
    )
    try:
        return json_response(await deps.peers.ask("deployer", message, AS_LONG_AS_IT_TAKES_S))
    except BundleFailed as error:
        raise prefixed("invalid deployment files", error) from error
    except GuestError as error:
        raise prefixed("deployment failed", error) from error


async def undeploy(request: web.Request) -> web.Response:
    """Stops the guild's script and forgets the deployment; its history stays. `{"guild_id", "undeployed": true}`."""
    deps = request.app[DEPS]
    guild_id = guild_id_of(request)
    message = Undeploy(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id,
        source=parse_source(request.headers.get(SOURCE_HEADER)),
        actor=await actor_of(deps, request[IDENTITY], guild_id),
    )
    return json_response(await deps.peers.ask("deployer", message, AS_LONG_AS_IT_TAKES_S))


async def get_deployment(request: web.Request) -> web.Response:
    """The guild's latest successful deployment; the bundle only with `include_bundle=true`."""
    deps = request.app[DEPS]
    message = GetDeployment(
        req_id=ReqId(""),
        trace=request[TRACE],
        guild_id=guild_id_of(request),
        include_bundle=flag_parameter(request, "include_bundle"),
    )
    return json_response(await deps.peers.ask("deployer", message, deps.limits.peer_s))


async def list_deployments(request: web.Request) -> web.Response:
    """Deployments of the guilds that the caller administers.

    A guild whose permission cannot be found out now is left out; how many those are is in X-Flora-Skipped-Guilds.
    """
    deps = request.app[DEPS]
    message = ListDeployments(req_id=ReqId(""), trace=request[TRACE])
    found: list[dict[str, Any]] = await deps.peers.ask("deployer", message, deps.limits.peer_s)
    mine = await deps.access.among(request[IDENTITY], [GuildId(row["guild_id"]) for row in found])
    response = json_response([row for row in found if row["guild_id"] in mine.guild_ids])
    if mine.unknown:
        response.headers[SKIPPED_HEADER] = str(mine.unknown)
    return response


async def actor_of(deps: Deps, caller: Identity, guild_id: GuildId) -> DeployActor:
    """Who is calling, as history and audit log keep it. An API token has no name of its own: the guild member's is taken."""
    username = caller.username
    if username is None:
        question = DescribeMember(req_id=ReqId(""), guild_id=guild_id, user_id=caller.user_id)
        try:
            username = (await deps.peers.ask("gateway", question, deps.limits.lookup_s))["username"]
        except FloraError:
            username = None  # the history then shows the id alone
    return DeployActor(kind=caller.kind, user_id=caller.user_id, username=username)


def prefixed(prefix: str, error: FloraError) -> FloraError:
    """The same error with words before its text."""
    return type(error)(f"{prefix}: {error}", **error.details)


ROUTES = (
    Route(method="GET", path="/deployments", handler=list_deployments, access=Access.USER),
    Route(method="GET", path="/deployments/{guild_id}", handler=get_deployment, access=Access.GUILD_ADMIN),
    Route(method="POST", path="/deployments/{guild_id}", handler=deploy, access=Access.GUILD_ADMIN, timed=False),
    Route(method="DELETE", path="/deployments/{guild_id}", handler=undeploy, access=Access.GUILD_ADMIN, timed=False),
)
