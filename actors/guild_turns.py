"""One thing at a time per guild, in the order of asking; different guilds side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from flora.messages.errors import MailboxFull
from flora.messages.ids import GuildId


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # wakes its waiters in the order they came
    length: int = 0  # who has the turn, and who waits for it


class GuildTurns:
    """Hands out turns. Lives on one asyncio loop; a guild costs nothing while nobody asks for it."""

    def __init__(self, max_waiting: int, what: str = "deploys") -> None:
        """`what` is the things that happen one at a time, for the refusal."""
        self._max_waiting = max_waiting
        self._what = what
        self._lines: dict[GuildId, _Line] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def turn(self, guild_id: GuildId, *, bounded: bool = False) -> AsyncIterator[None]:
        """Waits for this guild's turn and keeps it while the block runs.

        Args:
            bounded: Refuse when `max_waiting` others wait already. For what people ask for; the system's own work
                has other bounds and must not be lost.
        Raises:
            MailboxFull: the line is too long.
        """
        line = self._lines.get(guild_id) or _Line()
        if bounded and line.length > self._max_waiting:
            raise MailboxFull(
                f"{self._max_waiting} {self._what} of guild {guild_id} are waiting already; try again when they are done",
                guild_id=guild_id,
            )
        self._lines[guild_id] = line
        line.length += 1
        self._idle.clear()
        try:
            async with line.lock:
                yield
        finally:
            line.length -= 1
            if line.length == 0:
                del self._lines[guild_id]
            if not self._lines:
                self._idle.set()

    async def all_done(self) -> None:
        """Returns when no turn is taken or waited for."""
        await self._idle.wait()
