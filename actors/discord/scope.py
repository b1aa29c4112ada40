"""Which guild owns a channel, thread or webhook: what a guild's script may touch.

Channels and threads come from gateway events, the rest from REST lookups, one per id under way. Neither can move
to another guild, so an entry stays right; the bound keeps the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flora.messages.errors import DiscordError, DiscordRateLimited, ScopeForbidden

MAX_ENTRIES = 200_000
"""~25 MB; enough for 4,000 guilds of 50 channels, the most one identify may cover being 2,500."""

_PATHS = {"channel": "/channels/", "webhook": "/webhooks/"}

Fetch = Callable[[str], Awaitable[Any]]
"""GET of an API path; decoded JSON, or raises DiscordError."""


class ScopeCache:
    """Id → guild id, bounded; the oldest entries go first."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max = max_entries
        self._owners: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def owner(self, kind: str, item_id: str) -> str | None:
        """Guild of a `channel` (or thread) or `webhook`, if known."""
        return self._owners.get((kind, item_id))

    def learn(self, kind: str, item_id: str, guild_id: str) -> None:
        """Notes an owner."""
        owners = self._owners
        owners[kind, item_id] = guild_id
        if len(owners) > self._max:
            del owners[next(iter(owners))]

    def forget(self, kind: str, item_id: str) -> None:
        """The channel, thread or webhook is gone."""
        self._owners.pop((kind, item_id), None)

    def learn_guild(self, guild: dict[str, Any]) -> None:
        """All channels and active threads of a GUILD_CREATE."""
        guild_id = guild["id"]
        for channel in (*guild.get("channels", ()), *guild.get("threads", ())):
            self.learn("channel", channel["id"], guild_id)


class Authoriser:
    """Decides whether a guild's script may touch what its call names. On the loop."""

    def __init__(self, cache: ScopeCache, fetch: Fetch) -> None:
        self._cache = cache
        self._fetch = fetch
        self._looking: dict[tuple[str, str], asyncio.Task[str | None]] = {}

    def known(self, guild_id: str, scope: tuple[tuple[str, str], ...]) -> bool:
        """Whether everything is known to belong to the guild: the quick way for nearly all calls."""
        for kind, item_id in scope:
            if (item_id if kind == "guild" else self._cache.owner(kind, item_id)) != guild_id:
                return False
        return bool(guild_id) or not scope

    async def check(self, guild_id: str, scope: tuple[tuple[str, str], ...]) -> None:
        """Looks up what is not known.

        Raises:
            ScopeForbidden: something belongs to another guild, or to none.
            DiscordError: the lookup failed.
        """
        for kind, item_id in scope:
            owner = item_id if kind == "guild" else self._cache.owner(kind, item_id)
            if owner is None and kind in _PATHS:
                owner = await self._look_up(kind, item_id)
            if not guild_id or owner != guild_id:
                raise ScopeForbidden(f"{kind} {item_id} does not belong to this guild")

    async def _look_up(self, kind: str, item_id: str) -> str | None:
        task = self._looking.get((kind, item_id))
        if task is None:
            task = asyncio.create_task(self._fetch_owner(kind, item_id))
            self._looking[kind, item_id] = task
            task.add_done_callback(lambda _: self._looking.pop((kind, item_id), None))
        return await asyncio.shield(task)

    async def _fetch_owner(self, kind: str, item_id: str) -> str | None:
        try:
            found = await self._fetch(_PATHS[kind] + item_id)
        except DiscordRateLimited as exc:
            raise DiscordRateLimited(f"looking up the guild of {kind} {item_id} took too long") from exc
        except DiscordError as exc:
            status, code = exc.details.get("status", 0), exc.details.get("discord_code", 0)
            raise DiscordError(
                f"HTTP {status}: the guild of {kind} {item_id} could not be looked up", status=status, discord_code=code
            ) from exc
        owner = found.get("guild_id") if isinstance(found, dict) else None
        if owner is not None:
            self._cache.learn(kind, item_id, owner)
        return owner
