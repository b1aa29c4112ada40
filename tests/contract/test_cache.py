from __future__ import annotations

import asyncio
from typing import Any

from flora.storage.ports import Cache


async def test_given_a_value_when_read_then_it_comes_back(cache: Cache) -> None:
    await cache.set("session:a", b"\x00\xff{}")

    assert await cache.get("session:a") == b"\x00\xff{}"
    assert await cache.ttl_s("session:a") is None
    assert await cache.get("session:b") is None
    assert await cache.ttl_s("session:b") is None


async def test_given_a_value_when_replaced_then_value_and_end_are_new(cache: Cache) -> None:
    await cache.set("k", b"1", ttl_s=1000)
    await cache.set("k", b"2")

    assert await cache.get("k") == b"2"
    assert await cache.ttl_s("k") is None


async def test_given_a_time_to_live_then_it_counts_down(cache: Cache) -> None:
    await cache.set("k", b"1", ttl_s=600)

    left = await cache.ttl_s("k")
    assert left is not None
    assert 590 < left <= 600
    assert await cache.expire("k", 30)
    left = await cache.ttl_s("k")
    assert left is not None
    assert 20 < left <= 30
    assert not await cache.expire("absent", 30)


async def test_given_a_short_life_then_the_value_vanishes(cache: Cache, eventually: Any) -> None:
    await cache.set("k", b"1", ttl_s=0.02)

    async def gone() -> bool:
        return await cache.get("k") is None

    await eventually.soon(gone, within_s=2)
    assert not await cache.delete("k")


async def test_given_no_life_at_all_then_it_is_gone_at_once(cache: Cache) -> None:
    await cache.set("k", b"1")
    await cache.set("k", b"2", ttl_s=0)
    assert await cache.get("k") is None

    await cache.set("k", b"3")
    assert await cache.expire("k", 0)
    assert await cache.get("k") is None


async def test_given_ten_takers_then_one_gets_the_value(cache: Cache) -> None:
    await cache.set("oauth:state:x", b"1", ttl_s=600)

    taken = await asyncio.gather(*(cache.take("oauth:state:x") for _ in range(10)))

    assert sorted(taken, key=bool) == [None] * 9 + [b"1"]
    assert not await cache.delete("oauth:state:x")


async def test_given_ten_who_add_then_one_succeeds_until_it_ends(cache: Cache, eventually: Any) -> None:
    added = await asyncio.gather(*(cache.add("lock", b"%d" % number, ttl_s=0.2) for number in range(10)))

    assert sorted(added) == [False] * 9 + [True]
    assert await cache.get("lock") == b"%d" % added.index(True)

    async def free_again() -> bool:
        return await cache.add("lock", b"next", ttl_s=600)

    await eventually.soon(free_again, within_s=3)
    assert await cache.get("lock") == b"next"
