"""Which guild owns a channel, thread or webhook: what a guild's script may touch.

Channels and threads come from gateway events, the rest from REST lookups, one per id under way. Neither can move
to another guild, so an entry stays right; the bound keeps the newest. What had to be looked up also lies in Redis
(`flora:scope:ch:<id>`, `flora:scope:wh:<id>`), where the next gateway finds it; without Redis memory does alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from flora.messages.errors import DiscordError, DiscordRateLimited, ScopeForbidden
from flora.storage.ports import Cache

MAX_ENTRIES = 200_000
"""~25 MB; enough for 4,000 guilds of 50 channels, the most one identify may cover being 2,500."""

_PATHS = {"channel": "/channels/", "webhook": "/webhooks/"}
_KEYS = {"channel": "flora:scope:ch:", "webhook": "flora:scope:wh:"}
SHARED_TTL_S = 21_600.0
MAX_WAITING = 10_000  # changes that wait to be written; then the oldest are left out, and looked up again when needed

Fetch = Callable[[str], Awaitable[Any]]
"""GET of an API path; decoded JSON, or raises DiscordError."""


class SharedScopes:
    """Id → guild id in Redis. Reads are awaited, writes happen in the background, in order. On the loop."""

    def __init__(self, cache: Cache) -> None:
        """
        Args:
            cache: One that answers "absent" while it is away.
        """
        self._cache = cache
        self._waiting: deque[tuple[str, str | None]] = deque(maxlen=MAX_WAITING)  # key, guild id or None: delete
        self._writer: asyncio.Task[None] | None = None

    async def owner(self, kind: str, item_id: str) -> str | None:
        """The guild, or None: not known there."""
        found = await self._cache.get(_KEYS[kind] + item_id)
        guild_id = found.decode("ascii", "replace") if found else ""
        return guild_id if guild_id.isdigit() else None

    def note(self, kind: str, item_id: str, guild_id: str | None) -> None:
        """Writes an owner down, or with None takes it out. Returns at once."""
        self._waiting.append((_KEYS[kind] + item_id, guild_id))
        if self._writer is None or self._writer.done():
            # Of no trace: it goes on for whoever comes next.
            self._writer = asyncio.get_running_loop().create_task(self._write(), context=Context())

    async def _write(self) -> None:
        while self._waiting:
            key, guild_id = self._waiting.popleft()
            if guild_id is None:
                await self._cache.delete(key)
            else:
                await self._cache.set(key, guild_id.encode(), ttl_s=SHARED_TTL_S)

    async def close(self) -> None:
        """Gives up what waits."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})


class ScopeCache:
    """Id → guild id, bounded; the oldest entries go first."""

    def __init__(self, max_entries: int = MAX_ENTRIES, shared: SharedScopes | None = None) -> None:
        self.shared = shared
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
        if self.shared is not None:
            self.shared.note(kind, item_id, None)

    def announce(self, kind: str, item_id: str, guild_id: str) -> None:
        """As `learn`, and tells the others: a channel or thread was made or changed, or its owner was looked up."""
        known = self._owners.get((kind, item_id)) == guild_id
        self.learn(kind, item_id, guild_id)
        if self.shared is not None and not known:
            self.shared.note(kind, item_id, guild_id)

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
        if self._cache.shared is not None:
            shared = await self._cache.shared.owner(kind, item_id)
            if shared is not None:
                self._cache.learn(kind, item_id, shared)
                return shared
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
            self._cache.announce(kind, item_id, owner)
        return owner
