"""The first connection to Redis or Valkey: tried until it works.

Later losses need nothing here: the client reconnects by itself when it is used again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from flora.messages.errors import ConfigError
from flora.storage.backoff import Backoff

Progress = Callable[[str], None]

BACKOFF = Backoff(first_s=0.1, cap_s=30.0)  # the operator documentation promises 100 ms, doubling, up to 30 s
CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
CHECKOUT_LIMIT_S = 5.0
IDLE_CHECK_S = 30


def make_client(url: str, pool_size: int = 10) -> Redis:
    """A client that connects when it is first used. Values are bytes.

    Raises:
        ConfigError: the URL is malformed.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max(1, pool_size),
            timeout=CHECKOUT_LIMIT_S,
            socket_connect_timeout=CONNECT_LIMIT_S,
            socket_timeout=ANSWER_LIMIT_S,
            health_check_interval=IDLE_CHECK_S,
            # Once more on a fresh connection: after a restart of the server every idle connection is dead.
            retry=Retry(ConstantBackoff(0.05), 1),
        )
    except ValueError as exc:
        raise ConfigError(f"cache.url (CACHE_URL) is not a Redis URL: {exc}") from exc
    return Redis.from_pool(pool)


async def connect_with_backoff(
    url: str,
    *,
    pool_size: int = 10,
    progress: Progress | None = None,
    backoff: Backoff = BACKOFF,
    rng: random.Random | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Redis:
    """A client whose server has answered. Waits for the server as long as it takes; cancel it to give up.

    Args:
        progress: Called after each failed attempt, with one sentence.
        sleep: For tests that own the time.
    Raises:
        ConfigError: the URL is malformed.
    """
    client = make_client(url, pool_size)
    rng = rng or random.Random()
    failures = 0
    try:
        while (problem := await _problem(client)) is not None:
            failures += 1
            delay_s = backoff.delay_s(failures, rng)
            if progress is not None:
                progress(f"waiting for Redis at {_place(url)} ({problem}); attempt {failures}, next in {delay_s:.1f} s")
            await sleep(delay_s)
    except BaseException:
        await client.aclose()
        raise
    return client


async def _problem(client: Redis) -> str | None:
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError) as exc:
        return (str(exc).splitlines() or [type(exc).__name__])[0]
    return None


def _place(url: str) -> str:
    """Where the URL points, without its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
