"""Webhooks: made, listed, read, changed, executed. Interaction tokens share their paths, with the application's id."""

from __future__ import annotations

import secrets
from typing import Any

from flora.http.simulator import errors, forms, shapes
from flora.http.simulator.errors import ApiError, JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest import interaction_routes, threads
from flora.http.simulator.rest.routing import Auth, Call, Routes

MAX_PER_CHANNEL = 15
_SETTABLE = ("name", "avatar", "channel_id")


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    routes.add("POST", "/channels/{channel_id}/webhooks")(create)
    routes.add("GET", "/channels/{channel_id}/webhooks")(of_channel)
    routes.add("GET", "/guilds/{guild_id}/webhooks")(of_guild)
    routes.add("GET", "/webhooks/{webhook_id}")(fetch)
    routes.add("PATCH", "/webhooks/{webhook_id}")(edit)
    routes.add("DELETE", "/webhooks/{webhook_id}")(delete)
    with_token = "/webhooks/{webhook_id}/{token}"
    for method, handler in (
        ("GET", fetch_by_token), ("PATCH", edit_by_token), ("DELETE", delete_by_token), ("POST", execute)
    ):  # fmt: skip
        routes.add(method, with_token, auth=Auth.NONE, counts_globally=False)(handler)
    message = with_token + "/messages/{message_id}"
    for method, handler in (("GET", fetch_message), ("PATCH", edit_message), ("DELETE", delete_message)):
        routes.add(method, message, auth=Auth.NONE, counts_globally=False)(handler)


def _webhook(call: Call) -> JsonObject:
    found = call.sim.world.webhooks.get(call.id("webhook_id"))
    if found is None:
        raise errors.unknown("Webhook")
    return found


def _managed(call: Call) -> JsonObject:
    """A webhook the bot may manage."""
    found = _webhook(call)
    guild = call.sim.world.guild(found["guild_id"])
    if not guild.permissions_in(call.sim.world.channel(found["channel_id"]), call.user_id) & Permission.MANAGE_WEBHOOKS:
        raise errors.missing_permissions()
    return found


def _by_token(call: Call) -> JsonObject:
    found = _webhook(call)
    if not secrets.compare_digest(str(found["token"]).encode(), call.params["token"].encode()):
        raise ApiError(401, 50027, "Invalid Webhook Token")
    return found


def _without_user(webhook: JsonObject) -> JsonObject:
    return {k: v for k, v in webhook.items() if k != "user"}


def _is_interaction(call: Call) -> bool:
    return call.params["webhook_id"] == call.sim.config.application_id


