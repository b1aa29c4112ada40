"""The deployer's memory of where guilds are to run: read once, then kept beside the table it writes through to."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextvars import Context

from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.placement import NotePlacement, Placement
from flora.storage.backoff import Backoff
from flora.storage.ports import PlacementStore

log = logging.getLogger(__name__)

WRITE_BACKOFF = Backoff(first_s=0.5, cap_s=30.0)

Noted = tuple[GuildId, Placement, str, float]
"""(guild, where it is to run, why, since when in seconds since the epoch)"""


class PlacementBook:
    """Lives on one asyncio loop. What it cannot write yet it writes later; the newest note of a guild wins."""

    def __init__(self, store: PlacementStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._known: dict[GuildId, Noted] = {}
        self._unwritten: dict[GuildId, NotePlacement] = {}
        self._writer: asyncio.Task[None] | None = None
        self._rng = random.Random()

    async def open(self) -> None:
        """Reads the table.

        Raises:
            StorageError, Unavailable: it cannot be read.
        """
        for row in await self._store.all():
            self._known[row.guild_id] = (row.guild_id, row.placement, row.reason, row.updated_at.timestamp())

    def of(self, guild_id: GuildId) -> Placement | None:
        """Where a guild is to run; None: wherever the configuration says."""
        noted = self._known.get(guild_id)
        return noted[1] if noted else None

    def all(self) -> tuple[Noted, ...]:
        """Everything noted."""
        return tuple(self._known.values())

    def note(self, note: NotePlacement, now_s: float) -> None:
        """Takes a note, and has it written."""
        if note.placement is None:
            self._known.pop(note.guild_id, None)
        else:
            self._known[note.guild_id] = (note.guild_id, note.placement, note.reason, now_s)
        self._unwritten[note.guild_id] = note
        if self._writer is None or self._writer.done():
            # Of no trace: it goes on for whoever comes next.
            self._writer = asyncio.get_running_loop().create_task(self._write(), context=Context())

    async def written(self) -> None:
        """Returns when nothing is left to write."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        failures = 0
        while self._unwritten:
            guild_id = next(iter(self._unwritten))
            note = self._unwritten.pop(guild_id)
            try:
                await self._write_one(note)
            except Unavailable:
                self._unwritten.setdefault(guild_id, note)  # a newer one may have come meanwhile
                failures += 1
                await self._sleep(WRITE_BACKOFF.delay_s(failures, self._rng))
            except StorageError as exc:
                log.error("placement not stored: %s", exc, extra={"guild_id": guild_id})
            else:
                failures = 0

    async def _write_one(self, note: NotePlacement) -> None:
        if note.placement is None:
            await self._store.delete(note.guild_id)
        else:
            await self._store.put(note.guild_id, note.placement, note.reason)
