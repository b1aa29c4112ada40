"""The guilds of people who logged in, with what they may do there: asked of Discord with their own token, kept for 30 s.

Discord allows a person's list about once a second. So equal questions at once are one, and the list lies in the cache under
`oauth:user_guilds:<user id>`; without a cache Discord is asked each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from flora.http.discord_oauth import DiscordOAuth, GrantRefused
from flora.http.sessions import Session, Sessions
from flora.messages.errors import Unauthorized
from flora.messages.ids import GuildId, UserId
from flora.storage.ports import Cache

KEPT_S = 30.0
ADMINISTRATOR = 1 << 3
MANAGE_GUILD = 1 << 5
_KEPT_FIELDS = ("id", "name", "icon", "permissions", "permissions_new")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserGuild:
    """One guild that somebody is a member of."""

    id: GuildId
    name: str
    icon: str | None
    permissions: int

    @property
    def may_administer(self) -> bool:
        return bool(self.permissions & (ADMINISTRATOR | MANAGE_GUILD))


class UserGuilds:
    """Used on the server's asyncio loop only."""

    def __init__(self, cache: Cache, oauth: DiscordOAuth, sessions: Sessions) -> None:
        """
        Args:
            cache: One that answers "absent" while it is away.
            oauth: Discord.
            sessions: For those whose access token Discord does not take any more.
        """
        self._cache = cache
        self._oauth = oauth
        self._sessions = sessions
        self._asking: dict[UserId, asyncio.Task[list[UserGuild]]] = {}

    async def of(self, session: Session) -> list[UserGuild]:
        """Everything the person is a member of, whether the bot is there or not.

        Raises:
            Unauthorized: Discord has ended what the person had allowed; the session is over.
            DiscordError: Discord could not be asked.
        """
        user_id = session.record.user.id
        task = self._asking.get(user_id)
        if task is None:
            task = self._asking[user_id] = asyncio.create_task(self._look(session))
            task.add_done_callback(lambda done: self._looked(user_id, done))
        return await asyncio.shield(task)

    async def forget(self, user_id: UserId) -> None:
        """Asks Discord the next time."""
        await self._cache.delete(_key(user_id))

    def _looked(self, user_id: UserId, task: asyncio.Task[list[UserGuild]]) -> None:
        del self._asking[user_id]
        if not task.cancelled():
            task.exception()  # looked at: perhaps nobody waits any more

    async def _look(self, session: Session) -> list[UserGuild]:
        key = _key(session.record.user.id)
        kept = _parsed(await self._cache.get(key))
        if kept is not None:
            return kept
        found = await self._ask(session)
        shown = [{name: guild.get(name) for name in _KEPT_FIELDS} for guild in found]
        await self._cache.set(key, orjson.dumps(shown), ttl_s=KEPT_S)
        return [_guild(guild) for guild in shown]

    async def _ask(self, session: Session) -> list[dict[str, Any]]:
        try:
            return await self._oauth.guilds(session.record.access_token)
        except GrantRefused:
            renewed = await self._sessions.renew(session)
        try:
            if renewed is not None:
                return await self._oauth.guilds(renewed.record.access_token)
        except GrantRefused:
            pass
        raise Unauthorized("Session expired")


def _parsed(raw: bytes | None) -> list[UserGuild] | None:
    if raw is None:
        return None
    try:
        return [_guild(guild) for guild in orjson.loads(raw)]
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return None  # asked again


def _guild(found: dict[str, Any]) -> UserGuild:
    permissions = found.get("permissions_new")
    return UserGuild(
        id=GuildId(str(found["id"])),
        name=str(found.get("name") or ""),
        icon=found.get("icon"),
        permissions=_bits(found.get("permissions") if permissions is None else permissions),
    )


def _bits(value: Any) -> int:
    """Permissions are a number or its text; what is neither allows nothing."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0


def _key(user_id: UserId) -> str:
    return f"oauth:user_guilds:{user_id}"
