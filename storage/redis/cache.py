"""The `Cache` port on Redis, and a wrapper for callers that can do without."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flora.messages.errors import StorageError, TimedOut, Unavailable
from flora.storage.ports import Cache

log = logging.getLogger(__name__)

T = TypeVar("T")

REST_S = (
    1.0  # after a failure the cache is left alone for so long: a frozen server must not cost every caller its limit
)


class RedisCache:
    """`Cache` on Redis or Valkey. Raises when the server fails."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def get(self, key: str) -> bytes | None:
        with _translated("reading from the cache"):
            return _as_bytes(await self._client.get(key))

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        with _translated("writing to the cache"):
            if ttl_s is not None and ttl_s <= 0:
                await self._client.delete(key)
            else:
                await self._client.set(key, value, px=_milliseconds(ttl_s))

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        with _translated("writing to the cache"):
            return bool(await self._client.set(key, value, px=_milliseconds(ttl_s), nx=True))

    async def delete(self, key: str) -> bool:
        with _translated("deleting from the cache"):
            return bool(await self._client.delete(key))

    async def take(self, key: str) -> bytes | None:
        with _translated("taking from the cache"):
            return _as_bytes(await self._client.getdel(key))

    async def expire(self, key: str, ttl_s: float) -> bool:
        with _translated("renewing in the cache"):
            return bool(await self._client.pexpire(key, _milliseconds(ttl_s) or 0))

    async def ttl_s(self, key: str) -> float | None:
        with _translated("reading from the cache"):
            left_ms = int(await self._client.pttl(key))
            return left_ms / 1000 if left_ms >= 0 else None


class DegradingCache:
    """A `Cache` that never raises: while the real one fails, it answers as if it were empty.

    For what can be asked again elsewhere (permissions, scopes). Not for sessions, where "absent" would log people out
    instead of telling them to try again. `errors` counts calls that failed or were not even tried.
    """

    def __init__(self, inner: Cache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._clock = clock
        self._resting_until = 0.0
        self._failing = False
        self.errors = 0

    async def get(self, key: str) -> bytes | None:
        return await self._or(None, lambda: self._inner.get(key))

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._or(None, lambda: self._inner.set(key, value, ttl_s=ttl_s))

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        return await self._or(True, lambda: self._inner.add(key, value, ttl_s=ttl_s))

    async def delete(self, key: str) -> bool:
        return await self._or(False, lambda: self._inner.delete(key))

    async def take(self, key: str) -> bytes | None:
        return await self._or(None, lambda: self._inner.take(key))

    async def expire(self, key: str, ttl_s: float) -> bool:
        return await self._or(False, lambda: self._inner.expire(key, ttl_s))

    async def ttl_s(self, key: str) -> float | None:
        return await self._or(None, lambda: self._inner.ttl_s(key))

    async def _or(self, absent: T, call: Callable[[], Awaitable[T]]) -> T:
        if self._clock() < self._resting_until:
            self.errors += 1
            return absent
        try:
            value = await call()
        except (StorageError, Unavailable) as exc:
            self.errors += 1
            self._resting_until = self._clock() + REST_S
            self._say(failing=True, why=str(exc))
            return absent
        self._say(failing=False)
        return value

    def _say(self, *, failing: bool, why: str = "") -> None:
        """Logs changes only: an outage is two lines, however many calls it costs."""
        if failing and not self._failing:
            log.warning("cache lost, going on without it: %s", why, extra={"action": "cache_lost"})
        elif self._failing and not failing:
            log.info("cache is back", extra={"action": "cache_back", "errors": self.errors})
        self._failing = failing


@contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except (RedisTimeoutError, TimeoutError) as exc:
        raise TimedOut(f"{action}: Redis did not answer in time") from exc
    except (RedisConnectionError, OSError) as exc:
        raise Unavailable(f"{action}: Redis is not available: {exc}") from exc
    except RedisError as exc:
        raise StorageError(f"{action}: Redis refused: {exc}") from exc


def _as_bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value  # text only from a client that somebody set up to decode


def _milliseconds(ttl_s: float | None) -> int | None:
    return None if ttl_s is None else max(1, round(ttl_s * 1000)) if ttl_s > 0 else 0
