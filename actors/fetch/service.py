"""All fetches of one worker: turns per guild, cancelling, and the way back to the worker's thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
import traceback
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp
import orjson

from flora.actors.bridge import AsyncBridge
from flora.actors.fetch.budget import Budget
from flora.actors.fetch.executor import KEEP_ALIVE_S, Fetch, open_session, within
from flora.actors.fetch.guard import Guard
from flora.actors.fetch.request import FetchCode, FetchError, FetchRequest, FetchResponse
from flora.actors.fetch.resolver import GuardedResolver, is_own_address
from flora.actors.guild_secrets.filling import FetchSecrets, StartFilling, no_secrets
from flora.messages.settings import FetchSettings

log = logging.getLogger(__name__)

HELD_BYTES = 256 * 1024 * 1024
"""What all guilds of a worker may hold at once of what they fetched, see `Budget`."""
MAX_WAITING = 100
"""Fetches of a guild that wait for their turn. More only make a queue that outlasts every deadline."""


@dataclass(frozen=True, slots=True)
class FetchDone:
    """Posted to the worker's inbox: one fetch has ended."""

    ticket: int
    ok: bool
    text: str = field(repr=False)  # JSON: the response, or the error's members
    received_bytes: int = 0
    status: int = 0  # 0: there was no response
    code: str | None = None


@dataclass(slots=True)
class _Lane:
    """One guild's share."""

    session: aiohttp.ClientSession
    turns: asyncio.Semaphore
    unfinished: int = 0  # waiting, running, or answered and not taken
    closing: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Ticket:
    """What one fetch holds until its answer is taken."""

    guild_id: str
    lane: _Lane
    has_turn: bool = False
    held_bytes: int = 0


