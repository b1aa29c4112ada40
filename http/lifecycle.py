"""Whether the server still takes requests, and how many are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web


class ServerLifecycle:
    """State of one server. Used on its asyncio loop only."""

    def __init__(self) -> None:
        self.draining = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Counts a request while it is handled."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def idle(self, limit_s: float) -> int:
        """Waits until nothing is under way, at most `limit_s`; returns how many requests still are."""
        try:
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self._count


LIFECYCLE = web.AppKey("lifecycle", ServerLifecycle)
