"""REST: answers, refusals in Discord's shapes, permissions, rate limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from flora.http.simulator.permissions import Permission
from flora.http.simulator.rate_limits import Limit
from flora.http.simulator.rest.table import all_routes

if TYPE_CHECKING:
    from conftest import Client, Lab

pytestmark = pytest.mark.service


@pytest.fixture
def messages(client: Client) -> str:
    """Path of the messages of a new guild's channel."""
    return f"/channels/{client.sim.first_channel(client.sim.add_guild()).id}/messages"


async def test_given_a_message_then_it_can_be_read_changed_and_deleted(client: Client, messages: str) -> None:
    sent = await client.rest("POST", messages, {"content": "one", "embeds": [{"title": "t"}]})
    path = f"{messages}/{sent.body['id']}"

    assert (await client.rest("GET", path)).body["embeds"][0]["title"] == "t"
    edited = await client.rest("PATCH", path, {"content": "two"})
    assert (edited.body["content"], edited.body["embeds"][0]["title"]) == ("two", "t")
    assert edited.body["edited_timestamp"] is not None
    assert (await client.rest("DELETE", path)).status == 204
    gone = await client.rest("GET", path)
    assert (gone.status, gone.code, gone.body["message"]) == (404, 10008, "Unknown Message")


async def test_given_many_messages_then_windows_of_them_come_newest_first(client: Client, messages: str) -> None:
    ids = [(await client.rest("POST", messages, {"content": str(n)})).body["id"] for n in range(6)]

    async def listed(query: str) -> list[int]:
        return [int(m["content"]) for m in (await client.rest("GET", f"{messages}?{query}")).body]

    assert await listed("limit=3") == [5, 4, 3]
    assert await listed(f"limit=2&before={ids[3]}") == [2, 1]
    assert await listed(f"limit=2&after={ids[1]}") == [3, 2]
    assert await listed(f"limit=3&around={ids[2]}") == [3, 2, 1]
    assert (await client.rest("GET", f"{messages}?limit=101")).code == 50035


@pytest.mark.parametrize("token", [None, "Bot wrong", "Bearer wrong", "wrong"])
async def test_given_no_or_a_wrong_token_then_401(client: Client, token: str | None) -> None:
    answer = await client.rest("GET", "/users/@me", token=token)

    assert (answer.status, answer.body) == (401, {"message": "401: Unauthorized", "code": 0})


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, 50006), ({"content": ""}, 50006), ({"content": None, "embeds": []}, 50006), ([], 50035)],
)
async def test_given_nothing_to_show_then_it_is_refused(client: Client, messages: str, body: Any, code: int) -> None:
    answer = await client.rest("POST", messages, body)

    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"content": "x" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{}] * 11}, "embeds", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"description": "x" * 4000}] * 2}, "embeds", "MAX_EMBED_SIZE_EXCEEDED"),
        ({"embeds": [{"fields": [{"name": "n"}]}]}, "embeds.0.fields.0.value", "BASE_TYPE_REQUIRED"),
        ({"components": [{"type": 2}]}, "components.0.type", "BASE_TYPE_CHOICES"),
        (
            {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "b"}]}]},
            "components.0.components.0.custom_id",
            "COMPONENT_CUSTOM_ID_REQUIRED",
        ),
        ({"components": [{"type": 1, "components": []}]}, "components.0.components", "BASE_TYPE_BAD_LENGTH"),
        ({"content": "x", "message_reference": {"message_id": "1"}}, "message_reference", "REPLIES_UNKNOWN_MESSAGE"),
    ],
)
async def test_given_a_bad_body_then_the_error_says_where(
    client: Client, messages: str, fault_at: Callable[[Any, str], str], body: Any, path: str, code: str
) -> None:
    answer = await client.rest("POST", messages, body)

    assert (answer.status, answer.code, answer.body["message"]) == (400, 50035, "Invalid Form Body")
    assert fault_at(answer.body, path) == code


async def test_given_unknown_things_then_each_has_its_code(client: Client, messages: str) -> None:
    guild = client.sim.add_guild("Other")
    codes = {
        "/channels/1": 10003,
        "/guilds/1": 10004,
        f"/guilds/{guild.id}/members/1": 10007,
        f"{messages}/1": 10008,
        "/webhooks/1": 10015,
        f"/guilds/{guild.id}/bans/1": 10026,
        f"/applications/{client.sim.config.application_id}/guilds/{guild.id}/commands/1": 10063,
    }

    for path, code in codes.items():
        answer = await client.rest("GET", path)
        assert (path, answer.status, answer.code) == (path, 404, code)
    assert (await client.rest("GET", "/nowhere")).status == 404
    assert (await client.rest("DELETE", "/gateway")).status == 405
    assert (await client.rest("GET", "/channels/abc")).code == 50035


