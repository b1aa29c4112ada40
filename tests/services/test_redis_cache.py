from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flora.messages.errors import ConfigError, StorageError, Unavailable
from flora.storage.backoff import Backoff
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor
from flora.storage.redis import DegradingCache, GuardedCache, RedisCache, connect_with_backoff, make_client

pytestmark = pytest.mark.service


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ServiceSupervisor]:
    """A Valkey that this test may kill."""
    folder = DataFolder.open(tmp_path / "data")
    supervisor = ServiceSupervisor(folder, postgres=False)
    supervisor.start()
    yield supervisor
    supervisor.stop()
    folder.close()


@pytest.mark.scenario("T08")
async def test_given_redis_that_comes_up_late_then_delays_grow_until_it_answers(
    tmp_path: Path, eventually: Any
) -> None:
    folder = DataFolder.open(tmp_path / "data")
    supervisor = ServiceSupervisor(folder, postgres=False)
    try:
        supervisor.start()
        url = supervisor.cache_url
        assert url is not None
        supervisor.stop()
        told: list[str] = []
        slept: list[float] = []

        async def sleep(delay_s: float) -> None:
            slept.append(delay_s)
            if len(slept) == 6:
                supervisor.start()

        client = await connect_with_backoff(url, progress=told.append, rng=random.Random(1), sleep=sleep)

        assert await client.ping()
        await client.aclose()
        assert len(told) == len(slept) >= 6
        assert all(0.08 * 2**n <= delay <= 0.1 * 2**n for n, delay in enumerate(slept[:6]))
        assert "attempt 1, next in 0.1 s" in told[0]
    finally:
        supervisor.stop()
        folder.close()


async def test_given_redis_that_never_comes_then_the_wait_can_be_cancelled(eventually: Any) -> None:
    told: list[str] = []
    waiting = asyncio.create_task(connect_with_backoff("redis://:sesame@127.0.0.1:1/0", progress=told.append))
    await eventually.soon(lambda: told)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert "127.0.0.1:1" in told[0]
    assert "sesame" not in told[0]


async def test_given_a_url_of_something_else_then_it_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="CACHE_URL"):
        await connect_with_backoff("postgres://somewhere/1")


@pytest.mark.fault
async def test_given_redis_is_killed_then_strict_callers_hear_it_and_degrading_ones_go_on(
    own_valkey: ServiceSupervisor, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flora.storage.redis.cache")
    assert own_valkey.cache_url is not None
    client = make_client(own_valkey.cache_url)
    strict = RedisCache(client)
    now_s = 0.0
    degrading = DegradingCache(strict, clock=lambda: now_s)
    await strict.set("session:a", b"1")
    assert await degrading.get("session:a") == b"1"

    first = own_valkey.pids["Valkey"]
    os.kill(first, signal.SIGKILL)
    await eventually.soon(lambda: _fails(strict))
    assert [await degrading.get("session:a") for _ in range(50)] == [None] * 50
    await degrading.set("session:a", b"2", ttl_s=5)
    assert not await degrading.delete("session:a")
    assert await degrading.ttl_s("session:a") is None
    assert degrading.errors == 53
    assert sum("cache lost" in record.message for record in caplog.records) == 1

    def is_back() -> bool:
        own_valkey.poll()
        return own_valkey.pids.get("Valkey") not in {None, first}

    await eventually.soon(is_back, within_s=10)

    async def serves() -> bool:
        nonlocal now_s
        now_s += 10
        await degrading.set("k", b"v")
        return await degrading.get("k") == b"v"

    await eventually.soon(serves, within_s=10)
    assert sum("cache is back" in record.message for record in caplog.records) == 1
    await client.aclose()


async def _fails(cache: RedisCache) -> bool:
    try:
        await cache.get("session:a")
    except Unavailable:
        return True
    return False


async def test_given_a_value_of_another_kind_then_it_is_a_storage_error(valkey_url: str) -> None:
    client = make_client(valkey_url)
    await client.rpush("list", "1")

    with pytest.raises(StorageError):
        await RedisCache(client).get("list")

    await client.aclose()


async def test_given_more_callers_than_connections_then_all_are_served(valkey_url: str) -> None:
    client = make_client(valkey_url, pool_size=2)
    cache = RedisCache(client)
    await cache.set("k", b"v")

    assert await asyncio.gather(*(cache.get("k") for _ in range(100))) == [b"v"] * 100

    await client.aclose()


LIMIT_S = 0.3


@pytest.mark.fault
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_given_valkey_is_dead_or_frozen_then_calls_are_bounded_and_it_heals_by_itself(
    own_valkey: ServiceSupervisor, eventually: Any, how: signal.Signals
) -> None:
    assert own_valkey.cache_url is not None
    client = make_client(own_valkey.cache_url)
    guarded = GuardedCache(RedisCache(client), client.ping, limit_s=LIMIT_S, backoff=Backoff(first_s=0.02, cap_s=0.1))
    await guarded.set("session:a", b"1")
    valkey = own_valkey.pids["Valkey"]

    os.kill(valkey, how)
    took_s = [await _refused_after_s(guarded) for _ in range(20)]
    assert guarded.is_lost
    assert max(took_s) < 3 * LIMIT_S
    assert sorted(took_s)[-2] < LIMIT_S / 3  # only the one that found out has waited

    if how is signal.SIGSTOP:
        os.kill(valkey, signal.SIGCONT)

    def is_back() -> bool:
        own_valkey.poll()
        return not guarded.is_lost

    await eventually.soon(is_back, within_s=10)
    await guarded.set("session:b", b"2")
    assert await guarded.get("session:b") == b"2"
    await guarded.close()
    await client.aclose()


async def _refused_after_s(cache: GuardedCache) -> float:
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await cache.get("session:a")
    assert caught.value.details["retry_after_s"] >= 1
    return time.monotonic() - started


async def test_given_redis_never_comes_back_then_pauses_between_pings_grow_to_their_cap(eventually: Any) -> None:
    pauses: list[float] = []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        if len(pauses) == 12:
            await asyncio.Event().wait()

    client = make_client("redis://127.0.0.1:1/0")
    guarded = GuardedCache(
        RedisCache(client), client.ping, backoff=Backoff(first_s=0.1, cap_s=5.0, jitter=0.0), sleep=sleep
    )

    with pytest.raises(Unavailable):
        await guarded.get("k")
    await eventually.soon(lambda: len(pauses) == 12)

    assert pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert set(pauses[7:]) == {5.0}
    await guarded.close()
    assert not guarded.is_lost
    await client.aclose()
