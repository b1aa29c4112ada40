"""`/api/guilds`: which ones a person administers, how guilds are, and where an operator wants them to run."""

from __future__ import annotations

from aiohttp import web

from flora.http.body import read_json_object
from flora.http.deps import DEPS, IDENTITY, TRACE
from flora.http.errors import UnprocessableBody
from flora.http.render import json_response
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.deployment import DeployActor
from flora.messages.ids import ReqId
from flora.messages.migration import MigrateGuild
from flora.messages.placement import DescribeGuild, DescribeGuilds, PlaceGuild, Placement

PLACE_LIMIT_S = 90.0
"""A dedicated worker is started and the script loaded there, by limits of their own that are shorter."""

OPERATOR = DeployActor(kind="operator")
MAX_WORKER = 1_000_000
MAX_JSON_NUMBER = 2**63 - 1
"""Discord's permissions have 53 bits so far; what it sends must not fail here."""

CHOICES = (Placement.SHARED, Placement.DEDICATED)  # the third one is not for people to choose


async def own_guilds(request: web.Request) -> web.Response:
    """`[{"id", "name", "icon", "permissions"}]`: guilds that the caller administers and the bot is in. Not for API tokens."""
    mine = await request.app[DEPS].access.guilds_of(request[IDENTITY])
    return json_response(
        [
            {"id": guild.id, "name": guild.name, "icon": guild.icon, "permissions": guild.permissions & MAX_JSON_NUMBER}
            for guild in mine
        ]
    )


async def guild_status(request: web.Request) -> web.Response:
    """One guild: worker, placement, state with its reason, what waits, what it uses. Shape: `DescribeGuild`."""
    deps = request.app[DEPS]
    message = DescribeGuild(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id_of(request))
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


async def all_statuses(request: web.Request) -> web.Response:
    """The same for every guild that has a script, in order of their ids."""
    deps = request.app[DEPS]
    message = DescribeGuilds(req_id=ReqId(""), trace=request[TRACE])
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


async def place_guild(request: web.Request) -> web.Response:
    """Runs a guild there from now on, `{"placement": "shared" | "dedicated"}`; answers with its status when it does."""
    guild_id = guild_id_of(request)
    wanted = (await read_json_object(request)).get("placement")
    if wanted not in CHOICES:
        listed = " or ".join(CHOICES)
        raise UnprocessableBody(f"`placement` must be {listed}", field="placement")
    message = PlaceGuild(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id, placement=Placement(wanted))
    deps = request.app[DEPS]
    status = await deps.peers.ask("router", message, PLACE_LIMIT_S)
    deps.audit.record(guild_id, OPERATOR, "guild.place", wanted)
    return json_response(status)


async def migrate_guild(request: web.Request) -> web.Response:
    """Moves a guild to another shared worker, `{"to"?: n}`; answers when it serves there. Shape: `MigrateGuild`."""
    guild_id = guild_id_of(request)
    target = (await read_json_object(request)).get("to") if request.can_read_body else None
    if target is not None and (type(target) is not int or not 0 <= target <= MAX_WORKER):
        raise UnprocessableBody("`to` must be the number of a worker", field="to")
    message = MigrateGuild(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id, target=target)
    deps = request.app[DEPS]
    moved = await deps.peers.ask("router", message, PLACE_LIMIT_S)
    facts = {name: moved[name] for name in ("source", "target") if name in moved}
    deps.audit.record(guild_id, OPERATOR, "guild.migrate", str(moved.get("target", target)), facts)
    return json_response(moved)


ROUTES = (
    Route(method="GET", path="/guilds", handler=own_guilds, access=Access.USER),
    Route(method="GET", path="/guilds/status", handler=all_statuses, access=Access.OPERATOR),
    Route(method="GET", path="/guilds/{guild_id}/status", handler=guild_status, access=Access.GUILD_ADMIN_OR_OPERATOR),
    Route(method="POST", path="/guilds/{guild_id}/migrate", handler=migrate_guild, access=Access.OPERATOR, timed=False),
    Route(method="PUT", path="/guilds/{guild_id}/placement", handler=place_guild, access=Access.OPERATOR, timed=False),
)