async def test_given_missing_permissions_then_50013_and_without_view_50001(client: Client) -> None:
    guild = client.sim.add_guild()
    world = client.sim.simulator.world
    channel = client.sim.first_channel(guild)
    message = client.sim.post(guild, "hello")
    role = next(r for r in guild.roles.values() if r["managed"])
    path = f"/channels/{channel.id}"

    async def code(method: str, path: str, body: Any = None) -> int:
        answer = await client.rest(method, path, body)
        return answer.code if answer.status == 403 else -answer.status

    world.edit_role(guild, role["id"], {"permissions": str(Permission.VIEW_CHANNEL)})
    assert await code("DELETE", f"{path}/messages/{message['id']}") == 50013
    assert await code("PUT", f"/guilds/{guild.id}/bans/{guild.owner_id}", {}) == 50013
    assert await code("POST", f"{path}/webhooks", {"name": "hook"}) == 50013
    assert await code("PATCH", f"{path}/messages/{message['id']}", {"content": "forged"}) == 50005
    world.edit_channel(channel, {"permission_overwrites": [
        {"id": guild.id, "type": 0, "allow": "0", "deny": str(Permission.SEND_MESSAGES)}
    ]})  # fmt: skip
    assert await code("POST", f"{path}/messages", {"content": "x"}) == 50013
    world.edit_role(guild, role["id"], {"permissions": "0"})
    world.edit_role(guild, guild.id, {"permissions": "0"})
    assert await code("GET", f"{path}/messages") == 50001


async def test_given_rank_then_the_owner_and_higher_members_cannot_be_kicked(client: Client) -> None:
    guild = client.sim.add_guild()
    world = client.sim.simulator.world
    low = world.add_member(guild, world.add_user("low")["id"])["user"]["id"]
    high_role = world.add_role(guild, "high", 0)
    high = world.add_member(guild, world.add_user("high")["id"], [high_role["id"]])["user"]["id"]
    world.edit_role(guild, high_role["id"], {"position": 9})

    kicked = {u: (await client.rest("DELETE", f"/guilds/{guild.id}/members/{u}")).status for u in (low, high)}

    assert kicked == {low: 204, high: 403}
    assert (await client.rest("DELETE", f"/guilds/{guild.id}/members/{guild.owner_id}")).status == 403
    assert low not in guild.members


