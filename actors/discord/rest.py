"""Runs the REST calls of guild scripts: fair between guilds, limited per guild, each with a definite end.

A guild has at most `guild_concurrency` calls under way, each in another rate-limit bucket: within one, disnake would make
them wait for each other anyway, and a channel that is limited must not hold up the guild's other calls. What waits is
taken bucket by bucket in turn, in order within each. A lane runs one call after another while there are any, so a busy
guild costs no task per call.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from flora.actors.discord.http import DiscordRest, RequestBroke, Timing, broken
from flora.actors.discord.rest_figures import RestFigures, ending_of
from flora.actors.discord.routes import APPLICATION, bucket_of, shown
from flora.actors.discord.scope import Authoriser
from flora.messages.errors import BugError, DiscordError, DiscordRateLimited, FloraError
from flora.messages.gateway import CallTiming

log = logging.getLogger(__name__)

Call = tuple[int, str, str, str, tuple[tuple[str, str], ...], str | None, tuple[tuple[str, str], ...], str | None, bool]
"""One row of a RestFrame."""
Result = tuple[int, bool, str]
"""One row of a RestResultsFrame."""
Deliver = Callable[[str, Result], None]
"""Takes the name of the origin (a worker) and the result of its call. Called on the loop."""

MAX_WAITING = 1000
"""Calls of one guild that may wait; beyond, a script is told that it asks for too much."""
MAX_RETRIES = 2
RETRY_BASE_S, RETRY_CAP_S = 0.25, 2.0


def retry_delay_s(attempt: int, rng: Callable[[], float] = random.random) -> float:
    """Full jitter before retry 0, 1, …: anything up to 250 ms · 2ⁿ, at most 2 s."""
    return rng() * min(RETRY_BASE_S * (1 << attempt), RETRY_CAP_S)


def error_json(error: FloraError) -> str:
    """An error as scripts get it: `{"code", "message", "discord_code"?, "status"?}`."""
    shape: dict[str, Any] = {"code": error.code, "message": str(error)}
    shape |= {key: error.details[key] for key in ("discord_code", "status") if key in error.details}
    return orjson.dumps(shape).decode()


NOTABLE_S = 0.1
"""A call that waits for its turn, a rate limit or Discord for so long is worth telling where its time went."""
_Waiting = tuple[str, Call, float]
"""(origin, call, monotonic second at which it came)"""


@dataclass(slots=True)
class _Guild:
    """Calls of one guild."""

    buckets: dict[str, deque[_Waiting]] = field(default_factory=dict)  # with calls waiting, or one under way
    turn: deque[str] = field(default_factory=deque)  # buckets with calls waiting and none under way
    lanes: int = 0
    waiting: int = 0


class RestExecutor:
    """On the loop; `submit` and `cancel` are called there as well."""

    def __init__(
        self,
        rest: DiscordRest,
        authoriser: Authoriser,
        deliver: Deliver,
        *,
        guild_concurrency: int = 4,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.application_id = ""
        self.figures = RestFigures()
        self.on_timed: Callable[[str, CallTiming], None] | None = None  # before the result; None: nobody asks
        self._traced: set[tuple[str, int]] = set()
        self._rest = rest
        self._authoriser = authoriser
        self._deliver = deliver
        self._guild_concurrency = max(1, guild_concurrency)
        self._max_waiting = max_waiting
        self._guilds: dict[str, _Guild] = {}
        self._waiting: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def unfinished(self) -> int:
        """Calls waiting or under way."""
        return len(self._waiting) + len(self._tasks)

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    def submit(self, origin: str, calls: Iterable[Call]) -> None:
        """Takes calls of one worker; each gets exactly one result unless it is cancelled before it left.

        Args:
            origin: Which worker, and which life of it; comes back with the result.
            calls: Rows of a RestFrame.
        """
        now_s = time.monotonic()
        for call in calls:
            guild = self._guilds.get(call[1])
            if guild is None:
                guild = self._guilds[call[1]] = _Guild()
            if guild.waiting >= self._max_waiting:
                self.figures.refused += 1
                self._traced.discard((origin, call[0]))
                text = f"{shown(call[2], call[3])}: {self._max_waiting} calls of this guild are waiting already"
                self._deliver(origin, (call[0], False, error_json(DiscordRateLimited(text))))
            else:
                self._queue(guild, origin, call, now_s)

    def follow(self, origin: str, call_ids: Iterable[int]) -> None:
        """`on_timed` is to hear of these calls, which are about to be submitted, in any case."""
        self._traced.update((origin, call_id) for call_id in call_ids)

    def _queue(self, guild: _Guild, origin: str, call: Call, now_s: float) -> None:
        guild.waiting += 1
        self._waiting.add((origin, call[0]))
        bucket = bucket_of(call[2], call[3])
        queue = guild.buckets.get(bucket)
        if queue is not None:
            queue.append((origin, call, now_s))
            return
        guild.buckets[bucket] = deque([(origin, call, now_s)])
        guild.turn.append(bucket)
        if guild.lanes < self._guild_concurrency:
            guild.lanes += 1
            task = asyncio.create_task(self._run(call[1], guild))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cancel(self, origin: str, call_ids: Iterable[int]) -> None:
        """Drops calls that have not left, without a result. Those under way go on."""
        gone = [(origin, call_id) for call_id in call_ids]
        self._waiting.difference_update(gone)
        self._traced.difference_update(gone)

    def cancel_origin(self, origin: str) -> None:
        """Drops every waiting call of a worker that is gone."""
        self._waiting = {key for key in self._waiting if key[0] != origin}
        self._traced = {key for key in self._traced if key[0] != origin}

    async def settle(self, limit_s: float) -> int:
        """Waits until nothing waits or is under way. Goes on taking calls: workers that finish their events make some.

        Returns:
            Calls left when `limit_s` was over.
        """
        try:
            async with asyncio.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            log.warning("REST calls left behind", extra={"action": "rest_abandoned", "count": self.unfinished})
        return self.unfinished

    async def _run(self, guild_id: str, guild: _Guild) -> None:
        """One lane: a call of the bucket whose turn it is, until no bucket waits for its turn."""
        try:
            while guild.turn:
                bucket = guild.turn.popleft()
                origin, call, came_s = guild.buckets[bucket].popleft()
                guild.waiting -= 1
                key = (origin, call[0])
                if key in self._waiting:  # else it was cancelled
                    self._waiting.discard(key)
                    self._deliver(origin, await self._execute(origin, call, came_s))
                if guild.buckets[bucket]:
                    guild.turn.append(bucket)
                else:
                    del guild.buckets[bucket]
        finally:
            guild.lanes -= 1
            if not guild.lanes and not guild.buckets and self._guilds.get(guild_id) is guild:
                del self._guilds[guild_id]

    async def _execute(self, origin: str, call: Call, came_s: float) -> Result:
        begun_s, timing, error = time.monotonic(), Timing(), None
        try:
            if not self._authoriser.known(call[1], call[4]):
                await self._authoriser.check(call[1], call[4])
            text = orjson.dumps(await self._attempts(call, timing)).decode()
        except FloraError as exc:
            error = exc
        except Exception:
            log.exception("REST call failed", extra={"action": "bug", "route": shown(call[2], call[3])})
            error = BugError("the host failed to make this call")
        took_s = time.monotonic() - begun_s
        if self.on_timed is not None and (begun_s + took_s - came_s >= NOTABLE_S or timing.refused or self._traced):
            self._tell_times(origin, call[0], begun_s - came_s, took_s, timing)
        self.figures.finished(call[2], call[3], ending_of(timing.status, error), took_s, timing.on_wire_s)
        return (call[0], True, text) if error is None else (call[0], False, error_json(error))

    def _tell_times(self, origin: str, call_id: int, queue_s: float, took_s: float, timing: Timing) -> None:
        is_notable = queue_s + took_s >= NOTABLE_S or timing.refused
        if (origin, call_id) in self._traced:
            self._traced.discard((origin, call_id))
        elif not is_notable:
            return
        queue_us, took_us, discord_us = int(queue_s * 1e6), int(took_s * 1e6), int(timing.on_wire_s * 1e6)
        came_us = time.time_ns() // 1000 - queue_us - took_us
        assert self.on_timed is not None
        self.on_timed(
            origin,
            CallTiming(call_id, came_us, queue_us, took_us - discord_us, discord_us, timing.status, timing.refused),
        )

    async def _attempts(self, call: Call, timing: Timing) -> Any:
        _, _, method, path, _, body, query, reason, may_retry = call
        if APPLICATION in path:
            path = path.replace(APPLICATION, self.application_id)
        for attempt in range(MAX_RETRIES + 1):
            try:
                return await self._rest.request(method, path, body=body, query=query, reason=reason, timing=timing)
            except RequestBroke as exc:
                if not may_retry or attempt == MAX_RETRIES:
                    raise broken(exc, method, path) from exc
                await asyncio.sleep(retry_delay_s(attempt))
        raise DiscordError("unreachable")
