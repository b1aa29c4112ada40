"""How long sessions live, and how they are renewed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest

from flora.http.discord_oauth import DiscordOAuth, GrantRefused
from flora.http.session_record import DiscordTokens, DiscordUser, RecordCodec, SessionRecord
from flora.http.sessions import Sessions
from flora.messages.errors import DiscordError, Unavailable
from flora.messages.ids import UserId
from flora.storage.memory import MemoryCache
from flora.storage.sealing import Sealer

SECRET = "the-secret-that-signs-the-cookies"
ANN = DiscordUser(id=UserId("7"), username="ann")
WEEK_S = 604_800
TTL_S = 2_592_000


class Discord(DiscordOAuth):
    """Gives new tokens for each refresh token once, as Discord does."""

    def __init__(self) -> None:
        self.valid = {"refresh-0"}
        self.asked = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def refresh(self, refresh_token: str) -> DiscordTokens:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if refresh_token not in self.valid:
            raise GrantRefused("invalid_grant")
        self.valid = {f"refresh-{self.asked}"}
        return tokens(self.asked)


def tokens(number: int = 0, expires_in_s: float = WEEK_S) -> DiscordTokens:
    return DiscordTokens(
        access_token=f"access-{number}", refresh_token=f"refresh-{number}", scope="identify", expires_in_s=expires_in_s
    )


class World:
    """Sessions with a clock and a Discord of the test's own; a second process is a second `Sessions`."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.cache = MemoryCache(clock=lambda: self.now_s)
        self.discord = Discord()
        self.sessions, self.elsewhere = self.make(), self.make()

    def make(self) -> Sessions:
        async def sleep(delay_s: float) -> None:
            await asyncio.sleep(0.001)

        return Sessions(self.cache, self.discord, secret=SECRET, ttl_s=TTL_S, now=lambda: self.now_s, sleep=sleep)

    async def begin(self, expires_in_s: float = WEEK_S) -> tuple[str, str]:
        token = await self.sessions.begin(ANN, tokens(0, expires_in_s))
        return token, f"session:{token.partition('.')[0]}"

    async def kept_but_run_out(self) -> tuple[str, str]:
        """A session that was used, so that it outlives Discord's token, which has run out."""
        token, key = await self.begin()
        assert await self.sessions.find(token)
        self.now_s += WEEK_S
        return token, key


@pytest.mark.parametrize(
    ("expires_in_s", "life_s"), [(WEEK_S, WEEK_S - 30), (10, 60), (0, 60), (10 * TTL_S, TTL_S), (120, 90)]
)
async def test_given_a_login_then_its_first_life_follows_discords_token(expires_in_s: float, life_s: float) -> None:
    world = World()

    token, key = await world.begin(expires_in_s)

    assert await world.cache.ttl_s(key) == life_s
    record = orjson.loads(await world.cache.get(key) or b"")
    assert record["expires_at"] == world.now_s + life_s
    world.now_s += life_s
    assert await world.sessions.find(token) is None


async def test_given_a_use_then_the_session_slides() -> None:
    world = World()
    token, key = await world.begin()

    found = await world.sessions.find(token)

    assert found is not None
    assert found.record.user == ANN
    assert await world.cache.ttl_s(key) == TTL_S


async def test_given_discords_token_has_run_out_when_used_then_it_is_renewed_and_kept() -> None:
    world = World()
    token, key = await world.kept_but_run_out()

    found = await world.sessions.find(token)

    assert found is not None
    assert found.record.access_token == "access-1"
    assert found.record.expires_at == world.now_s + WEEK_S - 30
    assert await world.cache.ttl_s(key) == TTL_S
    assert await world.elsewhere.find(token) == found
    assert world.discord.asked == 1


async def test_given_many_requests_in_two_processes_when_it_is_renewed_then_discord_is_asked_once() -> None:
    world = World()
    token, _ = await world.kept_but_run_out()
    world.discord.gate.clear()

    waiting = [asyncio.create_task(where.find(token)) for where in (world.sessions, world.elsewhere) * 5]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    await asyncio.sleep(0)
    world.discord.gate.set()
    found = await asyncio.gather(*waiting[1:])

    assert {one.record.access_token for one in found if one} == {"access-1"}
    assert len(found) == 9
    assert world.discord.asked == 1


