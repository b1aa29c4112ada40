"""Runs the REST calls of guild scripts: fair between guilds, limited per guild, each with a definite end.

A guild has at most `guild_concurrency` calls under way; the rest wait in its own queue, in order. A lane runs one call
after another while there are any, so a busy guild costs no task per call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from flora.actors.discord.http import DiscordRest, RequestBroke, broken
from flora.actors.discord.routes import shown
from flora.actors.discord.scope import Authoriser
from flora.messages.errors import BugError, DiscordError, DiscordRateLimited, FloraError

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
APPLICATION = "{app}"
"""In a route: our application's id, which workers do not know."""


def retry_delay_s(attempt: int, rng: Callable[[], float] = random.random) -> float:
    """Full jitter before retry 0, 1, …: anything up to 250 ms · 2ⁿ, at most 2 s."""
    return rng() * min(RETRY_BASE_S * (1 << attempt), RETRY_CAP_S)


def error_json(error: FloraError) -> str:
    """An error as scripts get it: `{"code", "message", "discord_code"?, "status"?}`."""
    shape: dict[str, Any] = {"code": error.code, "message": str(error)}
    shape |= {key: error.details[key] for key in ("discord_code", "status") if key in error.details}
    return orjson.dumps(shape).decode()


@dataclass(slots=True)
class _Lane:
    waiting: deque[tuple[str, Call]] = field(default_factory=deque)
    running: int = 0


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
        self._rest = rest
        self._authoriser = authoriser
        self._deliver = deliver
        self._guild_concurrency = max(1, guild_concurrency)
        self._max_waiting = max_waiting
        self._lanes: dict[str, _Lane] = {}
        self._waiting: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def unfinished(self) -> int:
        """Calls waiting or under way."""
        return len(self._waiting) + len(self._tasks)

    def submit(self, origin: str, calls: Iterable[Call]) -> None:
        """Takes calls of one worker; each gets exactly one result unless it is cancelled before it left.

        Args:
            origin: Which worker, and which life of it; comes back with the result.
            calls: Rows of a RestFrame.
        """
        for call in calls:
            lane = self._lanes.get(call[1])
            if lane is None:
                lane = self._lanes[call[1]] = _Lane()
            if len(lane.waiting) >= self._max_waiting:
                text = f"{shown(call[2], call[3])}: {self._max_waiting} calls of this guild are waiting already"
                self._refuse(origin, call, DiscordRateLimited(text))
                continue
            lane.waiting.append((origin, call))
            self._waiting.add((origin, call[0]))
            if lane.running < self._guild_concurrency:
                lane.running += 1
                task = asyncio.create_task(self._run(call[1], lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def cancel(self, origin: str, call_ids: Iterable[int]) -> None:
        """Drops calls that have not left, without a result. Those under way go on."""
        self._waiting.difference_update((origin, call_id) for call_id in call_ids)

    def cancel_origin(self, origin: str) -> None:
        """Drops every waiting call of a worker that is gone."""
        self._waiting = {key for key in self._waiting if key[0] != origin}

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

    def _refuse(self, origin: str, call: Call, error: FloraError) -> None:
        self._deliver(origin, (call[0], False, error_json(error)))

    async def _run(self, guild_id: str, lane: _Lane) -> None:
        waiting = self._waiting
        try:
            while lane.waiting:
                origin, call = lane.waiting.popleft()
                waiting = self._waiting
                if (origin, call[0]) in waiting:
                    waiting.discard((origin, call[0]))
                    self._deliver(origin, await self._execute(call))
        finally:
            lane.running -= 1
            if not lane.running and not lane.waiting and self._lanes.get(guild_id) is lane:
                del self._lanes[guild_id]

    async def _execute(self, call: Call) -> Result:
        try:
            if not self._authoriser.known(call[1], call[4]):
                await self._authoriser.check(call[1], call[4])
            return call[0], True, orjson.dumps(await self._attempts(call)).decode()
        except FloraError as exc:
            return call[0], False, error_json(exc)
        except Exception:
            log.exception("REST call failed", extra={"action": "bug", "route": shown(call[2], call[3])})
            return call[0], False, error_json(BugError("the host failed to make this call"))

    async def _attempts(self, call: Call) -> Any:
        _, _, method, path, _, body, query, reason, may_retry = call
        if APPLICATION in path:
            path = path.replace(APPLICATION, self.application_id)
        for attempt in range(MAX_RETRIES + 1):
            try:
                return await self._rest.request(method, path, body=body, query=query, reason=reason)
            except RequestBroke as exc:
                if not may_retry or attempt == MAX_RETRIES:
                    raise broken(exc, method, path) from exc
                await asyncio.sleep(retry_delay_s(attempt))
        raise DiscordError("unreachable")