async def test_given_a_full_bucket_then_429_with_discords_headers_and_body(lab: Lab) -> None:
    client = await lab.start()
    path = f"/channels/{client.sim.first_channel(client.sim.add_guild()).id}/messages"

    answers = [await client.rest("POST", path, {"content": str(n)}) for n in range(6)]

    assert [a.status for a in answers] == [200] * 5 + [429]
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["4", "3", "2", "1", "0", "0"]
    refused = answers[-1]
    assert 0 < refused.body["retry_after"] <= 5
    assert (refused.body["global"], refused.headers["X-RateLimit-Scope"]) == (False, "user")
    assert refused.headers["X-RateLimit-Bucket"] == answers[0].headers["X-RateLimit-Bucket"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert float(refused.headers["X-RateLimit-Reset"]) > 1.6e9
    await client.control("POST", "/sim/settings", {"rate_limits": False})
    assert (await client.rest("POST", path, {"content": "free"})).status == 200


async def test_given_the_global_limit_then_429_says_so_but_not_for_interactions(lab: Lab) -> None:
    client = await lab.start()
    client.sim.simulator.limits.global_limit = Limit(2, 60.0)  # long enough for the slowest machine

    statuses = [(await client.rest("GET", f"/guilds/{number}")).status for number in range(1, 3)]
    refused = await client.rest("GET", "/users/@me")
    spared = await client.rest("POST", "/interactions/1/token/callback", {"type": 4}, token=None)

    assert statuses == [404, 404]
    assert (refused.status, refused.body["global"]) == (429, True)
    assert (refused.headers["X-RateLimit-Global"], refused.headers["X-RateLimit-Scope"]) == ("true", "global")
    assert spared.code == 10062


async def test_given_files_then_they_become_attachments(client: Client, messages: str) -> None:
    form = aiohttp.FormData()
    form.add_field("payload_json", '{"attachments": [{"id": 0, "description": "a text"}]}')
    form.add_field("files[0]", b"<script>", filename="note.html", content_type="text/html")

    sent = await client.rest("POST", messages, data=form)
    (attachment,) = sent.body["attachments"]
    served = await client.control("GET", attachment["url"].removeprefix(client.sim.base_url))

    assert (attachment["filename"], attachment["size"], attachment["description"]) == ("note.html", 8, "a text")
    assert served.body == b"<script>"
    assert served.headers["Content-Type"] == "application/octet-stream"
    assert served.headers["Content-Disposition"] == "attachment"


async def test_given_threads_then_they_can_be_started_joined_and_closed(client: Client, messages: str) -> None:
    message = (await client.rest("POST", messages, {"content": "root"})).body
    thread = (await client.rest("POST", f"{messages}/{message['id']}/threads", {"name": "talk"})).body

    assert (thread["id"], thread["type"]) == (message["id"], 11)
    again = await client.rest("POST", f"{messages}/{message['id']}/threads", {"name": "talk"})
    assert again.code == 160004
    path = f"/channels/{thread['id']}"
    assert (await client.rest("POST", f"{path}/messages", {"content": "inside"})).status == 200
    assert (await client.rest("DELETE", f"{path}/thread-members/@me")).status == 204
    assert (await client.rest("GET", f"{path}/thread-members")).body == []
    archived = await client.rest("PATCH", path, {"archived": True})
    assert archived.body["thread_metadata"]["archived"] is True
    assert (await client.rest("DELETE", path)).status == 200


async def test_given_a_webhook_then_its_token_is_enough_to_post_and_a_wrong_one_is_not(
    client: Client, messages: str
) -> None:
    hook = (await client.rest("POST", messages.replace("messages", "webhooks"), {"name": "Hook"})).body
    path = f"/webhooks/{hook['id']}/{hook['token']}"

    silent = await client.rest("POST", path, {"content": "one"}, token=None)
    shown = await client.rest("POST", f"{path}?wait=true", {"content": "two", "username": "Alias"}, token=None)
    wrong = await client.rest("POST", f"/webhooks/{hook['id']}/wrong", {"content": "x"}, token=None)

    assert silent.status == 204
    assert (shown.body["author"]["username"], shown.body["webhook_id"]) == ("Alias", hook["id"])
    assert (wrong.status, wrong.code) == (401, 50027)
    edited = await client.rest("PATCH", f"{path}/messages/{shown.body['id']}", {"content": "three"}, token=None)
    assert edited.body["content"] == "three"
    assert (await client.rest("DELETE", f"/webhooks/{hook['id']}")).status == 204


async def test_given_commands_when_overwritten_then_the_same_names_keep_their_ids(
    client: Client, fault_at: Callable[[Any, str], str]
) -> None:
    guild = client.sim.add_guild()
    path = f"/applications/{client.sim.config.application_id}/guilds/{guild.id}/commands"
    hello, bye = ({"name": name, "description": "d"} for name in ("hello", "bye"))

    first = (await client.rest("PUT", path, [hello, bye])).body
    second = (await client.rest("PUT", path, [{**hello, "description": "changed"}])).body
    bad = await client.rest("PUT", path, [hello, {"name": "No Spaces", "description": "d"}])

    assert (second[0]["id"], second[0]["description"]) == (first[0]["id"], "changed")
    assert fault_at(bad.body, "1.name") == "APPLICATION_COMMAND_INVALID_NAME"
    assert [c["name"] for c in (await client.rest("GET", path)).body] == ["hello"]
    made = await client.rest("POST", path, bye)
    assert made.status == 201
    assert (await client.rest("DELETE", f"{path}/{made.body['id']}")).status == 204
    assert (await client.rest("PUT", f"{path}/{first[0]['id']}/permissions", {"permissions": []})).status == 403


async def test_given_pins_bulk_delete_and_reactions_then_they_do_as_told(client: Client, messages: str) -> None:
    ids = [(await client.rest("POST", messages, {"content": str(n)})).body["id"] for n in range(3)]
    one = f"{messages}/{ids[0]}"
    thumb, custom = "%F0%9F%91%8D", "blob:123"

    assert (await client.rest("PUT", f"{messages}/pins/{ids[0]}")).status == 204
    assert (await client.rest("GET", f"{messages}/pins")).body["items"][0]["message"]["id"] == ids[0]
    assert (await client.rest("DELETE", messages.replace("messages", f"pins/{ids[0]}"))).status == 204
    for emoji in (thumb, custom):
        assert (await client.rest("PUT", f"{one}/reactions/{emoji}/@me")).status == 204
    assert (await client.rest("PUT", f"{one}/reactions/nonsense/@me")).code == 10014
    reactions = (await client.rest("GET", one)).body["reactions"]
    assert [(r["emoji"]["name"], r["count"], r["me"]) for r in reactions] == [("👍", 1, True), ("blob", 1, True)]
    assert (await client.rest("DELETE", f"{one}/reactions/{thumb}")).status == 204
    assert (await client.rest("DELETE", f"{one}/reactions")).status == 204
    assert "reactions" not in (await client.rest("GET", one)).body
    assert (await client.rest("POST", f"{messages}/bulk-delete", {"messages": ids[:1]})).code == 50016
    assert (await client.rest("POST", f"{messages}/bulk-delete", {"messages": ids})).status == 204
    assert (await client.rest("GET", messages)).body == []


async def test_given_members_then_they_are_changed_banned_and_listed(client: Client) -> None:
    guild = client.sim.add_guild()
    world = client.sim.simulator.world
    user_id = world.add_member(guild, world.add_user("mark")["id"])["user"]["id"]
    path = f"/guilds/{guild.id}/members/{user_id}"
    role = (await client.rest("POST", f"/guilds/{guild.id}/roles", {"name": "Helper"})).body

    assert (await client.rest("PATCH", path, {"nick": "M"})).body["nick"] == "M"
    assert (await client.rest("PUT", f"{path}/roles/{role['id']}")).status == 204
    assert (await client.rest("GET", path)).body["roles"] == [role["id"]]
    assert (await client.rest("PATCH", path, {"communication_disabled_until": "soon"})).code == 50035
    assert [m["user"]["id"] for m in (await client.rest("GET", f"/guilds/{guild.id}/members?limit=9")).body][
        -1
    ] == user_id
    headers = {"X-Audit-Log-Reason": "too%20loud"}
    banned = await client.rest("PUT", f"/guilds/{guild.id}/bans/{user_id}", {}, headers=headers)
    assert banned.status == 204
    assert (await client.rest("GET", f"/guilds/{guild.id}/bans/{user_id}")).body["reason"] == "too loud"
    assert (await client.rest("DELETE", f"/guilds/{guild.id}/bans/{user_id}")).status == 204


async def test_given_channels_then_they_are_made_changed_and_deleted(client: Client) -> None:
    guild = client.sim.add_guild()
    made = (await client.rest("POST", f"/guilds/{guild.id}/channels", {"name": "news", "type": 5})).body
    path = f"/channels/{made['id']}"

    assert (await client.rest("PATCH", path, {"topic": "all of it"})).body["topic"] == "all of it"
    assert (await client.rest("POST", f"/guilds/{guild.id}/channels", {})).code == 50035
    posted = (await client.rest("POST", f"{path}/messages", {"content": "x"})).body
    assert (await client.rest("POST", f"{path}/messages/{posted['id']}/crosspost")).body["flags"] == 1
    assert len((await client.rest("GET", f"/guilds/{guild.id}/channels")).body) == 2
    assert (await client.rest("DELETE", path)).status == 200
    assert (await client.rest("GET", path)).code == 10003
    counted = (await client.rest("GET", f"/guilds/{guild.id}?with_counts=true")).body
    assert counted["approximate_member_count"] == 2


def test_given_a_path_then_fixed_segments_win_and_dead_ends_go_back() -> None:
    routes = all_routes()

    def template(method: str, path: str) -> str | None:
        found = routes.find(method, path)
        return found[0].template if found else None

    assert template("GET", "/users/@me") == "/users/@me"
    assert template("GET", "users/17") == "/users/{user_id}"
    assert template("PATCH", "guilds/1/members/@me") == "/guilds/{guild_id}/members/@me"
    assert template("GET", "guilds/1/members/@me") == "/guilds/{guild_id}/members/{user_id}"
    assert template("GET", "guilds/1//roles") is None
    assert template("GET", "channels") is None
