"""The control API: people, bursts, statistics, live events, and who may call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from flora.http.simulator.app import PAGE_DIR

if TYPE_CHECKING:
    from conftest import Client, Lab

pytestmark = pytest.mark.service


async def test_given_the_first_start_then_there_is_a_demo_guild_to_chat_in(lab: Lab) -> None:
    client = await lab.start()

    (guild,) = (await client.control("GET", "/sim/guilds")).body
    written = await client.control("POST", f"/sim/channels/{guild['channels'][0]['id']}/messages", {"content": "hi"})

    assert [c["name"] for c in guild["channels"]] == ["general"]
    assert {(u["id"] == guild["owner_id"], u["bot"]) for u in guild["users"]} == {
        (True, False),
        (False, True),
        (False, False),
    }
    assert written.body["author"]["id"] == guild["owner_id"]


async def test_given_chosen_ids_then_the_guild_has_them_and_not_twice(client: Client) -> None:
    body = {"name": "Mine", "id": "123456789012345678", "owner_id": "42", "channels": ["a", "b"]}

    made = await client.control("POST", "/sim/guilds", body)
    again = await client.control("POST", "/sim/guilds", body)
    bad = await client.control("POST", "/sim/guilds", {"id": "x"})

    assert (made.status, made.body["id"], made.body["owner_id"]) == (201, body["id"], "42")
    assert [c["name"] for c in made.body["channels"]] == ["a", "b"]
    assert (again.status, again.code, bad.status) == (400, 50035, 400)
    assert (await client.control("DELETE", f"/sim/guilds/{body['id']}")).status == 204
    assert (await client.control("GET", f"/sim/guilds/{body['id']}")).code == 10004


async def test_given_a_new_user_then_they_write_change_react_and_delete(client: Client) -> None:
    guild = client.sim.add_guild()
    channel = f"/sim/channels/{client.sim.first_channel(guild).id}/messages"

    user = (await client.control("POST", f"/sim/guilds/{guild.id}/users", {"name": "Kim Lee", "permissions": 32})).body
    message = (await client.control("POST", channel, {"content": "one", "author_id": user["id"]})).body
    path = f"{channel}/{message['id']}"
    await client.control("PATCH", path, {"content": "two"})
    await client.control("PUT", f"{path}/reactions/%F0%9F%8E%89", {"user_id": user["id"]})
    shown = (await client.control("GET", channel)).body
    await client.control("DELETE", path)

    assert (message["author"]["username"], shown[0]["content"]) == ("kim_lee", "two")
    assert shown[0]["reactions"][0]["count"] == 1
    assert (await client.control("GET", channel)).body == []
    assert guild.permissions_of(user["id"]) & 32
    stranger = await client.control("POST", channel, {"content": "x", "author_id": "1"})
    assert stranger.code == 10007


async def test_given_a_burst_then_every_message_arrives_in_turn_and_replies_are_timed(lab: Lab, client: Client) -> None:
    guild = client.sim.add_guild(channels=("a", "b"))
    channels = list(guild.channels)
    gateway = await lab.gateway(client, "?v=10&encoding=json&compress=zlib-stream")
    await gateway.identify()

    done = await client.control("POST", "/sim/burst", {"channels": channels, "count": 301, "content": "#{i}"})
    received = [await gateway.event("MESSAGE_CREATE") for _ in range(301)]
    for message in received[:2]:
        reply = {"content": "pong", "message_reference": {"message_id": message["id"]}}
        await client.rest("POST", f"/channels/{message['channel_id']}/messages", reply)

    assert [m["content"] for m in received] == [f"#{i}" for i in range(301)]
    assert {m["channel_id"] for m in received[::2]} == {channels[0]}
    assert (done.body["pushed"], done.body["per_s"] > 0) == (301, True)
    stats = (await client.control("GET", "/sim/stats")).body
    assert (stats["replies"], stats["unanswered"], stats["reply_latency_ms"]["count"]) == (2, 299, 2)
    assert stats["rest_calls"] == {"POST /channels/{channel_id}/messages": 2}
    await client.control("DELETE", "/sim/stats")
    assert (await client.control("GET", "/sim/stats")).body["pushed"] == 0


async def test_given_a_paced_burst_then_it_keeps_its_rate_and_tells_when_replies_are_missing(client: Client) -> None:
    body = {"count": 20, "rate": 200, "final_content": "!done", "wait_replies_s": 0.05}

    done = (await client.control("POST", "/sim/burst", body)).body

    assert 0.09 < done["elapsed_s"] < 5.0
    assert (done["replies"], done["complete"]) == (0, False)


async def test_given_an_open_page_then_it_sees_what_happens(client: Client) -> None:
    guild = client.sim.add_guild()
    async with client.session.get(f"{client.sim.base_url}/sim/events?guild_id={guild.id}") as stream:
        assert (await stream.content.readline()).startswith(b": hello")
        client.sim.post(client.sim.add_guild("Other"), "elsewhere")
        client.sim.post(guild, "here")
        events = []
        while not events or events[-1]["event"] != "MESSAGE_CREATE":
            line = await stream.content.readline()
            if line.startswith(b"data: "):
                events.append(orjson.loads(line.removeprefix(b"data: ")))

    assert events[-1]["data"]["content"] == "here"


async def test_given_a_page_of_another_site_then_its_requests_are_refused(client: Client) -> None:
    foreign = {"Origin": "https://elsewhere.example"}
    own = {"Origin": client.sim.base_url}

    assert (await client.control("POST", "/sim/guilds", {}, headers=foreign)).status == 403
    assert (await client.control("GET", "/sim/events", headers=foreign)).status == 403
    assert (await client.control("POST", "/sim/guilds", {}, headers=own)).status == 201


async def test_given_a_browser_then_the_page_comes_with_nothing_from_outside(client: Client) -> None:
    page = await client.control("GET", "/")
    script = await client.control("GET", "/page/page.js")

    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert (await client.control("GET", "/page/nothing.js")).status == 404
    sources = "".join(file.read_text() for file in PAGE_DIR.iterdir())
    assert "innerHTML" not in sources
    assert "//cdn" not in sources


@pytest.mark.parametrize("mode", ["freeze", "nonsense"])
async def test_given_a_frozen_session_then_it_hears_nothing_and_unknown_modes_are_refused(
    lab: Lab, client: Client, mode: str
) -> None:
    guild = client.sim.add_guild()
    gateway = await lab.gateway(client)
    await gateway.identify()

    answer = await client.control("POST", "/sim/sessions/disconnect", {"mode": mode})
    client.sim.post(guild, "hello")

    assert answer.status == (200 if mode == "freeze" else 400)
    (session,) = client.sim.simulator.hub.sessions.values()
    assert session.frozen == (mode == "freeze")
