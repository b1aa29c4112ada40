"""May this user administer this guild? Asked of Discord, remembered for a few seconds; who asks remembers the verdict longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from flora.actors.discord.scope import Fetch
from flora.messages.errors import BadRequest, DiscordError, DiscordRateLimited, Forbidden
from flora.messages.ids import GuildId

ADMINISTRATOR = 1 << 3
MANAGE_GUILD = 1 << 5
REMEMBER_S = 10.0
REMEMBER_ABSENT_S = 2.0
"""Who is not there is about to be invited, and then tries again."""
PARALLEL_LOOKUPS = 8
MAX_ENTRIES = 10_000


def is_snowflake(text: str) -> bool:
    """Whether a text is a Discord id: decimal, above 0, 64 bits."""
    return text.isascii() and text.isdigit() and len(text) <= 20 and 0 < int(text) < 1 << 64


def may_administer(guild: dict[str, Any], member: dict[str, Any], user_id: str) -> bool:
    """Owner, or ADMINISTRATOR or MANAGE_GUILD through a role; the role with the guild's id is everybody's."""
    if guild.get("owner_id") == user_id:
        return True
    mine = {guild["id"], *member.get("roles", ())}
    bits = 0
    for role in guild.get("roles", ()):
        if role["id"] in mine:
            bits |= int(role["permissions"])
    return bool(bits & (ADMINISTRATOR | MANAGE_GUILD))


class GuildAccess:
    """Answers the guild permission check. On the loop."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, asyncio.Task[Any]] = {}

    async def check(self, guild_id: str, user_id: str) -> None:
        """Returns when the user may.

        Raises:
            BadRequest: an id is malformed.
            Forbidden: the bot is not in the guild, the user is not, or may not administer it.
            DiscordError: Discord could not be asked.
        """
        if not is_snowflake(guild_id):
            raise BadRequest("Invalid guild ID")
        if not is_snowflake(user_id):
            raise BadRequest("Invalid user ID")
        guild, member = await asyncio.gather(
            self._found(f"/guilds/{guild_id}"), self._found(f"/guilds/{guild_id}/members/{user_id}")
        )
        if guild is None:
            raise Forbidden("Bot not in guild")
        if member is None:
            raise Forbidden("User is not in guild")
        if not may_administer(guild, member, user_id):
            raise Forbidden("Admin permission required")

    async def present(self, guild_ids: Sequence[GuildId], known: frozenset[GuildId]) -> tuple[GuildId, ...]:
        """In which of these the bot is; `known`: where we need not ask.

        Raises:
            DiscordError: Discord could not be asked.
        """
        gate = asyncio.Semaphore(PARALLEL_LOOKUPS)

        async def is_in(guild_id: GuildId) -> bool:
            if guild_id in known or not is_snowflake(guild_id):
                return guild_id in known
            async with gate:
                return await self._found(f"/guilds/{guild_id}") is not None

        verdicts = await asyncio.gather(*map(is_in, guild_ids))
        return tuple(guild_id for guild_id, verdict in zip(guild_ids, verdicts, strict=True) if verdict)

    async def username(self, guild_id: str, user_id: str) -> str | None:
        """Name of a member, or None: unknown, or Discord could not be asked."""
        if not (is_snowflake(guild_id) and is_snowflake(user_id)):
            return None
        try:
            member = await self._found(f"/guilds/{guild_id}/members/{user_id}")
        except DiscordError:
            return None
        return str(member["user"]["username"]) if member is not None else None

    async def _found(self, path: str) -> Any:
        known = self._known.get(path)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(path)
        if task is None:
            task = self._asking[path] = asyncio.create_task(self._ask(path))
            task.add_done_callback(lambda _: self._asking.pop(path, None))
        return await asyncio.shield(task)

    async def _ask(self, path: str) -> Any:
        found = await _or_none(self._fetch(path))
        if len(self._known) >= MAX_ENTRIES:
            self._known.clear()
        for_s = REMEMBER_ABSENT_S if found is None else REMEMBER_S
        self._known[path] = (self._clock() + for_s, found)
        return found


async def _or_none(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except DiscordRateLimited as exc:
        wait_s = {name: exc.details[name] for name in ("retry_after_s",) if name in exc.details}
        raise DiscordRateLimited("Discord is limiting our requests; try again in a moment", **wait_s) from None
    except DiscordError as exc:
        if exc.details.get("status") in {403, 404}:
            return None
        raise DiscordError("Discord could not be asked about this guild; try again in a moment") from exc
