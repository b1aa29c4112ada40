"""Which guild owns a channel or webhook: in memory, in the cache, at Discord."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flora.actors.discord.scope import MAX_WAITING, Authoriser, ScopeCache, SharedScopes
from flora.messages.errors import ScopeForbidden, Unavailable
from flora.storage.memory import MemoryCache
from flora.storage.redis import DegradingCache


class Lookups:
    """Discord: channels and webhooks below 100 belong to guild 3, 100 to nobody."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, path: str) -> Any:
        self.asked.append(path)
        return {"guild_id": "3"} if int(path.rpartition("/")[2]) < 100 else {}


def gateway(cache: Any) -> tuple[Authoriser, ScopeCache, Lookups]:
    """One gateway process; several share the cache."""
    scopes, lookups = ScopeCache(shared=SharedScopes(cache)), Lookups()
    return Authoriser(scopes, lookups), scopes, lookups


async def test_given_a_look_up_then_the_next_gateway_finds_it_in_the_cache(eventually: Any) -> None:
    cache = MemoryCache()
    first, _, asked_first = gateway(cache)
    second, _, asked_second = gateway(cache)

    await first.check("3", (("channel", "20"), ("webhook", "30")))
    await eventually.soon(lambda: len(cache._values) == 2)
    await second.check("3", (("channel", "20"), ("webhook", "30")))
    with pytest.raises(ScopeForbidden):
        await second.check("4", (("channel", "20"),))

    assert asked_first.asked == ["/channels/20", "/webhooks/30"]
    assert asked_second.asked == []
    assert await cache.get("flora:scope:ch:20") == await cache.get("flora:scope:wh:30") == b"3"
    left_s = await cache.ttl_s("flora:scope:ch:20")
    assert left_s is not None
    assert 21_590 < left_s <= 21_600


async def test_given_what_belongs_to_no_guild_then_that_is_not_kept() -> None:
    cache = MemoryCache()
    authoriser, _, lookups = gateway(cache)

    for _ in range(2):
        with pytest.raises(ScopeForbidden):
            await authoriser.check("3", (("channel", "100"),))

    assert len(lookups.asked) == 2
    assert not cache._values


async def test_given_channels_that_come_and_go_then_the_cache_follows_in_order(eventually: Any) -> None:
    cache = MemoryCache()
    _, scopes, _ = gateway(cache)

    scopes.learn_guild({"id": "3", "channels": [{"id": "19"}]})
    scopes.announce("channel", "19", "3")
    for number in range(20, 25):
        scopes.announce("channel", str(number), "3")
        scopes.announce("channel", str(number), "3")
    scopes.forget("channel", "21")

    async def written() -> bool:
        return await cache.get("flora:scope:ch:24") is not None and await cache.get("flora:scope:ch:21") is None

    await eventually.soon(written)
    assert sorted(cache._values) == [f"flora:scope:ch:{number}" for number in (20, 22, 23, 24)]


async def test_given_nonsense_in_the_cache_then_discord_is_asked() -> None:
    cache = MemoryCache()
    await cache.set("flora:scope:ch:20", b"\xff not an id")
    authoriser, _, lookups = gateway(cache)

    await authoriser.check("3", (("channel", "20"),))

    assert lookups.asked == ["/channels/20"]


async def test_given_a_cache_that_is_away_then_memory_does_alone_and_what_waits_is_bounded() -> None:
    class Away(MemoryCache):
        async def get(self, key: str) -> bytes | None:
            raise Unavailable("away")

        async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
            raise Unavailable("away")

    authoriser, scopes, lookups = gateway(DegradingCache(Away()))
    for _ in range(2):
        await authoriser.check("3", (("channel", "20"),))
    for number in range(MAX_WAITING + 5):
        scopes.announce("webhook", str(number), "3")

    assert lookups.asked == ["/channels/20"]
    assert scopes.shared is not None
    assert len(scopes.shared._waiting) <= MAX_WAITING
    await asyncio.wait_for(scopes.shared.close(), 1)
