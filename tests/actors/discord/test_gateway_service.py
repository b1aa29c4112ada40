from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from flora.actors.discord.event_socket import EventSocket, ShardBackoff
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.running import RunningSimulator
from flora.messages.errors import ConfigError

pytestmark = pytest.mark.service


async def identify_at_once(shard_id: int | None, *, initial: bool = False) -> None:
    """Discord rations identifies to one in five seconds, the simulator does not."""


async def test_given_a_simulated_discord_when_connected_then_ready_guilds_and_messages_arrive_in_order(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild, other = simulator.add_guild("Mine"), simulator.add_guild("Other")
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready and len(connected.guilds) >= 2)
    connected.service.sink.subscribe([(guild.id, ["messageCreate"])])

    for number in range(300):
        simulator.post(guild, f"m{number}")
        simulator.post(other, "nobody asked")
    await eventually.soon(lambda: len(connected.service.sink) > 300)

    (_, first, ready), *rest = connected.events()
    assert (first, orjson.loads(ready)["guildIds"]) == ("ready", [])
    assert [orjson.loads(payload)["content"] for _, _, payload in rest] == [f"m{number}" for number in range(300)]
    assert {row[:2] for row in rest} == {(guild.id, "messageCreate")}
    assert connected.ready == [(simulator.config.application_id, simulator.simulator.world.bot_id)]
    assert {(guild.id, True), (other.id, True)} <= set(connected.guilds)
    await eventually.soon(lambda: connected.service.sink.counts["not_wanted"] >= 300)


async def test_given_a_lost_connection_when_resumed_then_no_event_is_lost_or_doubled(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild = simulator.add_guild()
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready)
    connected.service.sink.subscribe([(guild.id, ["messageCreate"])])
    simulator.post(guild, "before")
    await eventually.soon(lambda: len(connected.service.sink) == 2)

    for connection in simulator.simulator.connections():
        connection.abort()
    simulator.post(guild, "meanwhile")
    await simulator.wait_for_session()
    simulator.post(guild, "after")
    await eventually.soon(lambda: len(connected.service.sink) == 4)

    assert connected.contents() == [None, "before", "meanwhile", "after"]
    assert len(connected.ready) == 1


async def test_given_a_silent_connection_when_the_heartbeat_limit_passes_then_it_is_resumed(
    connect: Any, eventually: Any
) -> None:
    async with RunningSimulator(SimulatorConfig(rate_limits=False, heartbeat_interval_ms=50)) as simulator:
        guild = simulator.add_guild()
        connected = await connect(simulator.api_base)
        connected.service.client._connection.heartbeat_timeout = 0.5
        await eventually.soon(lambda: connected.ready)
        connected.service.sink.subscribe([(guild.id, ["messageCreate"])])
        connected.events()
        for session in simulator.simulator.hub.connected():
            session.frozen = True

        simulator.post(guild, "into the void")
        await eventually.soon(lambda: len(connected.service.sink))

        assert connected.contents() == ["into the void"]
        assert len(connected.ready) == 1


