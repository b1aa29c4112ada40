"""Control routes by which people use commands, press components and submit modals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from flora.http.simulator import errors, interactions
from flora.http.simulator.control.base import actor_of, body_of, guild_of, reply, sim_of
from flora.http.simulator.control.options import as_options, resolve
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.interactions import Interaction
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.permissions import Permission
from flora.http.simulator.simulator import Simulator

MAX_WAIT_S = 30.0


def add_routes(app: web.Application) -> None:
    """Adds this module's routes."""
    app.router.add_post("/sim/guilds/{guild_id}/interactions/command", use_command)
    app.router.add_post("/sim/guilds/{guild_id}/interactions/autocomplete", complete)
    app.router.add_post("/sim/guilds/{guild_id}/interactions/component", use_component)
    app.router.add_post("/sim/guilds/{guild_id}/interactions/modal", submit_modal)
    app.router.add_get("/sim/interactions/{interaction_id}", fetch)


def describe(sim: Simulator, found: Interaction) -> JsonObject:
    """What became of an interaction."""
    channel = sim.world.channels.get(found.channel_id)
    message = channel.messages.get(found.response_message_id or "") if channel else None
    return {
        "interaction_id": found.id,
        "token": found.token,
        "channel_id": found.channel_id,
        "user_id": found.user_id,
        "response_type": found.response_type,
        "message": message,
        "modal": found.modal,
        "choices": found.choices,
    }


async def _answer(request: web.Request, body: JsonObject, found: Interaction) -> web.Response:
    """Waits for the response as long as `wait_s` says, and tells what is known then."""
    wait_s = min(MAX_WAIT_S, float(body.get("wait_s") or 0))
    if wait_s > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(found.responded.wait(), wait_s)
    return reply(describe(sim_of(request), found), 201)


def _place(sim: Simulator, guild: Guild, body: JsonObject) -> Channel:
    """The channel named in the body, or the guild's first."""
    channel_id = body.get("channel_id")
    if channel_id is None:
        return next(iter(guild.channels.values()))
    channel = guild.channels.get(str(channel_id))
    if channel is None:
        raise errors.unknown("Channel")
    return channel


async def use_command(request: web.Request) -> web.Response:
    """`{name, options?, channel_id?, user_id?, target_id?, wait_s?}`.

    `name` may go on to a subcommand: `"config set"`. `options` is `{name: value}` or Discord's list.
    """
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    command, path, data = _command(sim, guild, body)
    channel = _place(sim, guild, body)
    if command["type"] == 1:
        given = body.get("options") or {}
        data["options"] = as_options(command, path, given)
        resolved = resolve(sim.world, guild, data["options"])
    else:
        data["target_id"] = str(body.get("target_id"))
        resolved = _resolve_target(sim, guild, channel, command["type"], data["target_id"])
    if resolved:
        data["resolved"] = resolved
    user_id = actor_of(sim, guild, body)
    _may_use(guild, channel, user_id, command)
    return await _answer(request, body, sim.interactions.start(interactions.COMMAND, guild, channel, user_id, data))


def _command(sim: Simulator, guild: Guild, body: JsonObject) -> tuple[JsonObject, list[str], JsonObject]:
    """The command a body names, the names of group and subcommand, and the beginning of the interaction's data.

    Raises:
        ApiError: 10063.
    """
    words = str(body.get("name") or "").removeprefix("/").split()
    known = [*guild.commands.values(), *sim.world.global_commands.values()]
    command = next((c for c in known if words and c["name"] in (words[0], " ".join(words))), None)
    if command is None:
        raise errors.unknown("application command")
    data: JsonObject = {"id": command["id"], "name": command["name"], "type": command["type"]}
    if command.get("guild_id"):
        data["guild_id"] = command["guild_id"]
    return command, words[1:], data


async def complete(request: web.Request) -> web.Response:
    """`{name, focused, text?, …}`: somebody types in an option that completes; `choices` in the answer."""
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    command, path, data = _command(sim, guild, body)
    defined = command["options"]
    nested: list[JsonObject] = data.setdefault("options", [])
    for name in path:
        step = next((o for o in defined if o["name"] == name), None)
        if step is None:
            raise errors.unknown("application command")
        nested.append({"name": name, "type": step["type"], "options": []})
        defined, nested = step.get("options") or [], nested[0]["options"]
    focused = next((o for o in defined if o["name"] == body.get("focused") and o.get("autocomplete")), None)
    if focused is None:
        raise errors.invalid_form(("focused",), "BASE_TYPE_CHOICES", "No option of this name completes.")
    nested.append(
        {"name": focused["name"], "type": focused["type"], "value": str(body.get("text") or ""), "focused": True}
    )
    user_id, channel = actor_of(sim, guild, body), _place(sim, guild, body)
    started = sim.interactions.start(interactions.AUTOCOMPLETE, guild, channel, user_id, data)
    return await _answer(request, body, started)


