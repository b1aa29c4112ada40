"""Whose guilds are whose: by a person's own list, by the bot's look, and what of that is remembered where."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web

from flora.messages.deployment import GetDeployment, ListDeployments
from flora.messages.errors import DiscordError, Forbidden
from flora.messages.gateway import CheckGuildAccess, FindGuilds
from flora.storage.memory import MemoryCache
from flora.storage.redis import DegradingCache

pytestmark = pytest.mark.service


@pytest.fixture
async def person(entrance: Any) -> Any:
    """Somebody with a guild of their own, one they manage, one they are a plain member of, and one without the bot."""
    world = entrance.discord.simulator.world
    me = entrance.user_id
    entrance.own = next(iter(world.guilds))
    managed, plain, without_bot = (entrance.discord.add_guild(name) for name in ("Managed", "Plain", "Without bot"))
    for guild in (managed, plain, without_bot):
        world.add_member(guild, me)
    for guild in (managed, without_bot):
        role = {**guild.roles[guild.id], "id": str(int(guild.id) + 1), "permissions": str(1 << 5)}
        guild.roles[role["id"]] = role
        guild.members[me]["roles"].append(role["id"])
    present = {entrance.own, managed.id, plain.id}
    entrance.host.system.answers[FindGuilds] = lambda asked: tuple(filter(present.__contains__, asked.guild_ids))
    entrance.host.system.answers[GetDeployment] = lambda asked: {"guild_id": asked.guild_id}
    entrance.managed, entrance.plain, entrance.without_bot = managed.id, plain.id, without_bot.id
    await entrance.log_in()
    return entrance


def lists_asked(entrance: Any) -> int:
    return int(entrance.discord.simulator.stats.rest_calls["GET /users/@me/guilds"])


async def test_given_a_session_then_own_and_managed_guilds_with_the_bot_are_listed(person: Any) -> None:
    found = await (await person.go("/api/guilds")).json()

    assert [guild["id"] for guild in found] == sorted((person.own, person.managed), key=int)
    assert sorted(found[0]) == ["icon", "id", "name", "permissions"]
    assert {guild["name"]: guild["permissions"] & 0x28 for guild in found} == {"Demo guild": 0x28, "Managed": 0x20}


async def test_given_a_session_then_each_refusal_has_its_reason(person: Any) -> None:
    wanted = {
        person.own: None,
        person.managed: None,
        person.plain: "Admin permission required",
        person.without_bot: "Bot not in guild",
        "5": "User is not in guild",
    }

    for guild_id, refusal in wanted.items():
        answer = await person.go(f"/api/deployments/{guild_id}")
        assert (answer.status, (await answer.json()).get("message")) == (
            (200, None) if refusal is None else (403, f"Forbidden: {refusal}")
        )
    assert not person.host.system.of(CheckGuildAccess)


async def test_given_a_session_then_discord_is_asked_once_in_half_a_minute(person: Any) -> None:
    for path in ("/api/guilds", f"/api/deployments/{person.own}", "/api/guilds", f"/api/deployments/{person.managed}"):
        assert (await person.go(path)).status == 200

    key = f"oauth:user_guilds:{person.user_id}"
    kept = orjson.loads(await person.cache.get(key))
    assert lists_asked(person) == 1
    assert sorted(kept[0]) == ["icon", "id", "name", "permissions", "permissions_new"]
    assert 25 < await person.cache.ttl_s(key) <= 30

    for nonsense in (b"{", b"5", b"[5]", b'[{"name": 1}]'):
        await person.cache.set(key, nonsense)
        assert (await person.go("/api/guilds")).status == 200
    assert lists_asked(person) == 5


@pytest.mark.parametrize(
    ("permissions", "permissions_new", "status"),
    [(0, "32", 200), ("8", None, 200), (32, None, 200), ("8", "0", 403), ("many", None, 403), (None, None, 403)],
)
async def test_given_permissions_in_any_form_then_the_new_ones_count_and_nonsense_is_none(
    person: Any, permissions: Any, permissions_new: Any, status: int
) -> None:
    entry = {
        "id": person.own,
        "name": "x",
        "icon": None,
        "permissions": permissions,
        "permissions_new": permissions_new,
    }
    await person.cache.set(f"oauth:user_guilds:{person.user_id}", orjson.dumps([entry]))

    assert (await person.go(f"/api/deployments/{person.own}")).status == status


async def test_given_a_token_then_there_is_no_list_of_guilds(person: Any) -> None:
    person.host.session.cookie_jar.clear()

    answer = await person.host.get("/api/guilds")

    assert answer.status == 403
    assert "needs a login in the browser" in (await answer.json())["message"]


async def test_given_discord_no_longer_takes_the_token_then_it_is_renewed_or_the_session_is_over(person: Any) -> None:
    grants = person.discord.simulator.grants
    grants._access.clear()
    renewed = await person.go("/api/guilds")
    await person.cache.delete(f"oauth:user_guilds:{person.user_id}")
    grants._access.clear()
    grants._refresh.clear()
    over = await person.go("/api/guilds")
    after = await person.go("/api/auth/me")

    assert renewed.status == 200
    assert (over.status, (await over.json())["message"]) == (401, "Unauthorized: Session expired")
    assert after.status == 401


async def test_given_a_busy_or_broken_discord_then_the_answer_says_when_to_come_back(make_entrance: Any) -> None:
    says: list[tuple[int, dict[str, str]]] = [(429, {"Retry-After": "17"}), (500, {}), (403, {}), (200, {})]
    sayings = iter(says)

    async def discord(request: web.Request) -> web.Response:
        status, headers = next(sayings)
        return web.json_response({"message": "private words"}, status=status, headers=headers)

    entrance = await make_entrance()
    await entrance.log_in()
    app = web.Application()
    app.router.add_get("/api/v10/users/@me/guilds", discord)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    object.__setattr__(entrance.oauth._settings, "api_base", f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10")

    answers = [await entrance.go("/api/deployments/1000") for _ in says]
    await runner.cleanup()

    assert [answer.status for answer in answers] == [503, 502, 502, 502]
    assert answers[0].headers["Retry-After"] == "17"
    assert (await answers[0].json())["code"] == "DISCORD_RATE_LIMITED"
    assert "private" not in "".join([await answer.text() for answer in answers])


async def test_given_a_listing_of_deployments_for_a_session_then_the_bot_is_asked_once_for_all(person: Any) -> None:
    rows = [{"guild_id": guild, "entry": "a.ts"} for guild in (person.own, person.plain, "7", person.managed, "junk")]
    person.host.system.answers[ListDeployments] = lambda _: rows

    answer = await person.go("/api/deployments")

    assert [row["guild_id"] for row in await answer.json()] == [person.own, person.managed]
    assert len(person.host.system.of(FindGuilds)) == 1


class TokenCallers:
    """Servers that share one cache, as the process after a restart does."""

    def __init__(self, make_host: Any) -> None:
        self.now_s = 0.0
        self.cache = MemoryCache(clock=lambda: self.now_s)
        self._make_host = make_host

    async def host(self) -> Any:
        host = await self._make_host(access={"cache": DegradingCache(self.cache)})
        host.system.answers[GetDeployment] = lambda asked: {"guild_id": asked.guild_id}
        return host


async def test_given_a_verdict_about_a_token_then_the_next_process_finds_it_in_the_cache(make_host: Any) -> None:
    callers = TokenCallers(make_host)
    first, second = await callers.host(), await callers.host()

    def refuse(_: CheckGuildAccess) -> None:
        raise Forbidden("Admin permission required")

    first.system.answers[CheckGuildAccess] = lambda asked: refuse(asked) if asked.guild_id == "2000" else None

    for guild_id in ("1000", "2000"):
        mine, others = [await host.get(f"/api/deployments/{guild_id}") for host in (first, second)]
        assert (mine.status, await mine.text()) == (others.status, await others.text())

    assert len(first.system.of(CheckGuildAccess)) == 2
    assert not second.system.of(CheckGuildAccess)
    assert await callers.cache.ttl_s("flora:access:77:1000") == 30
    assert await callers.cache.ttl_s("flora:access:77:2000") == 3


async def test_given_a_failure_or_nonsense_then_it_is_not_taken_for_a_verdict(make_host: Any) -> None:
    callers = TokenCallers(make_host)
    host = await callers.host()

    def down(_: CheckGuildAccess) -> None:
        raise DiscordError("down")

    host.system.answers[CheckGuildAccess] = down
    assert (await host.get("/api/deployments/1000")).status == 502
    assert await callers.cache.get("flora:access:77:1000") is None

    host.system.answers[CheckGuildAccess] = lambda _: None
    for number, nonsense in enumerate((b"{", b"5", b'{"code": "NO_SUCH", "message": ""}', b"[]")):
        await callers.cache.set(f"flora:access:77:{2000 + number}", nonsense)
        assert (await host.get(f"/api/deployments/{2000 + number}")).status == 200
