"""A `Cache` on a server that may go away: every call has a bounded time, and a lost server costs one limit, not one per call.

    serving ──call fails or takes too long──► lost ──a ping is answered──► serving

While it is lost, calls are refused at once and one task pings the server with growing pauses, for as long as it takes.
A frozen server looks no different from a dead one here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar

from flora.messages.errors import Unavailable
from flora.storage.backoff import Backoff
from flora.storage.ports import Cache

log = logging.getLogger(__name__)

T = TypeVar("T")
Ping = Callable[[], Awaitable[object]]

CALL_LIMIT_S = 2.0
"""An answer takes well under a millisecond; two seconds cover a save to a slow disk, and our own process standing still."""
PROBE_BACKOFF = Backoff(first_s=0.1, cap_s=5.0)
"""Shorter than the 30 s of the first connection: people wait for their login, and one ping per pause is no load."""


class GuardedCache:
    """Never waits longer than `limit_s`. Used on one asyncio loop only."""

    def __init__(
        self,
        inner: Cache,
        ping: Ping,
        *,
        limit_s: float = CALL_LIMIT_S,
        backoff: Backoff = PROBE_BACKOFF,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            inner: The cache on the server.
            ping: Raises while the server is away; given `limit_s`, too.
            limit_s: What one call may take.
            backoff: Pauses between pings.
            sleep: For tests that own the time.
        """
        self._inner = inner
        self._ping = ping
        self._limit_s = limit_s
        self._backoff = backoff
        self._sleep = sleep
        self._rng = random.Random()
        self._probe: asyncio.Task[None] | None = None
        self._next_probe_s = 0.0  # time.monotonic()

    @property
    def is_lost(self) -> bool:
        """Whether calls are refused at the moment."""
        return self._probe is not None

    async def get(self, key: str) -> bytes | None:
        return await self._within(lambda: self._inner.get(key))

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._within(lambda: self._inner.set(key, value, ttl_s=ttl_s))

    async def add(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        return await self._within(lambda: self._inner.add(key, value, ttl_s=ttl_s))

    async def delete(self, key: str) -> bool:
        return await self._within(lambda: self._inner.delete(key))

    async def take(self, key: str) -> bytes | None:
        return await self._within(lambda: self._inner.take(key))

    async def expire(self, key: str, ttl_s: float) -> bool:
        return await self._within(lambda: self._inner.expire(key, ttl_s))

    async def ttl_s(self, key: str) -> float | None:
        return await self._within(lambda: self._inner.ttl_s(key))

    async def close(self) -> None:
        """Gives up waiting for the server."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait({self._probe})

    async def _within(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._probe is not None:
            raise self._refusal()
        try:
            async with asyncio.timeout(self._limit_s):
                return await call()
        except TimeoutError:
            self._lose(f"no answer within {self._limit_s:g} s")
        except Unavailable as exc:
            self._lose(str(exc))
        raise self._refusal()

    def _refusal(self) -> Unavailable:
        left_s = max(0.0, self._next_probe_s - time.monotonic())
        return Unavailable("Redis is not available; try again in a moment", retry_after_s=round(left_s + 1))

    def _lose(self, why: str) -> None:
        if self._probe is None:  # of many calls under way the first one to fail says so
            log.warning("Redis is lost: %s", why, extra={"action": "redis_lost"})
            # Of no trace: whoever finds Redis back has nothing to do with who found it lost.
            self._probe = asyncio.create_task(self._probe_until_back(), context=Context())

    async def _probe_until_back(self) -> None:
        failures, lost_at = 0, time.monotonic()
        try:
            while True:
                failures += 1
                delay_s = self._backoff.delay_s(failures, self._rng)
                self._next_probe_s = time.monotonic() + delay_s
                await self._sleep(delay_s)
                if await self._answers():
                    break
        finally:
            self._probe = None
        gone_s = round(time.monotonic() - lost_at, 1)
        log.info("Redis is back", extra={"action": "redis_back", "gone_s": gone_s, "pings": failures})

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._ping()
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is no answer
            log.debug("Redis does not answer: %s", exc)
            return False
        return True