def create(call: Call) -> Any:
    channel = call.channel(Permission.MANAGE_WEBHOOKS)
    name = call.form.get("name")
    if not name or not 1 <= len(str(name).strip()) <= 80:
        raise errors.invalid_form(("name",), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 80 in length.")
    world = call.sim.world
    if sum(w["channel_id"] == channel.id for w in world.webhooks.values()) >= MAX_PER_CHANNEL:
        raise ApiError(400, 30007, f"Maximum number of webhooks reached ({MAX_PER_CHANNEL})")
    webhook: JsonObject = {
        "id": world.ids.next(), "type": 1, "guild_id": channel.guild_id, "channel_id": channel.id,
        "name": str(name), "avatar": None, "token": secrets.token_urlsafe(51), "user": world.users[call.user_id],
        "application_id": call.sim.config.application_id,
    }  # fmt: skip
    webhook["url"] = f"{call.sim.base_url}/api/webhooks/{webhook['id']}/{webhook['token']}"
    world.webhooks[webhook["id"]] = webhook
    _announce(call, channel)
    return webhook


def _announce(call: Call, channel: Channel) -> None:
    data = {"guild_id": channel.guild_id, "channel_id": channel.id}
    call.sim.world.emit("WEBHOOKS_UPDATE", data, channel.guild_id)


def of_channel(call: Call) -> Any:
    channel = call.channel(Permission.MANAGE_WEBHOOKS)
    return [w for w in call.sim.world.webhooks.values() if w["channel_id"] == channel.id]


def of_guild(call: Call) -> Any:
    guild = call.guild(Permission.MANAGE_WEBHOOKS)
    return [w for w in call.sim.world.webhooks.values() if w["guild_id"] == guild.id]


def fetch(call: Call) -> Any:
    return _managed(call)


def fetch_by_token(call: Call) -> Any:
    return _without_user(_by_token(call))


def _edit(call: Call, webhook: JsonObject, *, may_move: bool) -> JsonObject:
    changes = {k: v for k, v in call.form.items() if k in _SETTABLE and (k != "channel_id" or may_move)}
    if "channel_id" in changes:
        target = call.sim.world.channel(str(changes["channel_id"]))
        if target.guild_id != webhook["guild_id"]:
            raise errors.unknown("Channel")
    webhook.update(changes)
    _announce(call, call.sim.world.channel(webhook["channel_id"]))
    return webhook


def edit(call: Call) -> Any:
    return _edit(call, _managed(call), may_move=True)


def edit_by_token(call: Call) -> Any:
    return _without_user(_edit(call, _by_token(call), may_move=False))


def _delete(call: Call, webhook: JsonObject) -> None:
    del call.sim.world.webhooks[webhook["id"]]
    _announce(call, call.sim.world.channel(webhook["channel_id"]))


def delete(call: Call) -> None:
    _delete(call, _managed(call))


def delete_by_token(call: Call) -> None:
    _delete(call, _by_token(call))


def execute(call: Call) -> Any:
    """Posts as a webhook, or follows up on an interaction. Without `wait` the answer is empty."""
    if _is_interaction(call):
        return interaction_routes.followup(call)
    webhook = _by_token(call)
    body = call.form
    forms.check_message(body, has_attachments=bool(call.uploads))
    channel = _target(call, webhook, body)
    name = str(body.get("username") or webhook["name"])
    author = shapes.user(webhook["id"], name, bot=True, discriminator="0000")
    files = call.store_uploads(channel)
    extra = {"webhook_id": webhook["id"], "application_id": webhook["application_id"]}
    message = call.sim.posting.post(channel, author, forms.settable(body), attachments=files, extra=extra)
    return message if call.flag("wait") else None


def _target(call: Call, webhook: JsonObject, body: JsonObject) -> Channel:
    """Where a webhook's message goes: its channel, a thread of it, or a new forum post."""
    channel = call.sim.world.channel(webhook["channel_id"])
    thread_id = call.query.get("thread_id")
    if thread_id:
        thread = call.sim.world.channels.get(thread_id)
        if thread is None or thread.data["parent_id"] != channel.id:
            raise errors.unknown("Channel")
        return thread
    if channel.data["type"] == shapes.FORUM:
        if not body.get("thread_name"):
            raise ApiError(400, 220001, "Webhooks posted to forum channels must have a thread_name or thread_id")
        return threads.start(call, channel, str(body["thread_name"]), shapes.PUBLIC_THREAD, call.sim.world.bot_id)
    return channel


def _own_message(call: Call) -> tuple[Channel, JsonObject]:
    webhook = _by_token(call)
    channel = _target(call, webhook, {"thread_name": None} if call.query.get("thread_id") else {})
    message = call.sim.posting.message(channel, call.id("message_id"))
    if message.get("webhook_id") != webhook["id"]:
        raise errors.unknown("Message")
    return channel, message


def fetch_message(call: Call) -> Any:
    return interaction_routes.fetch(call) if _is_interaction(call) else _own_message(call)[1]


def edit_message(call: Call) -> Any:
    if _is_interaction(call):
        return interaction_routes.edit(call)
    channel, message = _own_message(call)
    return interaction_routes.edit_under(call, channel, message, call.form)


def delete_message(call: Call) -> None:
    if _is_interaction(call):
        interaction_routes.delete(call)
        return
    channel, message = _own_message(call)
    call.sim.posting.delete(channel, [message["id"]])
