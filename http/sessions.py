"""Sessions: begun by a login, kept in Redis, renewed with Discord, ended by a logout.

A session slides: each use gives it `api.cookie_ttl_secs` again. When Discord's access token has run out, the next use
renews it. Only one renewal of a session is under way anywhere, because it uses the refresh token up: requests of this
process share one task, other processes wait for a lock in Redis. Discord's being away is no reason to log anybody out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from aiohttp import web

from flora.http.auth import Identity
from flora.http.discord_oauth import DiscordOAuth, GrantRefused
from flora.http.session_record import (
    DiscordTokens,
    DiscordUser,
    RecordCodec,
    SessionRecord,
    random_id,
    session_id_of,
    token_of,
)
from flora.messages.errors import FloraError, Unavailable
from flora.storage.ports import Cache

log = logging.getLogger("flora.api")

SESSION_COOKIE = "flora_session"
EARLY_S = 30.0  # Discord's token counts as run out so long before it is
LEAST_LIFE_S = 60.0
LOCK_TTL_S = 15.0  # longer than a renewal can take
LOCK_WAIT_S = 6.0
LOCK_LOOK_S = 0.05
SAVE_TRIES = 60
SAVE_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody's login."""

    id: str
    record: SessionRecord


class Sessions:
    """All sessions. Used on the server's asyncio loop only. Methods raise Unavailable while Redis is away."""

    def __init__(
        self,
        cache: Cache,
        oauth: DiscordOAuth,
        *,
        secret: str,
        ttl_s: int,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            cache: A strict one: "absent" means logged out here.
            oauth: Discord.
            secret: api.secret.
            ttl_s: api.cookie_ttl_secs.
            now: Unix seconds.
            sleep: For tests that own the time.
        """
        self.ttl_s = ttl_s
        self._cache = cache
        self._oauth = oauth
        self._secret = secret
        self._codec = RecordCodec(secret)
        self._now = now
        self._sleep = sleep
        self._renewals: dict[str, asyncio.Task[SessionRecord | None]] = {}
        self._unsaved: dict[str, SessionRecord] = {}  # renewed while Redis went away: the old refresh token is used up
        self._saving: set[asyncio.Task[None]] = set()

    async def begin(self, user: DiscordUser, tokens: DiscordTokens) -> str:
        """Begins a session; gives the cookie's value."""
        life_s = min(max(tokens.expires_in_s - EARLY_S, LEAST_LIFE_S), self.ttl_s)
        session_id = random_id()
        record = SessionRecord(
            user=user,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            token_type=tokens.token_type,
            scope=tokens.scope,
            expires_at=self._now() + life_s,
        )
        await self._cache.set(_key(session_id), self._codec.encode(session_id, record), ttl_s=life_s)
        return token_of(session_id, self._secret)

    async def find(self, token: str) -> Session | None:
        """The session that a cookie names, renewed where that is due; None: there is none.

        Raises:
            Unavailable: Redis is away.
            DiscordError: Discord's token has run out, and Discord cannot be asked for another one.
        """
        session_id = session_id_of(token, self._secret)
        if session_id is None:
            return None
        record = await self._read(session_id)
        if record is None:
            return None
        if record.expires_at > self._now():
            await self._cache.expire(_key(session_id), self.ttl_s)
            return Session(id=session_id, record=record)
        return await self._renewed(session_id, "")

    async def renew(self, session: Session) -> Session | None:
        """A session whose access token Discord refused, with a new one; None: Discord gives none, the session is over."""
        return await self._renewed(session.id, session.record.access_token)

    async def end(self, token: str) -> SessionRecord | None:
        """Ends a session; gives what it was."""
        session_id = session_id_of(token, self._secret)
        if session_id is None:
            return None
        record = await self._read(session_id)
        await self._cache.delete(_key(session_id))
        self._unsaved.pop(session_id, None)
        return record

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = [*self._renewals.values(), *self._saving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, session_id: str) -> SessionRecord | None:
        raw = await self._cache.get(_key(session_id))
        if raw is None:
            return None  # ended elsewhere, also if a renewal of ours is not saved yet
        return self._unsaved.get(session_id) or self._codec.decode(session_id, raw)

    async def _renewed(self, session_id: str, refused_token: str) -> Session | None:
        task = self._renewals.get(session_id)
        if task is None:
            task = self._renewals[session_id] = asyncio.create_task(self._renew_alone(session_id, refused_token))
            task.add_done_callback(lambda done: self._renewal_over(session_id, done))
        record = await asyncio.shield(task)  # a client that leaves must not waste the refresh token
        return None if record is None else Session(id=session_id, record=record)

    def _renewal_over(self, session_id: str, task: asyncio.Task[SessionRecord | None]) -> None:
        del self._renewals[session_id]
        if not task.cancelled():
            task.exception()  # looked at: perhaps nobody waits any more

    async def _renew_alone(self, session_id: str, refused_token: str) -> SessionRecord | None:
        lock = f"lock:session:{session_id}"
        looks = round(LOCK_WAIT_S / LOCK_LOOK_S)
        while not await self._cache.add(lock, b"1", ttl_s=LOCK_TTL_S):
            looks -= 1
            if looks <= 0:
                raise Unavailable("the session is being renewed; try again in a moment")
            await self._sleep(LOCK_LOOK_S)
        try:
            record = await self._read(session_id)
            if record is None or (record.expires_at > self._now() and record.access_token != refused_token):
                return record  # somebody else was quicker
            return await self._ask_discord(session_id, record)
        finally:
            with suppress(FloraError):
                await self._cache.delete(lock)

    async def _ask_discord(self, session_id: str, record: SessionRecord) -> SessionRecord | None:
        try:
            if not record.refresh_token:
                raise GrantRefused("there is no refresh token")
            tokens = await self._oauth.refresh(record.refresh_token)
        except GrantRefused:
            await self._cache.delete(_key(session_id))
            return None
        renewed = replace(
            record,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or record.refresh_token,
            token_type=tokens.token_type,
            scope=tokens.scope,
            expires_at=self._now() + max(tokens.expires_in_s - EARLY_S, LEAST_LIFE_S),
        )
        self._unsaved[session_id] = renewed
        if not await self._save(session_id, renewed):
            task = asyncio.create_task(self._save_later(session_id, renewed))
            self._saving.add(task)
            task.add_done_callback(self._saving.discard)
        return renewed

    async def _save(self, session_id: str, record: SessionRecord) -> bool:
        if self._unsaved.get(session_id) is not record:
            return True  # ended meanwhile
        try:
            await self._cache.set(_key(session_id), self._codec.encode(session_id, record), ttl_s=self.ttl_s)
        except FloraError:
            return False
        if self._unsaved.pop(session_id, None) is not record:
            await self._cache.delete(_key(session_id))  # ended while we wrote
        return True

    async def _save_later(self, session_id: str, record: SessionRecord) -> None:
        for _ in range(SAVE_TRIES):
            await self._sleep(SAVE_PAUSE_S)
            if await self._save(session_id, record):
                return
        self._unsaved.pop(session_id, None)
        log.error("a renewed session could not be saved; it ends", extra={"action": "session_lost"})


class SessionCookies:
    """The way to be known by a session's cookie."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def resolve(self, request: web.Request) -> Identity | None:
        token = request.cookies.get(SESSION_COOKIE)
        session = await self._sessions.find(token) if token else None
        if session is None:
            return None
        user = session.record.user
        return Identity(
            kind="session",
            user_id=user.id,
            username=user.username,
            global_name=user.global_name,
            avatar=user.avatar,
            session=session,
        )


def _key(session_id: str) -> str:
    return f"session:{session_id}"
