"""May this user administer this guild? Discord knows; its answers are remembered for a short while.

    session   the person's own guild list (`user_guilds`), then whether the bot is in the guild (the gateway knows by heart)
    token     the bot looks the member up, through the gateway

Grants are remembered longer than refusals: a refused caller is about to fix it and try again. What could not be found
out (Discord is down) is not remembered at all. Equal questions at the same time become one. Verdicts about tokens also lie
in the cache, under `flora:access:<user>:<guild>`, where other processes and the next one find them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from flora.http.auth import Identity
from flora.http.limits import HttpLimits
from flora.http.peers import PeerBook
from flora.http.user_guilds import UserGuild, UserGuilds
from flora.messages.errors import BadRequest, BugError, FloraError, Forbidden, RequestError
from flora.messages.gateway import CheckGuildAccess, FindGuilds
from flora.messages.ids import GuildId, ReqId, UserId
from flora.storage.ports import Cache

_Question = tuple[Literal["session", "token"], UserId, GuildId]
_Verdict = RequestError | None  # None: granted


@dataclass(frozen=True, slots=True, kw_only=True)
class Administered:
    """Which of some guilds a caller administers."""

    guild_ids: frozenset[GuildId]
    unknown: int  # so many could not be found out now


class GuildAccess:
    """Guild permissions of users, with a bounded memory. Used on the server's asyncio loop only."""

    def __init__(
        self,
        peers: PeerBook,
        limits: HttpLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        cache: Cache | None = None,
        user_guilds: UserGuilds | None = None,
    ) -> None:
        """
        Args:
            peers: The way to the gateway.
            limits: How long what is remembered.
            clock: Seconds.
            cache: One that answers "absent" while it is away; None: this process remembers alone.
            user_guilds: What people who logged in are members of; None: nobody can log in.
        """
        self._peers = peers
        self._limits = limits or HttpLimits()
        self._clock = clock
        self._cache = cache
        self._user_guilds = user_guilds
        self._known: OrderedDict[_Question, tuple[float, _Verdict]] = OrderedDict()
        self._asking: dict[_Question, asyncio.Task[_Verdict]] = {}

    async def check(self, identity: Identity, guild_id: GuildId) -> None:
        """Returns when the caller may administer the guild.

        Raises:
            Forbidden, BadRequest: they may not, and why.
            Unauthorized: their session is over.
            FloraError: it could not be found out.
        """
        verdict = await self._verdict(identity, guild_id)
        if verdict is not None:
            raise type(verdict)(str(verdict), **verdict.details)

    async def among(self, identity: Identity, guild_ids: Sequence[GuildId]) -> Administered:
        """Which of these the caller administers. Raises as `check` for a session; a token's failures are counted."""
        if identity.session is not None:
            mine = {guild.id for guild in await self.guilds_of(identity)}
            return Administered(guild_ids=frozenset(mine.intersection(guild_ids)), unknown=0)
        gate = asyncio.Semaphore(self._limits.parallel_checks)

        async def may(guild_id: GuildId) -> bool | None:
            async with gate:
                try:
                    await self.check(identity, guild_id)
                except RequestError:
                    return False
                except FloraError:
                    return None
                return True

        verdicts = await asyncio.gather(*map(may, guild_ids))
        granted = (guild_id for guild_id, verdict in zip(guild_ids, verdicts, strict=True) if verdict)
        return Administered(guild_ids=frozenset(granted), unknown=verdicts.count(None))

    async def guilds_of(self, identity: Identity) -> list[UserGuild]:
        """Guilds that somebody who logged in administers and the bot is in, in Discord's order.

        Raises:
            Forbidden: an API token does not say what its user is a member of.
            Unauthorized, FloraError: as `check`.
        """
        if identity.session is None or self._user_guilds is None:
            raise Forbidden("this needs a login in the browser; an API token is not enough")
        mine = [guild for guild in await self._user_guilds.of(identity.session) if guild.may_administer]
        present = await self._present(tuple(guild.id for guild in mine))
        return [guild for guild in mine if guild.id in present]

    async def _verdict(self, identity: Identity, guild_id: GuildId) -> _Verdict:
        question: _Question = (identity.kind, identity.user_id, guild_id)
        known = self._known.get(question)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._find_out(identity, question))
            task.add_done_callback(lambda done: self._asked(question, done))
        return await asyncio.shield(task)  # one caller giving up must not fail the others

    async def _find_out(self, identity: Identity, question: _Question) -> _Verdict:
        if identity.session is not None:
            verdict = await self._by_own_list(identity, question[2])
            self._remember(question, verdict, self._limits.access_session_s)
            return verdict
        kept = await self._kept(question)
        if kept is not None:
            self._remember(question, kept[0], self._limits.access_refused_s)
            return kept[0]
        verdict = await self._by_the_bot(question)
        for_s = self._limits.access_ok_s if verdict is None else self._limits.access_refused_s
        self._remember(question, verdict, for_s)
        if self._cache is not None:
            await self._cache.set(_key(question), _packed(verdict), ttl_s=for_s)
        return verdict

    async def _by_own_list(self, identity: Identity, guild_id: GuildId) -> _Verdict:
        if identity.session is None or self._user_guilds is None:
            raise BugError("a session without sessions")
        mine = await self._user_guilds.of(identity.session)
        guild = next((guild for guild in mine if guild.id == guild_id), None)
        if guild is None:
            return Forbidden("User is not in guild")
        if not guild.may_administer:
            return Forbidden("Admin permission required")
        return None if await self._present((guild_id,)) else Forbidden("Bot not in guild")

    async def _present(self, guild_ids: tuple[GuildId, ...]) -> frozenset[GuildId]:
        if not guild_ids:
            return frozenset()
        request = FindGuilds(req_id=ReqId(""), guild_ids=guild_ids)
        return frozenset(await self._peers.ask("gateway", request, self._limits.peer_s))

    async def _by_the_bot(self, question: _Question) -> _Verdict:
        request = CheckGuildAccess(req_id=ReqId(""), user_id=question[1], guild_id=question[2])
        try:
            await self._peers.ask("gateway", request, self._limits.peer_s)
        except RequestError as refusal:
            return refusal
        return None

    async def _kept(self, question: _Question) -> tuple[_Verdict] | None:
        raw = None if self._cache is None else await self._cache.get(_key(question))
        return None if raw is None else _unpacked(raw)

    def _asked(self, question: _Question, task: asyncio.Task[_Verdict]) -> None:
        del self._asking[question]
        if not task.cancelled():
            task.exception()  # looked at, so that a failure nobody waits for any more is not reported as lost

    def _remember(self, question: _Question, verdict: _Verdict, for_s: float) -> None:
        self._known[question] = (self._clock() + for_s, verdict)
        self._known.move_to_end(question)
        while len(self._known) > self._limits.access_entries:
            self._known.popitem(last=False)


_REFUSALS: dict[str, type[RequestError]] = {kind.code: kind for kind in (Forbidden, BadRequest)}


def _packed(verdict: _Verdict) -> bytes:
    return orjson.dumps(None if verdict is None else {"code": verdict.code, "message": str(verdict)})


def _unpacked(raw: bytes) -> tuple[_Verdict] | None:
    """None: what lies there makes no sense."""
    try:
        value: Any = orjson.loads(raw)
        return (None if value is None else _REFUSALS[value["code"]](str(value["message"])),)
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None


def _key(question: _Question) -> str:
    return f"flora:access:{question[1]}:{question[2]}"
