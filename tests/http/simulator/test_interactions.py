"""Interactions over raw HTTP: responses, their limits, followups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flora.http.simulator.interactions import Interaction
from flora.http.simulator.model import Guild

if TYPE_CHECKING:
    from conftest import Client, Lab

pytestmark = pytest.mark.service


async def a_guild_with_commands(client: Client) -> Guild:
    guild = client.sim.add_guild()
    path = f"/applications/{client.sim.config.application_id}/guilds/{guild.id}/commands"
    number = {"name": "times", "description": "d", "type": 4, "required": True}
    who = {"name": "who", "description": "d", "type": 6}
    group = {"name": "config", "description": "d", "options": [
        {"name": "set", "description": "d", "type": 1, "options": [number]}
    ]}  # fmt: skip
    commands = [{"name": "hello", "description": "d", "options": [number, who]}, group]
    assert (await client.rest("PUT", path, commands)).status == 200
    return guild


async def respond(client: Client, found: Interaction, kind: int, data: Any = None, query: str = "") -> Any:
    path = f"/interactions/{found.id}/{found.token}/callback{query}"
    return await client.rest("POST", path, {"type": kind, "data": data}, token=None)


async def test_given_a_command_in_use_then_the_bot_gets_what_discord_would_send(lab: Lab, client: Client) -> None:
    guild = await a_guild_with_commands(client)
    gateway = await lab.gateway(client)
    await gateway.identify(0)
    options = {"times": "3", "who": guild.owner_id}

    used = await client.control(
        "POST", f"/sim/guilds/{guild.id}/interactions/command", {"name": "hello", "options": options}
    )
    event = await gateway.event("INTERACTION_CREATE")

    assert used.status == 201
    assert (event["type"], event["guild_id"], event["data"]["name"]) == (2, guild.id, "hello")
    assert event["data"]["options"] == [
        {"name": "times", "type": 4, "value": 3}, {"name": "who", "type": 6, "value": guild.owner_id}
    ]  # fmt: skip
    assert guild.owner_id in event["data"]["resolved"]["members"]
    assert event["member"]["user"]["id"] == guild.owner_id
    assert int(event["member"]["permissions"]) & 8


async def test_given_a_subcommand_then_its_options_are_nested(lab: Lab, client: Client) -> None:
    guild = await a_guild_with_commands(client)
    gateway = await lab.gateway(client)
    await gateway.identify()

    path = f"/sim/guilds/{guild.id}/interactions/command"
    await client.control("POST", path, {"name": "config set", "options": {"times": 1}})
    missing = await client.control("POST", path, {"name": "config set", "options": {}})
    unknown = await client.control("POST", path, {"name": "config drop"})

    data = (await gateway.event("INTERACTION_CREATE"))["data"]
    assert data["options"] == [
        {"name": "set", "type": 1, "options": [{"name": "times", "type": 4, "value": 1}]}
    ]  # fmt: skip
    assert missing.body["errors"]["options"]["times"]["_errors"][0]["code"] == "BASE_TYPE_REQUIRED"
    assert unknown.code == 10063


async def test_given_a_response_then_a_second_one_and_a_wrong_token_are_refused(client: Client) -> None:
    guild = await a_guild_with_commands(client)
    found = client.sim.use_command(guild, "hello", times=1)

    wrong = await client.rest("POST", f"/interactions/{found.id}/nope/callback", {"type": 4}, token=None)
    bad_kind = await respond(client, found, 7, {"content": "x"})
    empty = await respond(client, found, 4, {})
    first = await respond(client, found, 4, {"content": "hi", "flags": 64}, "?with_response=true")
    second = await respond(client, found, 4, {"content": "hi"})

    assert (wrong.status, wrong.code) == (404, 10062)
    assert (bad_kind.code, empty.code) == (50035, 50006)
    assert first.body["resource"]["message"]["content"] == "hi"
    assert first.body["interaction"]["response_message_ephemeral"] is True
    assert (second.status, second.code) == (400, 40060)


async def test_given_time_passed_then_the_interaction_and_later_its_token_are_gone(lab: Lab) -> None:
    client = await lab.start(rate_limits=False, interaction_response_limit_s=0.0, interaction_token_limit_s=0.05)
    guild = await a_guild_with_commands(client)
    late = await respond(client, client.sim.use_command(guild, "hello", times=1), 4, {"content": "late"})

    found = client.sim.use_command(guild, "hello", times=1)
    found.response_type = 4
    found.created_at -= 1
    path = f"/webhooks/{client.sim.config.application_id}/{found.token}"
    expired = await client.rest("POST", path, {"content": "x"}, token=None)

    assert (late.status, late.code) == (404, 10062)
    assert (expired.status, expired.code) == (401, 50027)


async def test_given_a_deferral_then_the_first_followup_fills_it_in_and_the_next_is_new(client: Client) -> None:
    guild = await a_guild_with_commands(client)
    found = client.sim.use_command(guild, "hello", times=1)
    path = f"/webhooks/{client.sim.config.application_id}/{found.token}"
    early = await client.rest("POST", path, {"content": "too early"}, token=None)
    await respond(client, found, 5)
    waiting = client.sim.messages(guild)[0]["flags"]

    first = await client.rest("POST", path, {"content": "one"}, token=None)
    second = await client.rest("POST", path, {"content": "two"}, token=None)
    original = await client.rest("GET", f"{path}/messages/@original", token=None)
    edited = await client.rest("PATCH", f"{path}/messages/{second.body['id']}", {"content": "three"}, token=None)
    removed = await client.rest("DELETE", f"{path}/messages/@original", token=None)

    assert early.code == 10015
    assert (waiting, first.body["flags"]) == (128, 0)
    assert first.body["id"] == original.body["id"] != second.body["id"]
    assert (edited.body["content"], removed.status) == ("three", 204)
    assert client.sim.bot_messages(guild) == ["three"]


async def test_given_a_button_when_pressed_then_its_message_can_be_updated(lab: Lab, client: Client) -> None:
    guild = await a_guild_with_commands(client)
    channel = client.sim.first_channel(guild)
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "Go", "custom_id": "go"}]}
    sent = await client.rest("POST", f"/channels/{channel.id}/messages", {"content": "x", "components": [row]})
    gateway = await lab.gateway(client)
    await gateway.identify()
    path = f"/sim/guilds/{guild.id}/interactions/component"
    press = {"message_id": sent.body["id"], "custom_id": "go", "wait_s": 5}

    pressed = asyncio.create_task(client.control("POST", path, press))
    event = await gateway.event("INTERACTION_CREATE")
    await respond(client, client.sim.simulator.interactions.get(event["id"]), 7, {"content": "y", "components": []})

    assert event["data"]["custom_id"] == "go"
    assert event["message"]["id"] == sent.body["id"]
    assert (await pressed).body["message"]["content"] == "y"
    unknown = await client.control("POST", path, {**press, "custom_id": "other"})
    assert unknown.code == 50035


async def test_given_nobody_answers_then_waiting_ends_with_nothing(client: Client) -> None:
    guild = await a_guild_with_commands(client)
    body = {"name": "hello", "options": {"times": 1}, "wait_s": 0.05}

    answer = await client.control("POST", f"/sim/guilds/{guild.id}/interactions/command", body)

    assert (answer.status, answer.body["response_type"]) == (201, None)
    later = await client.control("GET", f"/sim/interactions/{answer.body['interaction_id']}")
    assert later.body["message"] is None


async def test_given_an_option_that_completes_then_the_bots_choices_come_back(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild()
    path = f"/applications/{client.sim.config.application_id}/guilds/{guild.id}/commands"
    option = {"name": "city", "description": "d", "type": 3, "autocomplete": True}
    inner = {"name": "to", "description": "d", "type": 1, "options": [option]}
    await client.rest("PUT", path, [{"name": "go", "description": "d", "options": [inner]}])
    gateway = await lab.gateway(client)
    await gateway.identify()
    control = f"/sim/guilds/{guild.id}/interactions/autocomplete"

    typed = {"name": "go to", "focused": "city", "text": "Be", "wait_s": 5}
    asked = asyncio.create_task(client.control("POST", control, typed))
    event = await gateway.event("INTERACTION_CREATE")
    choices = [{"name": "Bern", "value": "bern"}]
    await respond(client, client.sim.simulator.interactions.get(event["id"]), 8, {"choices": choices})

    assert event["type"] == 4
    assert event["data"]["options"][0]["options"] == [{"name": "city", "type": 3, "value": "Be", "focused": True}]
    assert (await asked).body["choices"] == choices
    assert (await client.control("POST", control, {**typed, "focused": "other"})).code == 50035


async def test_given_a_command_for_moderators_then_others_cannot_use_it(client: Client) -> None:
    guild = await a_guild_with_commands(client)
    user = (await client.control("POST", f"/sim/guilds/{guild.id}/users", {"name": "someone"})).body
    for command in guild.commands.values():
        command["default_member_permissions"] = "32"
    body = {"name": "hello", "options": {"times": 1}}

    refused = await client.control(
        "POST", f"/sim/guilds/{guild.id}/interactions/command", {**body, "user_id": user["id"]}
    )
    by_owner = await client.control("POST", f"/sim/guilds/{guild.id}/interactions/command", body)

    assert (refused.status, refused.code) == (403, 50013)
    assert by_owner.status == 201
