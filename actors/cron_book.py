"""The deployer's memory of last runs of cron jobs: what it was told and has not written yet, before the table behind it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context

from flora.messages.cron import CronRun
from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.storage.backoff import Backoff
from flora.storage.ports import CronRunStore

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
MAX_BATCH = 1000
MAX_WAITING = 100_000  # jobs, while Postgres is away; there are 32 per guild
WRITE_BACKOFF = Backoff(first_s=1.0, cap_s=30.0)


class CronBook:
    """Lives on one asyncio loop. Of each job only the newest run is written, with those of others."""

    def __init__(self, store: CronRunStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._unwritten: dict[tuple[str, str], CronRun] = {}
        self._writer: asyncio.Task[None] | None = None
        self._rng = random.Random()

    def note(self, runs: Iterable[CronRun]) -> None:
        """Takes runs, and has them written soon."""
        for run in runs:
            key = (run.guild_id, run.job)
            if _can_be_stored(run) and (key in self._unwritten or len(self._unwritten) < MAX_WAITING):
                self._unwritten[key] = run
        if self._unwritten and (self._writer is None or self._writer.done()):
            # Of no trace: it goes on for whoever comes next.
            self._writer = asyncio.get_running_loop().create_task(self._write_later(), context=Context())

    async def adopt(self, guild_id: GuildId, runs: Sequence[CronRun]) -> tuple[CronRun, ...]:
        """These are the guild's jobs from now on, as if each was first seen now; returns what is known of them.

        Raises:
            StorageError, Unavailable: the table cannot be read.
        """
        wanted = {run.job: run for run in runs if _can_be_stored(run)}
        newer = {job: run for (guild, job), run in self._unwritten.items() if guild == guild_id}
        for job in newer.keys() - wanted.keys():
            self._unwritten.pop((guild_id, job), None)
        stored = await self._store.adopt(guild_id, list(wanted.values()))
        known = {run.job: run for run in stored}
        known |= {job: run for job, run in newer.items() if job in wanted and run.expression == wanted[job].expression}
        return tuple(known.values())

    async def written(self) -> None:
        """Writes at once what is left."""
        if self._writer is not None:
            self._writer.cancel()
        while self._unwritten:
            await self._write()

    async def _write_later(self) -> None:
        failures = 0
        while self._unwritten:
            await self._sleep(WRITE_BACKOFF.delay_s(failures, self._rng) if failures else WRITE_EVERY_S)
            try:
                await self._write()
            except Unavailable as exc:
                failures += 1
                log.warning("last runs of cron jobs not stored yet: %s", exc, extra={"action": "cron_runs_late"})
            else:
                failures = 0

    async def _write(self) -> None:
        batch = dict(list(self._unwritten.items())[:MAX_BATCH])
        try:
            await self._store.record(list(batch.values()))
        except StorageError as exc:
            log.error("last runs of %d cron jobs not stored: %s", len(batch), exc, extra={"action": "cron_runs_lost"})
        for key, run in batch.items():
            if self._unwritten.get(key) is run:  # a newer one may have come meanwhile
                del self._unwritten[key]


def _can_be_stored(run: CronRun) -> bool:
    """Postgres keeps no NUL, and no half of a character."""
    text = run.job + run.expression
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text
