"""How much of what was fetched may be held at once. Pure.

A body is held from its first byte until the isolate has taken it. One guild's share is bounded by its turns; that of all guilds of a
worker is bounded here, so that many of them together cannot fill its memory.
"""

from __future__ import annotations


class Budget:
    """Bytes held per guild. Past the total, who holds more than an equal share gets no more; the others still do."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._held: dict[str, int] = {}
        self._sum = 0

    @property
    def held(self) -> int:
        """Bytes of all guilds; at most twice the total."""
        return self._sum

    def take(self, guild_id: str, size: int) -> bool:
        """Whether so many more bytes may be held; if so, they are."""
        mine = self._held.get(guild_id, 0) + size
        if self._sum + size > self._total_bytes and mine > self._total_bytes // len({*self._held, guild_id}):
            return False
        self._held[guild_id] = mine
        self._sum += size
        return True

    def give_back(self, guild_id: str, size: int) -> None:
        """So many bytes are held no more."""
        left = self._held.get(guild_id, 0) - size
        self._sum -= size
        if left > 0:
            self._held[guild_id] = left
        else:
            self._held.pop(guild_id, None)
