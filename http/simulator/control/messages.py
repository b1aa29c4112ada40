"""Control routes by which people write, change and delete messages and react to them."""

from __future__ import annotations

from aiohttp import web

from flora.http.simulator import errors, forms
from flora.http.simulator.control.base import actor_of, body_of, channel_of, reply, sim_of
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.reactions import parse_emoji

_MAX_LISTED = 1000


def add_routes(app: web.Application) -> None:
    """Adds this module's routes."""
    messages = "/sim/channels/{channel_id}/messages"
    app.router.add_post(messages, create)
    app.router.add_get(messages, list_messages)
    app.router.add_patch(messages + "/{message_id}", edit)
    app.router.add_delete(messages + "/{message_id}", delete)
    app.router.add_put(messages + "/{message_id}/reactions/{emoji}", react)
    app.router.add_delete(messages + "/{message_id}/reactions/{emoji}", unreact)


async def create(request: web.Request) -> web.Response:
    """`{content, author_id?, reply_to?}` → the message."""
    sim, channel, body = sim_of(request), channel_of(request), await body_of(request)
    guild = sim.world.guilds[channel.guild_id]
    author_id = actor_of(sim, guild, body, "author_id")
    form: JsonObject = {"content": body.get("content"), "embeds": body.get("embeds")}
    if body.get("reply_to"):
        form["message_reference"] = {"message_id": str(body["reply_to"])}
    forms.check_message(form, has_attachments=False)
    message = sim.posting.post(channel, sim.world.users[author_id], form)
    sim.stats.pushed(message["id"])
    return reply(message, 201)


async def list_messages(request: web.Request) -> web.Response:
    """Messages oldest first, ephemeral ones too; `?limit=` takes the newest, `?after=` those after an id."""
    channel = channel_of(request)
    found = list(channel.messages.values())
    after = request.query.get("after")
    if after is not None:
        found = [m for m in found if int(m["id"]) > int(after)]
    limit = max(1, min(_MAX_LISTED, int(request.query.get("limit", "100"))))
    return reply(found[-limit:])


def _one(request: web.Request) -> tuple[Channel, JsonObject]:
    channel = channel_of(request)
    message = channel.messages.get(request.match_info["message_id"])
    if message is None:
        raise errors.unknown("Message")
    return channel, message


async def edit(request: web.Request) -> web.Response:
    """The author changes the content: `{content}`."""
    sim, body = sim_of(request), await body_of(request)
    channel, message = _one(request)
    form = {"content": body.get("content")}
    forms.check_message(form, has_attachments=bool(message["attachments"]))
    return reply(sim.posting.edit(channel, message, form))


async def delete(request: web.Request) -> web.Response:
    channel, message = _one(request)
    sim_of(request).posting.delete(channel, [message["id"]])
    return web.Response(status=204)


async def react(request: web.Request) -> web.Response:
    """`{user_id?}` reacts with the emoji in the path."""
    sim, body = sim_of(request), await body_of(request)
    channel, message = _one(request)
    user_id = actor_of(sim, sim.world.guilds[channel.guild_id], body)
    sim.reactions.add(channel, message, parse_emoji(request.match_info["emoji"]), user_id)
    return web.Response(status=204)


async def unreact(request: web.Request) -> web.Response:
    sim, body = sim_of(request), await body_of(request)
    channel, message = _one(request)
    user_id = actor_of(sim, sim.world.guilds[channel.guild_id], body)
    sim.reactions.remove(channel, message, parse_emoji(request.match_info["emoji"]), user_id)
    return web.Response(status=204)
