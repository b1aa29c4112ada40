"""Which worker owns a guild: an explicit route, or the default that its id hashes to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from siphash24 import siphash13

from flora.messages.ids import GuildId, WorkerId

_ZERO_KEY = bytes(16)


def guild_hash(guild_id: GuildId) -> int:
    """SipHash-1-3, key 0/0, of the id's UTF-8 bytes and one 0xFF byte, as an unsigned 64-bit number."""
    return int.from_bytes(siphash13(guild_id.encode() + b"\xff", key=_ZERO_KEY).digest(), "little")


def default_worker(guild_id: GuildId, workers: int) -> WorkerId:
    """Worker that owns a guild without an explicit route.

    Args:
        guild_id: Decimal snowflake, any length; the empty string is valid.
        workers: Size of the pool, 1…64.
    Returns:
        0 ≤ id < `workers`. Stable between runs, not between values of `workers`.
    Raises:
        ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError("there must be at least one worker")
    return WorkerId(guild_hash(guild_id) % workers)


class GuildRoutes:
    """guild → worker, for guilds that were deployed. Memory only; rebuilt when workers or deployments are loaded."""

    def __init__(self, workers: int) -> None:
        self.open: tuple[WorkerId, ...] = tuple(WorkerId(number) for number in range(workers))
        self._routes: dict[GuildId, WorkerId] = {}

    def __contains__(self, guild_id: GuildId) -> bool:
        return guild_id in self._routes

    def __len__(self) -> int:
        return len(self._routes)

    def open_to(self, workers: Iterable[WorkerId]) -> None:
        """Which workers take guilds from now on; routes that there are stay. None of them: as before."""
        self.open = tuple(sorted(workers)) or self.open

    def default(self, guild_id: GuildId) -> WorkerId:
        """Its default worker among those that take guilds."""
        return self.open[default_worker(guild_id, len(self.open))]

    def lookup(self, guild_id: GuildId) -> WorkerId:
        """The guild's route if it has one, else its default worker."""
        found = self._routes.get(guild_id)
        return self.default(guild_id) if found is None else found

    def claim(self, guild_id: GuildId, choose: Callable[[GuildId], WorkerId] | None = None) -> tuple[WorkerId, bool]:
        """The worker for a deploy, and whether this call made the route (it must then be undone if the deploy fails).

        Args:
            choose: Says where a guild without a route goes; None: its default worker.
        """
        found = self._routes.get(guild_id)
        if found is not None:
            return found, False
        worker = self.default(guild_id) if choose is None else choose(guild_id)
        self._routes[guild_id] = worker
        return worker, True

    def assign(self, guild_id: GuildId, worker: WorkerId) -> None:
        """Sets or overwrites a route."""
        self._routes[guild_id] = worker

    def forget(self, guild_id: GuildId) -> None:
        """Removes a route; an unknown guild is ignored."""
        self._routes.pop(guild_id, None)

    def on_worker(self, worker: WorkerId) -> list[GuildId]:
        """Guilds routed to a worker."""
        return [guild_id for guild_id, owner in self._routes.items() if owner == worker]