class Fetches:
    """Starts and cancels fetches. `start`, `cancel`, `settle` and `taken` are called on the worker's thread, the rest is on the loop.

    A fetch keeps its turn until the isolate has taken the answer: one that does not come to it cannot pile up answers here.

    The loop starts with the first fetch: a worker whose scripts never fetch pays for nothing.
    """

    def __init__(self, bridge: AsyncBridge, settings: FetchSettings, filling: StartFilling = no_secrets) -> None:
        self._bridge = bridge
        self._settings = settings
        self._filling = filling
        self._guard = Guard(settings.allow, is_own_address)
        self._resolver = GuardedResolver(self._guard)
        # Op ids begin anew in a rebuilt isolate, tickets do not: a late answer cannot be taken for another's.
        self._tickets = itertools.count(1)
        self._awaited: dict[int, tuple[int, int]] = {}  # ticket → (isolate, op id)
        self._untaken: dict[int, deque[int]] = {}  # isolate → tickets of answers on their way into it, in order
        self._lanes: dict[str, _Lane] = {}
        self._budget = Budget(HELD_BYTES)
        self._open: dict[int, _Ticket] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # On the worker's thread

    def start(self, key: int, guild_id: str, op_id: int, request: FetchRequest) -> None:
        """Begins one for an isolate; `FetchDone` is posted at its end, unless it is cancelled before."""
        ticket = next(self._tickets)
        self._awaited[ticket] = (key, op_id)
        self._bridge.call(self._start, ticket, guild_id, request)

    def cancel(self, key: int, op_ids: Iterable[int] | None = None) -> None:
        """Ends fetches of an isolate, by default all of them. Ids of other operations among them do no harm."""
        if op_ids is None:
            self.taken(key)
        if not self._awaited:
            return
        ids = None if op_ids is None else frozenset(op_ids)
        gone = [
            ticket for ticket, (owner, op_id) in self._awaited.items() if owner == key and (ids is None or op_id in ids)
        ]
        for ticket in gone:
            del self._awaited[ticket]
            self._bridge.call(self._cancel, ticket)

    def settle(self, done: FetchDone) -> tuple[int, int] | None:
        """Who waits for what the inbox brought, as (isolate, op id); None when nobody does any more."""
        owner = self._awaited.pop(done.ticket, None)
        if owner is None:
            self._bridge.call(self._release, done.ticket)
        else:
            self._untaken.setdefault(owner[0], deque()).append(done.ticket)
        return owner

    def taken(self, key: int, count: int | None = None) -> None:
        """So many answers, oldest first, have gone into an isolate or are gone with it; by default all that were on their way."""
        waiting = self._untaken.get(key)
        if waiting is None:
            return
        for _ in range(len(waiting) if count is None else min(count, len(waiting))):
            self._bridge.call(self._release, waiting.popleft())
        if not waiting:
            del self._untaken[key]

    # On the loop

    def _start(self, ticket: int, guild_id: str, request: FetchRequest) -> None:
        task = asyncio.get_running_loop().create_task(self._run(ticket, guild_id, request))
        self._tasks[ticket] = task
        task.add_done_callback(lambda _: self._tasks.pop(ticket, None))

    def _cancel(self, ticket: int) -> None:
        task = self._tasks.get(ticket)
        if task is not None:
            task.cancel()

    async def _run(self, ticket: int, guild_id: str, request: FetchRequest) -> None:
        secrets = self._filling(guild_id)
        try:
            done = await self._answer(ticket, guild_id, request, secrets)
        except FetchError as exc:
            done = _failed(ticket, exc)
        except asyncio.CancelledError:
            self._release(ticket)
            raise
        except Exception:  # noqa: BLE001 - it is logged, but libraries like to quote what they were given
            found = secrets.scrub_text(traceback.format_exc())
            log.error(
                "a fetch failed in a way nobody thought of: %s", found, extra={"action": "bug", "guild_id": guild_id}
            )
            done = _failed(ticket, FetchError(FetchCode.FAILED, "internal error"))
        self._bridge.post(done)

    async def _answer(self, ticket: int, guild_id: str, request: FetchRequest, secrets: FetchSecrets) -> FetchDone:
        if not self._settings.enabled:
            raise FetchError(FetchCode.BLOCKED, "fetch is switched off here (fetch.enabled)")
        opened = self._open[ticket] = _Ticket(guild_id, self._enter(guild_id))
        response = await within(self._settings.timeout_ms, self._in_turn(opened, request, secrets))
        size = len(response.body)
        return FetchDone(ticket, ok=True, text=response.encoded(), received_bytes=size, status=response.status)

    async def _in_turn(self, ticket: _Ticket, request: FetchRequest, secrets: FetchSecrets) -> FetchResponse:
        def hold(size: int) -> bool:
            ticket.held_bytes += size if (may := self._budget.take(ticket.guild_id, size)) else 0
            return may

        await ticket.lane.turns.acquire()
        ticket.has_turn = True
        fetch = Fetch(request, guard=self._guard, settings=self._settings, secrets=secrets, hold=hold)
        return await fetch.run(ticket.lane.session)

    # Turns

    def _enter(self, guild_id: str) -> _Lane:
        lane = self._lanes.get(guild_id)
        if lane is None:
            turns = asyncio.Semaphore(self._settings.concurrency)
            lane = self._lanes[guild_id] = _Lane(open_session(self._resolver), turns)
        if lane.unfinished >= self._settings.concurrency + MAX_WAITING:
            raise FetchError(
                FetchCode.FAILED,
                f"{lane.unfinished} fetches are under way or waiting, which is the most (fetch.concurrency)",
            )
        if lane.closing is not None:
            lane.closing.cancel()
            lane.closing = None
        lane.unfinished += 1
        return lane

    def _release(self, number: int) -> None:
        """Gives back what a fetch held; a second time does nothing."""
        ticket = self._open.pop(number, None)
        if ticket is None:
            return
        self._budget.give_back(ticket.guild_id, ticket.held_bytes)
        lane = ticket.lane
        if ticket.has_turn:
            lane.turns.release()
        lane.unfinished -= 1
        if lane.unfinished == 0:
            loop = asyncio.get_running_loop()
            lane.closing = loop.call_later(KEEP_ALIVE_S, lambda: loop.create_task(self._close_lane(ticket.guild_id)))

    async def _close_lane(self, guild_id: str) -> None:
        lane = self._lanes.get(guild_id)
        if lane is not None and lane.unfinished == 0:
            del self._lanes[guild_id]
            await lane.session.close()

    async def close(self) -> None:
        """Ends everything."""
        for task in tuple(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            if lane.closing is not None:
                lane.closing.cancel()
            await lane.session.close()
        await self._resolver.close()


def _failed(ticket: int, error: FetchError) -> FetchDone:
    return FetchDone(ticket, ok=False, text=orjson.dumps(error.details()).decode(), code=error.code)
