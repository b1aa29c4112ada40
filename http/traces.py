"""The traces of this host, read beside the server's loop: one search at a time, bounded in time and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from flora.http.errors import too_many
from flora.http.limits import HttpLimits
from flora.messages.errors import Unavailable
from flora.storage.trace_query import Trace, TraceFilter
from flora.storage.trace_search import Found, SearchLimits, find, search

T = TypeVar("T")


class TraceFiles:
    """Searches of the trace files. Used on the server's asyncio loop; reads in a thread of its own."""

    def __init__(self, folder: Path, limits: HttpLimits) -> None:
        """Touches nothing before the first search."""
        self._folder = folder
        self._limits = limits
        # One thread: reading many lines holds the interpreter, and the loop must get its turns.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace search")
        self.waiting = 0

    async def newest(self, wanted: TraceFilter, limit: int) -> Found:
        """The newest traces that match; incomplete where the limits ended the search.

        Raises:
            MailboxFull: too many searches are waiting.
            Unavailable: the files cannot be read.
        """
        limits = SearchLimits(max_bytes=self._limits.trace_bytes, limit_s=self._limits.trace_s)
        return await self._search(lambda: search(self._folder, wanted, limit, limits))

    async def of_id(self, begins: str, ends: str) -> list[Trace]:
        """Traces whose ids begin and end so. Raises as `newest`."""
        return await self._search(lambda: find(self._folder, begins, ends))

    async def _search(self, work: Callable[[], T]) -> T:
        if self.waiting >= self._limits.trace_searches:
            raise too_many(
                "too many searches of traces are waiting; try again later", limit=self._limits.trace_searches
            )
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as exc:
            raise Unavailable(f"the trace files cannot be read: {exc.strerror or exc}") from exc
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """No more searches; one that is under way ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
