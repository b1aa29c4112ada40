"""All fetches of one worker: turns per guild, cancelling, and the way back to the worker's thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp
import orjson

from flora.actors.bridge import AsyncBridge
from flora.actors.fetch.executor import KEEP_ALIVE_S, Fetch, Fill, leave_as_written, open_session, within
from flora.actors.fetch.guard import Guard
from flora.actors.fetch.request import FetchCode, FetchError, FetchRequest
from flora.actors.fetch.resolver import GuardedResolver, is_own_address
from flora.messages.settings import FetchSettings

log = logging.getLogger(__name__)

MAX_WAITING = 100
"""Fetches of a guild that wait for their turn. More only make a queue that outlasts every deadline."""


@dataclass(frozen=True, slots=True)
class FetchDone:
    """Posted to the worker's inbox: one fetch has ended."""

    ticket: int
    ok: bool
    text: str = field(repr=False)  # JSON: the response, or the error's members
    received_bytes: int = 0
    code: str | None = None


@dataclass(slots=True)
class _Lane:
    """One guild's share."""

    session: aiohttp.ClientSession
    turns: asyncio.Semaphore
    unfinished: int = 0
    closing: asyncio.TimerHandle | None = None


class Fetches:
    """Starts and cancels fetches. `start`, `cancel` and `settle` are called on the worker's thread; everything else is on the loop.

    The loop starts with the first fetch: a worker whose scripts never fetch pays for nothing.
    """

    def __init__(self, bridge: AsyncBridge, settings: FetchSettings, fill: Fill = leave_as_written) -> None:
        self._bridge = bridge
        self._settings = settings
        self._fill = fill
        self._guard = Guard(settings.allow, is_own_address)
        self._resolver = GuardedResolver(self._guard)
        # Op ids begin anew in a rebuilt isolate, tickets do not: a late answer cannot be taken for another's.
        self._tickets = itertools.count(1)
        self._awaited: dict[int, tuple[int, int]] = {}  # ticket → (isolate, op id)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # On the worker's thread

    def start(self, key: int, guild_id: str, op_id: int, request: FetchRequest) -> None:
        """Begins one for an isolate; `FetchDone` is posted at its end, unless it is cancelled before."""
        ticket = next(self._tickets)
        self._awaited[ticket] = (key, op_id)
        self._bridge.call(self._start, ticket, guild_id, request)

    def cancel(self, key: int, op_ids: Iterable[int] | None = None) -> None:
        """Ends fetches of an isolate, by default all of them. Ids of other operations among them do no harm."""
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
        return self._awaited.pop(done.ticket, None)

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
        try:
            done = await self._answer(ticket, guild_id, request)
        except FetchError as exc:
            done = _failed(ticket, exc)
        except Exception:
            log.exception("a fetch failed in a way nobody thought of", extra={"action": "bug", "guild_id": guild_id})
            done = _failed(ticket, FetchError(FetchCode.FAILED, "internal error"))
        self._bridge.post(done)

    async def _answer(self, ticket: int, guild_id: str, request: FetchRequest) -> FetchDone:
        if not self._settings.enabled:
            raise FetchError(FetchCode.BLOCKED, "fetch is switched off here (fetch.enabled)")
        fetch = Fetch(request, guild_id, guard=self._guard, settings=self._settings, fill=self._fill)
        lane = self._enter(guild_id)
        try:
            response = await within(self._settings.timeout_ms, fetch, lane.session, lane.turns)
        finally:
            self._leave(guild_id, lane)
        return FetchDone(ticket, ok=True, text=response.encoded(), received_bytes=len(response.body))

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

    def _leave(self, guild_id: str, lane: _Lane) -> None:
        lane.unfinished -= 1
        if lane.unfinished == 0:
            loop = asyncio.get_running_loop()
            lane.closing = loop.call_later(KEEP_ALIVE_S, lambda: loop.create_task(self._close_lane(guild_id)))

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