def _may_use(guild: Guild, channel: Channel, user_id: str, command: JsonObject) -> None:
    """Raises:
    ApiError: 50013 if the person may not use commands here, or lacks what the command asks for.
    """
    bits = guild.permissions_in(channel, user_id)
    asked = command["default_member_permissions"]
    lacking = asked is not None and (int(asked) & ~bits or (asked == "0" and not bits & Permission.ADMINISTRATOR))
    if lacking or not bits & Permission.USE_APPLICATION_COMMANDS:
        raise errors.missing_permissions()


def _resolve_target(sim: Simulator, guild: Guild, channel: Channel, kind: int, target_id: str) -> JsonObject:
    if kind == 2:
        member = dict(sim.world.member(guild, target_id))
        return {"users": {target_id: member.pop("user")}, "members": {target_id: member}}
    return {"messages": {target_id: sim.posting.message(channel, target_id)}}


async def use_component(request: web.Request) -> web.Response:
    """`{message_id, custom_id, values?, channel_id?, user_id?, wait_s?}`: a button pressed, a select chosen."""
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    channel, message = _message(guild, body)
    custom_id = str(body.get("custom_id"))
    component = next((c for c in components(message["components"]) if c.get("custom_id") == custom_id), None)
    if component is None:
        raise errors.invalid_form(("custom_id",), "COMPONENT_CUSTOM_ID_UNKNOWN", "No component has this custom id.")
    if component.get("disabled"):
        raise errors.invalid_form(("custom_id",), "COMPONENT_DISABLED", "The component is disabled.")
    data: JsonObject = {"custom_id": custom_id, "component_type": component["type"], "id": component.get("id", 0)}
    if component["type"] != 2:
        values = [str(v) for v in body.get("values") or ()]
        data["values"] = values
        if component["type"] != 3:
            data["resolved"] = _resolve_values(sim, guild, component["type"], values)
    user_id = actor_of(sim, guild, body)
    started = sim.interactions.start(interactions.COMPONENT, guild, channel, user_id, data, message)
    return await _answer(request, body, started)


def _resolve_values(sim: Simulator, guild: Guild, kind: int, values: list[str]) -> JsonObject:
    option_kind = {5: 6, 6: 8, 7: 9, 8: 7}.get(kind, 3)
    return resolve(sim.world, guild, [{"name": "", "type": option_kind, "value": value} for value in values])


def _message(guild: Guild, body: JsonObject) -> tuple[Channel, JsonObject]:
    message_id = str(body.get("message_id"))
    for channel in guild.channels.values():
        if message_id in channel.messages:
            return channel, channel.messages[message_id]
    raise errors.unknown("Message")


def components(listed: list[Any]) -> Iterator[JsonObject]:
    """Every component in a message, at any depth."""
    for component in listed:
        yield component
        yield from components(component.get("components") or [])
        if component.get("accessory"):
            yield component["accessory"]


async def submit_modal(request: web.Request) -> web.Response:
    """`{interaction_id, values: {custom_id: text}, wait_s?}`: fills in the modal an interaction was answered with."""
    sim, guild, body = sim_of(request), guild_of(request), await body_of(request)
    opened_by = sim.interactions.get(str(body.get("interaction_id")))
    if opened_by.modal is None or opened_by.guild_id != guild.id:
        raise errors.unknown("Interaction")
    values = body.get("values") or {}
    data = {
        "custom_id": opened_by.modal["custom_id"],
        "components": [_filled(component, values) for component in opened_by.modal["components"]],
    }
    channel = sim.world.channel(opened_by.channel_id)
    message = channel.messages.get(opened_by.source_message_id or "")
    started = sim.interactions.start(interactions.MODAL_SUBMIT, guild, channel, opened_by.user_id, data, message)
    return await _answer(request, body, started)


def _filled(component: JsonObject, values: JsonObject) -> JsonObject:
    """A modal's component as it comes back: with what the person entered instead of how it looked."""
    filled: JsonObject = {"type": component["type"], "id": component.get("id", 0)}
    if component.get("components"):
        filled["components"] = [_filled(child, values) for child in component["components"]]
    if component.get("component"):
        filled["component"] = _filled(component["component"], values)
    custom_id = component.get("custom_id")
    if custom_id is not None:
        filled["custom_id"] = custom_id
        entered = values.get(custom_id, component.get("value") or "")
        filled["values" if isinstance(entered, list) else "value"] = entered
    return filled


async def fetch(request: web.Request) -> web.Response:
    sim = sim_of(request)
    return reply(describe(sim, sim.interactions.get(request.match_info["interaction_id"])))
