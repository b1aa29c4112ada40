from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flora.actors.discord.access import ADMINISTRATOR, MANAGE_GUILD, GuildAccess, may_administer
from flora.messages.errors import BadRequest, DiscordError, DiscordRateLimited, FloraError, Forbidden
from flora.messages.ids import GuildId

GUILD = {
    "id": "3",
    "owner_id": "1",
    "roles": [
        {"id": "3", "permissions": "1024"},
        {"id": "30", "permissions": str(MANAGE_GUILD)},
        {"id": "31", "permissions": str(ADMINISTRATOR | 1)},
        {"id": "32", "permissions": "2147483648"},
    ],
}


class Discord:
    """Answers reads from a table; an exception in it is raised."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.found: dict[str, Any] = {"/guilds/3": GUILD}
        for user_id, roles in members.items():
            self.found[f"/guilds/3/members/{user_id}"] = {"user": {"username": f"u{user_id}"}, "roles": roles}
        self.asked: list[str] = []

    async def __call__(self, path: str) -> Any:
        self.asked.append(path)
        await asyncio.sleep(0)
        found = self.found.get(path, DiscordError("Unknown", status=404, discord_code=10007))
        if isinstance(found, FloraError):
            raise found
        return found


@pytest.mark.parametrize(
    ("user_id", "roles", "may"),
    [("1", [], True), ("2", [], False), ("2", ["32"], False), ("2", ["32", "30"], True), ("2", ["31"], True)],
)
def test_given_roles_when_computed_then_owner_administrator_and_manage_guild_may(
    user_id: str, roles: list[str], may: bool
) -> None:
    assert may_administer(GUILD, {"roles": roles}, user_id) is may


async def test_given_an_administrator_when_checked_often_then_discord_is_asked_once() -> None:
    now_s = 100.0
    discord = Discord({"2": ["30"]})
    access = GuildAccess(discord, lambda: now_s)

    await asyncio.gather(*(access.check("3", "2") for _ in range(5)))
    await access.check("3", "2")
    assert sorted(discord.asked) == ["/guilds/3", "/guilds/3/members/2"]

    now_s += 10.5
    await access.check("3", "2")
    assert len(discord.asked) == 4


async def test_given_a_stranger_who_joins_then_that_is_noticed_sooner_than_a_change_of_roles() -> None:
    now_s = 100.0
    discord = Discord({})
    access = GuildAccess(discord, lambda: now_s)
    with pytest.raises(Forbidden):
        await access.check("3", "2")

    discord.found["/guilds/3/members/2"] = {"user": {"username": "u"}, "roles": ["30"]}
    now_s += 2.5
    await access.check("3", "2")

    assert discord.asked.count("/guilds/3") == 1


async def test_given_guilds_when_asked_where_the_bot_is_then_only_unknown_ones_are_looked_up() -> None:
    discord = Discord({})

    present = await GuildAccess(discord).present(
        (GuildId("9"), GuildId("3"), GuildId("4"), GuildId("../x")), frozenset({GuildId("9")})
    )

    assert present == ("9", "3")
    assert sorted(discord.asked) == ["/guilds/3", "/guilds/4"]


@pytest.mark.parametrize(
    ("guild_id", "user_id", "kind", "text"),
    [
        ("x", "2", BadRequest, "Invalid guild ID"),
        ("", "2", BadRequest, "Invalid guild ID"),
        ("0", "2", BadRequest, "Invalid guild ID"),
        ("3", "../x", BadRequest, "Invalid user ID"),
        ("4", "2", Forbidden, "Bot not in guild"),
        ("3", "9", Forbidden, "User is not in guild"),
        ("3", "2", Forbidden, "Admin permission required"),
    ],
)
async def test_given_no_right_when_checked_then_the_reason_is_the_documented_text(
    guild_id: str, user_id: str, kind: type[FloraError], text: str
) -> None:
    access = GuildAccess(Discord({"2": ["32"]}))

    with pytest.raises(kind) as caught:
        await access.check(guild_id, user_id)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "failure", [DiscordError("upstream secret", status=500), DiscordRateLimited("upstream secret", status=429)]
)
async def test_given_a_failing_discord_when_checked_then_its_text_does_not_leak_and_nothing_is_remembered(
    failure: FloraError,
) -> None:
    discord = Discord({"2": ["30"]})
    discord.found["/guilds/3"] = failure
    access = GuildAccess(discord)

    with pytest.raises(type(failure)) as caught:
        await access.check("3", "2")
    assert "secret" not in str(caught.value)

    discord.found["/guilds/3"] = GUILD
    await access.check("3", "2")


async def test_given_a_member_when_described_then_the_name_and_for_others_none() -> None:
    discord = Discord({"2": []})
    discord.found["/guilds/3/members/5"] = DiscordError("boom", status=500)
    access = GuildAccess(discord)

    assert [await access.username("3", user) for user in ("2", "4", "5", "system")] == ["u2", None, None, None]