async def test_given_discord_away_and_back_when_its_sessions_are_gone_then_we_are_connected_again(
    connect: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = RunningSimulator(SimulatorConfig(rate_limits=False))
    await simulator.start()
    connected = await connect(simulator.api_base)
    monkeypatch.setattr(connected.service.client, "before_identify_hook", identify_at_once)
    await eventually.soon(lambda: connected.ready)

    await simulator.close()
    async with RunningSimulator(SimulatorConfig(rate_limits=False, port=simulator.port)) as again:
        await eventually.soon(lambda: connected.service.sink.counts["accepted"] == 2, within_s=15)
        guild = again.add_guild()
        await eventually.soon(lambda: (guild.id, True) in connected.guilds)

    assert not connected.failures


def test_given_many_failures_when_a_shard_reconnects_then_its_pauses_stay_short() -> None:
    backoff = ShardBackoff()

    assert all(0 <= backoff.delay() <= 32 for _ in range(200))


async def test_given_an_invalid_session_when_discord_says_so_then_we_identify_again_and_scripts_see_ready(
    simulator: RunningSimulator, connect: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready)
    monkeypatch.setattr(connected.service.client, "before_identify_hook", identify_at_once)

    for connection in simulator.simulator.connections():
        connection.invalidate(resumable=False)
    await eventually.soon(lambda: connected.service.sink.counts["accepted"] == 2)

    assert [name for _, name, _ in connected.events()] == ["ready", "ready"]
    assert len(connected.ready) == 1


async def test_given_a_token_revoked_while_connected_when_the_gateway_closes_then_the_setting_is_named(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready)

    for connection in simulator.simulator.connections():
        connection.close(4004, "Authentication failed.")
    await eventually.soon(lambda: connected.failures)

    assert "DISCORD_BOT_TOKEN" in str(connected.failures[0])


async def test_given_a_guild_left_when_it_is_no_outage_then_it_is_reported(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild = simulator.add_guild()
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: (guild.id, True) in connected.guilds)

    await connected.service.rest.request("DELETE", f"/users/@me/guilds/{guild.id}")

    await eventually.soon(lambda: (guild.id, False) in connected.guilds)


async def test_given_a_slash_command_and_a_button_when_used_then_the_script_events_arrive(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild = simulator.add_guild()
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready)
    connected.events()
    connected.service.sink.subscribe([(guild.id, ["interactionCreate"])])
    commands = '[{"type":1,"name":"hello","description":"Says hello","options":[]}]'
    connected.call(
        1,
        guild.id,
        "PUT",
        f"/applications/{{app}}/guilds/{guild.id}/commands",
        body=commands,
        scope=(("guild", guild.id),),
    )
    await eventually.soon(lambda: 1 in connected.results)
    assert connected.results[1][1], connected.results[1]

    interaction = simulator.use_command(guild, "hello")
    await eventually.soon(lambda: len(connected.service.sink))

    ((_, name, text),) = connected.events()
    payload = orjson.loads(text)
    assert (name, payload["commandName"], payload["interactionId"]) == ("interactionCreate", "hello", interaction.id)
    assert payload["member"]["permissions"].isdecimal()
    body = '{"type":4,"data":{"content":"hello!"}}'
    connected.call(2, guild.id, "POST", f"/interactions/{interaction.id}/{interaction.token}/callback", body=body)
    await eventually.soon(lambda: 2 in connected.results)
    assert connected.results[2] == (2, True, "null")
    assert simulator.bot_messages(guild) == ["hello!"]


async def test_given_a_wrong_token_when_connecting_then_the_setting_is_named(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    connected = await connect(simulator.api_base, token="MTAw.wrong.token")

    await eventually.soon(lambda: connected.failures)

    (failure,) = connected.failures
    assert isinstance(failure, ConfigError)
    assert "DISCORD_BOT_TOKEN" in str(failure)


async def test_given_refused_privileged_intents_when_connecting_then_they_are_named(
    connect: Any, eventually: Any
) -> None:
    config = SimulatorConfig(privileged_intents=False)
    async with RunningSimulator(config) as simulator:
        connected = await connect(simulator.api_base, intents=("guilds", "guild_messages", "message_content"))

        await eventually.soon(lambda: connected.failures)

        (failure,) = connected.failures
        assert isinstance(failure, ConfigError)
        assert "(message_content)" in str(failure)
        assert "DISCORD_INTENTS" in str(failure)


async def test_given_two_recommended_shards_when_connected_then_ready_waits_for_both(
    connect: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RunningSimulator(SimulatorConfig(shards=2, rate_limits=False)) as simulator:
        guild = simulator.add_guild()
        connected = await connect(simulator.api_base)

        monkeypatch.setattr(connected.service.client, "before_identify_hook", identify_at_once)
        await eventually.soon(lambda: connected.ready, within_s=10)

        assert len(simulator.simulator.hub.connected()) == 2
        assert [name for _, name, _ in connected.events()] == ["ready", "ready"]
        await eventually.soon(lambda: (guild.id, True) in connected.guilds)
        connected.service.sink.subscribe([(guild.id, ["messageCreate"])])
        simulator.post(guild, "once")
        await eventually.soon(lambda: len(connected.service.sink))
        assert len(connected.events()) == 1


async def test_given_discord_down_at_start_when_it_comes_up_then_we_connect(
    connect: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = RunningSimulator(SimulatorConfig(rate_limits=False))
    await simulator.start()
    port, api_base = simulator.port, simulator.api_base
    await simulator.close()
    connected = await connect(api_base)
    await eventually.soon(lambda: "Discord cannot be reached" in caplog.text)

    async with RunningSimulator(SimulatorConfig(rate_limits=False, port=port)):
        await eventually.soon(lambda: connected.ready, within_s=10)

    assert not connected.failures


async def test_given_a_shard_that_waits_for_hello_when_the_service_closes_then_no_connection_is_left(
    simulator: RunningSimulator, connect: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = []

    async def never(socket: EventSocket) -> None:
        waiting.append(socket.socket)
        await asyncio.Event().wait()

    monkeypatch.setattr(EventSocket, "poll_event", never)
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: waiting)

    await connected.service.close()

    assert waiting[0]._response.connection is None
