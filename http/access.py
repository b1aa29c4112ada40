"""May this user administer this guild? The gateway knows; its answers are remembered for a short while.

Grants are remembered longer than refusals: a refused caller is about to fix it and try again. What could not be found
out (Discord is down) is not remembered at all. Equal questions at the same time become one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from flora.http.auth import Identity
from flora.http.limits import HttpLimits
from flora.http.peers import PeerBook
from flora.messages.errors import RequestError
from flora.messages.gateway import CheckGuildAccess
from flora.messages.ids import GuildId, ReqId, UserId

_Pair = tuple[UserId, GuildId]
_Verdict = RequestError | None  # None: granted


class GuildAccess:
    """Guild permissions of users, with a bounded memory. Used on the server's asyncio loop only."""

    def __init__(
        self, peers: PeerBook, limits: HttpLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._peers = peers
        self._limits = limits or HttpLimits()
        self._clock = clock
        self._known: OrderedDict[_Pair, tuple[float, _Verdict]] = OrderedDict()
        self._asking: dict[_Pair, asyncio.Task[_Verdict]] = {}

    async def check(self, identity: Identity, guild_id: GuildId) -> None:
        """Returns when the caller may administer the guild.

        Raises:
            Forbidden, BadRequest: they may not, and why.
            FloraError: it could not be found out.
        """
        pair = (identity.user_id, guild_id)
        verdict = await self._verdict(pair)
        if verdict is not None:
            raise type(verdict)(str(verdict), **verdict.details)

    async def _verdict(self, pair: _Pair) -> _Verdict:
        known = self._known.get(pair)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(pair)
        if task is None:
            task = self._asking[pair] = asyncio.create_task(self._ask(pair))
            task.add_done_callback(lambda done: self._asked(pair, done))
        return await asyncio.shield(task)  # one caller giving up must not fail the others

    async def _ask(self, pair: _Pair) -> _Verdict:
        request = CheckGuildAccess(req_id=ReqId(""), user_id=pair[0], guild_id=pair[1])
        try:
            await self._peers.ask("gateway", request, self._limits.peer_s)
        except RequestError as refusal:
            self._remember(pair, refusal, self._limits.access_refused_s)
            return refusal
        self._remember(pair, None, self._limits.access_ok_s)
        return None

    def _asked(self, pair: _Pair, task: asyncio.Task[_Verdict]) -> None:
        del self._asking[pair]
        if not task.cancelled():
            task.exception()  # looked at, so that a failure nobody waits for any more is not reported as lost

    def _remember(self, pair: _Pair, verdict: _Verdict, for_s: float) -> None:
        self._known[pair] = (self._clock() + for_s, verdict)
        self._known.move_to_end(pair)
        while len(self._known) > self._limits.access_entries:
            self._known.popitem(last=False)