async def test_given_discord_refuses_the_refresh_token_then_the_session_is_over() -> None:
    world = World()
    token, key = await world.kept_but_run_out()
    world.discord.valid.clear()

    assert await world.sessions.find(token) is None
    assert await world.cache.get(key) is None


async def test_given_discord_is_away_when_it_has_to_be_renewed_then_nobody_is_logged_out() -> None:
    world = World()
    token, _ = await world.kept_but_run_out()
    world.discord.error = DiscordError("away")

    with pytest.raises(DiscordError):
        await world.sessions.find(token)
    world.discord.error = None

    assert await world.sessions.find(token) is not None


async def test_given_discord_refuses_the_access_token_early_then_it_is_renewed_once_for_all() -> None:
    world = World()
    token, _ = await world.begin()
    session = await world.sessions.find(token)
    assert session is not None

    first, second = await asyncio.gather(world.sessions.renew(session), world.elsewhere.renew(session))

    assert first == second
    assert first is not None
    assert first.record.access_token == "access-1"
    assert world.discord.asked == 1


async def test_given_another_process_holds_the_lock_for_too_long_then_the_caller_may_try_again() -> None:
    world = World()
    token, key = await world.kept_but_run_out()
    await world.cache.set(f"lock:{key}", b"1", ttl_s=60)

    with pytest.raises(Unavailable, match="being renewed"):
        await world.sessions.find(token)

    await world.cache.delete(f"lock:{key}")
    assert await world.sessions.find(token) is not None


async def test_given_redis_goes_while_it_is_renewed_then_the_new_tokens_are_saved_when_it_is_back(
    eventually: Any,
) -> None:
    world = World()
    token, _ = await world.kept_but_run_out()
    original, failures = world.cache.set, 3

    async def failing(key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        nonlocal failures
        if key.startswith("session:") and failures > 0:
            failures -= 1
            raise Unavailable("Redis is away")
        await original(key, value, ttl_s=ttl_s)

    world.cache.set = failing  # type: ignore[method-assign]

    found = await world.sessions.find(token)
    again = await world.sessions.find(token)
    await eventually.soon(lambda: not world.sessions._unsaved)
    elsewhere = await world.elsewhere.find(token)

    assert found == again == elsewhere
    assert world.discord.asked == 1


async def test_given_an_old_record_in_clear_or_nonsense_then_the_one_is_read_and_the_other_is_no_session() -> None:
    world = World()
    token, key = await world.begin()
    old = {
        "user": {"id": "7", "username": "ann", "global_name": None, "avatar": None},
        "access_token": "plain",
        "refresh_token": None,
        "token_type": "Bearer",
        "scope": "identify",
        "expires_at": int(world.now_s + 100),
    }

    await world.cache.set(key, json.dumps(old).encode())
    found = await world.sessions.find(token)
    for nonsense in (b"", b"1", b"[]", b"{", b'{"user": 1}', json.dumps({**old, "expires_at": None}).encode()):
        await world.cache.set(key, nonsense)
        assert await world.sessions.find(token) is None, nonsense

    assert found is not None
    assert found.record.access_token == "plain"


def test_given_a_record_then_it_opens_only_at_its_place_and_with_its_secret() -> None:
    record = SessionRecord(
        user=ANN, access_token="a" * 80, refresh_token=None, token_type="Bearer", scope="", expires_at=5
    )
    raw = RecordCodec(SECRET).encode("one", record)

    assert RecordCodec(SECRET).decode("one", raw) == record
    assert RecordCodec(SECRET).decode("two", raw) is None
    assert RecordCodec(SECRET[::-1]).decode("one", raw) is None
    assert b"aaaa" not in raw
    assert "aaaa" not in repr(record)


@pytest.mark.parametrize("text", ["", "x", "ünï", "a" * 31, "b" * 32, "c" * 33, "d" * 4096])
def test_given_a_text_when_sealed_then_any_change_of_it_is_noticed(text: str) -> None:
    sealer = Sealer(SECRET, "a test")
    sealed = sealer.seal(text, "here")

    assert sealer.open(sealed, "here") == text
    assert sealer.seal(text, "here") != sealed
    assert sealer.open(sealed, "there") is None
    assert Sealer(SECRET, "another").open(sealed, "here") is None
    for place in (9, len(sealed) // 2, len(sealed) - 8):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        assert sealer.open(changed, "here") is None
    assert sealer.open("sealed:1:", "here") is None
    assert sealer.open("sealed:1:?!", "here") is None
