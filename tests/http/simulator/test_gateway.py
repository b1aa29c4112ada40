"""The gateway, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flora.http.simulator.intents import KNOWN, Intent

if TYPE_CHECKING:
    from conftest import Client, Gateway, Lab

pytestmark = pytest.mark.service


async def test_given_a_good_token_when_identifying_then_ready_lists_guilds_and_each_one_follows(
    lab: Lab, client: Client
) -> None:
    guild = client.sim.add_guild("Second")
    gateway = await lab.gateway(client)

    ready = await gateway.identify()
    created = [await gateway.event("GUILD_CREATE") for _ in range(2)]

    assert [g["unavailable"] for g in ready["guilds"]] == [True, True]
    assert ready["user"]["id"] == ready["application"]["id"] == client.sim.config.application_id
    assert ready["resume_gateway_url"].startswith("ws://127.0.0.1:")
    second = next(g for g in created if g["id"] == guild.id)
    assert [c["name"] for c in second["channels"]] == ["general"]
    assert second["member_count"] == len(second["members"]) == 2
    assert {r["id"] for r in second["roles"]} >= {guild.id}


@pytest.mark.parametrize("compress", ["", "&compress=zlib-stream"])
async def test_given_either_transport_then_messages_arrive_in_order_and_numbered(
    lab: Lab, client: Client, compress: str
) -> None:
    guild = client.sim.add_guild()
    gateway = await lab.gateway(client, "?v=10&encoding=json" + compress)
    await gateway.identify()
    await gateway.event("GUILD_CREATE")
    await gateway.event("GUILD_CREATE")
    first = gateway.sequence

    for number in range(200):
        client.sim.post(guild, f"message {number} ✓")
    received = [await gateway.receive() for _ in range(200)]

    assert [p["d"]["content"] for p in received] == [f"message {n} ✓" for n in range(200)]
    assert [p["s"] for p in received] == list(range(first + 1, first + 201))


@pytest.mark.parametrize(
    ("identify", "code"),
    [
        ({"token": "wrong", "intents": 0}, 4004),
        ({"intents": 1 << 30}, 4013),
        ({"intents": int(Intent.MESSAGE_CONTENT)}, 4014),
        ({"intents": 0, "shard": [2, 2]}, 4010),
        ({"intents": "all"}, 4002),
        ({"intents": 0, "shard": 5}, 4002),
    ],
)
async def test_given_a_bad_identify_then_it_closes_with_discords_code(
    lab: Lab, identify: dict[str, Any], code: int
) -> None:
    client = await lab.start(privileged_intents=False)
    gateway = await lab.gateway(client)
    await gateway.receive()

    await gateway.send(2, {"token": client.sim.config.bot_token, **identify})

    assert await gateway.close_code() == code


async def test_given_no_session_when_sending_something_else_then_4003(lab: Lab, client: Client) -> None:
    gateway = await lab.gateway(client)

    await gateway.send(8, {"guild_id": "1"})

    assert await gateway.close_code() == 4003


@pytest.mark.parametrize(("raw", "code"), [("no json", 4002), ('{"op":0}', 4003), ('{"op":2,"d":{}}', 4002)])
async def test_given_garbage_then_it_closes(lab: Lab, client: Client, raw: str, code: int) -> None:
    gateway = await lab.gateway(client)

    await gateway.socket.send_str(raw)

    assert await gateway.close_code() == code


async def test_given_a_heartbeat_then_it_is_acknowledged_before_and_after_identify(lab: Lab, client: Client) -> None:
    gateway = await lab.gateway(client)
    await gateway.send(1, None)
    await gateway.identify()
    await gateway.send(1, gateway.sequence)

    acks = 0
    while not acks:
        acks += (await gateway.receive())["op"] == 11

    assert acks == 1


async def test_given_a_client_whose_heart_stopped_then_it_is_closed_with_4009(lab: Lab) -> None:
    client = await lab.start(heartbeat_interval_ms=40)
    gateway = await lab.gateway(client)
    await gateway.identify()

    assert await gateway.close_code() == 4009


async def test_given_intents_then_only_their_events_arrive(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild()
    world = client.sim.simulator.world
    gateway = await lab.gateway(client)
    await gateway.identify(int(Intent.GUILDS | Intent.GUILD_MESSAGE_REACTIONS))

    message = client.sim.post(guild, "hello")
    world.add_member(guild, world.add_user("new")["id"])
    path = f"/sim/channels/{message['channel_id']}/messages/{message['id']}/reactions/%F0%9F%91%8D"
    await client.control("PUT", path, {})
    world.add_channel(guild, "marker")

    seen = await gateway.events_until("CHANNEL_CREATE")
    assert seen == ["GUILD_CREATE", "GUILD_CREATE", "MESSAGE_REACTION_ADD", "CHANNEL_CREATE"]


async def test_given_no_message_content_intent_then_content_is_blank_except_for_mentions_and_its_own(
    lab: Lab, client: Client
) -> None:
    guild = client.sim.add_guild()
    channel = client.sim.first_channel(guild)
    bot_id = client.sim.config.application_id
    gateway = await lab.gateway(client)
    await gateway.identify(KNOWN & ~Intent.MESSAGE_CONTENT)

    client.sim.post(guild, "secret")
    client.sim.post(guild, f"<@{bot_id}> hello")
    await client.rest("POST", f"/channels/{channel.id}/messages", {"content": "mine"})

    contents = [(await gateway.event("MESSAGE_CREATE"))["content"] for _ in range(3)]
    assert contents == ["", f"<@{bot_id}> hello", "mine"]


async def test_given_a_channel_the_bot_cannot_view_then_its_messages_do_not_arrive(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild(channels=("open", "closed"))
    opened, closed = guild.channels.values()
    deny = [{"id": guild.id, "type": 0, "allow": "0", "deny": "1024"}]
    role = next(r for r in guild.roles.values() if r["managed"])
    deny.append({"id": role["id"], "type": 0, "allow": "0", "deny": "1024"})
    client.sim.simulator.world.edit_channel(closed, {"permission_overwrites": deny})
    gateway = await lab.gateway(client)
    await gateway.identify()

    client.sim.post(guild, "unseen", channel=closed)
    client.sim.post(guild, "seen", channel=opened)

    assert (await gateway.event("MESSAGE_CREATE"))["content"] == "seen"


async def test_given_two_shards_then_each_gets_its_guilds(lab: Lab, client: Client) -> None:
    ids = [str((number << 22) + 10**18) for number in range(4)]
    guilds = [client.sim.add_guild(f"g{i}", guild_id=i) for i in ids]
    shards = [await lab.gateway(client) for _ in range(2)]
    for number, shard in enumerate(shards):
        ready = await shard.identify(shard=[number, 2])
        assert all((int(g["id"]) >> 22) % 2 == number for g in ready["guilds"])

    for guild in guilds:
        client.sim.post(guild, guild.id)

    for number, shard in enumerate(shards):
        expected = [g.id for g in guilds if (int(g.id) >> 22) % 2 == number]
        assert [(await shard.event("MESSAGE_CREATE"))["content"] for _ in expected] == expected


async def resume(lab: Lab, client: Client, lost: Gateway, sequence: int) -> Gateway:
    gateway = await lab.gateway(client)
    await gateway.receive()
    data = {"token": client.sim.config.bot_token, "session_id": lost.session_id, "seq": sequence}
    await gateway.send(6, data)
    return gateway


async def test_given_a_lost_connection_when_resuming_then_what_was_missed_is_replayed_once(
    lab: Lab, client: Client
) -> None:
    guild = client.sim.add_guild()
    first = await lab.gateway(client)
    await first.identify()
    client.sim.post(guild, "before")
    await first.event("MESSAGE_CREATE")
    await first.socket.close(code=4000)
    client.sim.post(guild, "during 1")
    client.sim.post(guild, "during 2")

    second = await resume(lab, client, first, first.sequence)
    client.sim.post(guild, "after")

    replayed = [(await second.event("MESSAGE_CREATE"))["content"] for _ in range(3)]
    assert replayed == ["during 1", "during 2", "after"]


async def test_given_a_replay_that_is_too_old_or_a_finished_session_then_it_is_invalid(lab: Lab) -> None:
    client = await lab.start(replay_limit=3)
    guild = client.sim.add_guild()
    first = await lab.gateway(client)
    await first.identify()
    for _ in range(5):
        client.sim.post(guild, "x")
    await first.socket.close(code=4000)

    too_old = await (await resume(lab, client, first, 1)).receive()
    assert (too_old["op"], too_old["d"]) == (9, False)

    finished = await lab.gateway(client)
    await finished.identify()
    await finished.socket.close(code=1000)
    gone = await (await resume(lab, client, finished, finished.sequence)).receive()
    assert (gone["op"], gone["d"]) == (9, False)


async def test_given_a_request_for_members_then_chunks_answer_it(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild()
    world = client.sim.simulator.world
    for number in range(1200):
        guild.members[world.add_user(f"user{number:04}")["id"]] = dict(guild.members[guild.owner_id])
    gateway = await lab.gateway(client)
    await gateway.identify()

    await gateway.send(8, {"guild_id": guild.id, "query": "", "limit": 0, "nonce": "all"})
    chunks = [await gateway.event("GUILD_MEMBERS_CHUNK") for _ in range(2)]
    await gateway.send(8, {"guild_id": guild.id, "query": "user000", "limit": 5})
    few = await gateway.event("GUILD_MEMBERS_CHUNK")

    assert [len(c["members"]) for c in chunks] == [1000, 202]
    assert [(c["chunk_index"], c["chunk_count"], c["nonce"]) for c in chunks] == [(0, 2, "all"), (1, 2, "all")]
    assert [m["user"]["username"] for m in few["members"]] == [f"user{n:04}" for n in range(5)]


async def test_given_an_outage_then_the_guild_goes_and_comes_back(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild()
    gateway = await lab.gateway(client)
    await gateway.identify()

    await client.control("DELETE", f"/sim/guilds/{guild.id}?unavailable=true")
    gone = await gateway.event("GUILD_DELETE")
    refused = await client.rest("GET", f"/guilds/{guild.id}")
    await client.control("POST", f"/sim/guilds/{guild.id}/available")
    back = await gateway.event("GUILD_CREATE")

    assert gone == {"id": guild.id, "unavailable": True}
    assert (refused.status, refused.code) == (404, 10004)
    assert back["id"] == guild.id
