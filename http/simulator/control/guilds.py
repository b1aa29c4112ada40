"""Control routes for guilds, their channels and the people in them."""

from __future__ import annotations

from aiohttp import web

from flora.http.simulator import errors, shapes
from flora.http.simulator.control.base import body_of, guild_of, reply, sim_of
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Guild
from flora.http.simulator.simulator import OWNER_NAME, Simulator
from flora.http.simulator.snowflakes import is_snowflake


def add_routes(app: web.Application) -> None:
    """Adds this module's routes."""
    app.router.add_post("/sim/guilds", create)
    app.router.add_get("/sim/guilds", list_guilds)
    app.router.add_get("/sim/guilds/{guild_id}", fetch)
    app.router.add_delete("/sim/guilds/{guild_id}", remove)
    app.router.add_post("/sim/guilds/{guild_id}/available", end_outage)
    app.router.add_post("/sim/guilds/{guild_id}/channels", create_channel)
    app.router.add_delete("/sim/channels/{channel_id}", delete_channel)
    app.router.add_post("/sim/guilds/{guild_id}/users", create_user)
    app.router.add_get("/sim/guilds/{guild_id}/commands", list_commands)


def describe(sim: Simulator, guild: Guild) -> JsonObject:
    """A guild as the control API and the page show it."""
    world = sim.world
    return {
        "id": guild.id,
        "name": guild.data["name"],
        "owner_id": guild.owner_id,
        "unavailable": guild.unavailable,
        "channels": [
            {"id": c.id, "name": c.data["name"], "type": c.data["type"], "parent_id": c.data.get("parent_id")}
            for c in guild.channels.values()
        ],
        "users": [
            {"id": u, "name": guild.members[u]["nick"] or world.display_name(u), "bot": world.users[u]["bot"]}
            for u in guild.members
        ],
        "roles": [{"id": r["id"], "name": r["name"]} for r in guild.roles.values()],
    }


async def create(request: web.Request) -> web.Response:
    """`{name?, id?, owner_id?, channels?: [name]}` → the guild. An unknown owner is made up."""
    sim, body = sim_of(request), await body_of(request)
    for key in ("id", "owner_id"):
        if body.get(key) is not None and not is_snowflake(body[key]):
            raise errors.invalid_form((key,), "NUMBER_TYPE_COERCE", f'Value "{body[key]}" is not snowflake.')
    owner_id = body.get("owner_id")
    if owner_id is None or owner_id not in sim.world.users:
        known = next((u["id"] for u in sim.world.users.values() if u["username"] == OWNER_NAME), None)
        if owner_id is not None or known is None:
            name = OWNER_NAME if owner_id is None else f"owner-{owner_id}"
            owner_id = sim.world.add_user(name, user_id=owner_id)["id"]
        else:
            owner_id = known
    channels = [str(name) for name in body.get("channels") or ("general",)]
    name = str(body.get("name") or "New guild")[:100]
    guild = sim.world.add_guild(name, owner_id, guild_id=body.get("id"), channels=channels)
    return reply(describe(sim, guild), 201)


async def list_guilds(request: web.Request) -> web.Response:
    sim = sim_of(request)
    return reply([describe(sim, guild) for guild in sim.world.guilds.values()])


async def fetch(request: web.Request) -> web.Response:
    return reply(describe(sim_of(request), guild_of(request)))


async def remove(request: web.Request) -> web.Response:
    """The bot is thrown out; with `?unavailable=true` the guild only has an outage."""
    world, guild = sim_of(request).world, guild_of(request)
    if request.query.get("unavailable") == "true":
        world.set_unavailable(guild.id, True)
    else:
        world.remove_guild(guild.id)
    return web.Response(status=204)


async def end_outage(request: web.Request) -> web.Response:
    sim, guild = sim_of(request), guild_of(request)
    sim.world.set_unavailable(guild.id, False)
    return reply(describe(sim, guild))


async def create_channel(request: web.Request) -> web.Response:
    """`{name, type?}` → `{id, name, type}`."""
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    name = str(body.get("name") or "").strip()[:100]
    if not name:
        raise errors.invalid_form(("name",), "BASE_TYPE_REQUIRED", "This field is required")
    channel = sim.world.add_channel(guild, name, int(body.get("type") or shapes.TEXT))
    return reply({"id": channel.id, "name": name, "type": channel.data["type"]}, 201)


async def delete_channel(request: web.Request) -> web.Response:
    world = sim_of(request).world
    world.delete_channel(world.channel(request.match_info["channel_id"]))
    return web.Response(status=204)


async def create_user(request: web.Request) -> web.Response:
    """`{name, id?, nick?, roles?: [id], permissions?: number}` → `{id, name}`.

    With `permissions` they get a role of their own that grants just these.
    """
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    name = str(body.get("name") or "").strip()[:32]
    if not name:
        raise errors.invalid_form(("name",), "BASE_TYPE_REQUIRED", "This field is required")
    user_id = body.get("id")
    if user_id is None or user_id not in sim.world.users:
        user_id = sim.world.add_user(name.lower().replace(" ", "_"), user_id=user_id, global_name=name)["id"]
    roles = [str(r) for r in body.get("roles") or ()]
    if body.get("permissions"):
        roles.append(sim.world.add_role(guild, name, int(body["permissions"]))["id"])
    sim.world.add_member(guild, user_id, roles)
    if body.get("nick"):
        sim.world.edit_member(guild, user_id, {"nick": str(body["nick"])[:32]})
    return reply({"id": user_id, "name": name}, 201)


async def list_commands(request: web.Request) -> web.Response:
    """Commands people can use in a guild: its own and the global ones."""
    sim, guild = sim_of(request), guild_of(request)
    return reply([*guild.commands.values(), *sim.world.global_commands.values()])
