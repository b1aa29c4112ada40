from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from flora.actors.cron_book import CronBook
from flora.messages.cron import CronRun
from flora.messages.errors import Unavailable
from flora.messages.ids import GuildId
from flora.storage.memory import MemoryCronRunStore

G = GuildId("1")
SEEN = CronRun(guild_id=G, job="a", expression="@hourly", at_s=1000.0)
RAN = replace(SEEN, at_s=1060.0, outcome="ok", elapsed_us=5)


class Store(MemoryCronRunStore):
    """Counts its batches, and is away as often as wanted."""

    def __init__(self, away: int = 0) -> None:
        super().__init__()
        self.away = away
        self.batches: list[list[CronRun]] = []

    async def record(self, runs: Sequence[CronRun]) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the database is restarting")
        self.batches.append(list(runs))
        await super().record(runs)


class Sleep:
    """Ends when the test says so."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._go_on = asyncio.Event()

    async def __call__(self, delay_s: float) -> None:
        self.waits.append(delay_s)
        await self._go_on.wait()
        self._go_on.clear()

    async def pass_by(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self._go_on.set()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_given_many_runs_of_a_job_when_they_are_written_then_it_is_one_batch_with_the_newest_of_each():
    store, sleep = Store(), Sleep()
    book = CronBook(store, sleep)

    book.note([SEEN, replace(RAN, job="b")])
    book.note([RAN])
    await sleep.pass_by()

    assert store.batches == [[RAN, replace(RAN, job="b")]]


async def test_given_a_store_that_is_away_when_it_is_back_then_the_runs_are_written():
    store, sleep = Store(away=2), Sleep()
    book = CronBook(store, sleep)

    book.note([RAN])
    for _ in range(3):
        await sleep.pass_by()

    assert store.batches == [[RAN]]
    assert sleep.waits[0] < 3
    assert len(sleep.waits) == 3


async def test_given_a_run_that_is_not_written_yet_when_the_jobs_are_adopted_then_it_is_known():
    book = CronBook(Store(), Sleep())
    await book.adopt(G, [SEEN])

    book.note([RAN, replace(RAN, job="gone")])

    assert await book.adopt(G, [replace(SEEN, at_s=2000.0)]) == (RAN,)
    assert await book.adopt(G, [replace(SEEN, expression="@daily")]) == ()


async def test_given_names_that_no_database_keeps_when_noted_then_the_others_are_stored_all_the_same():
    store = Store()
    book = CronBook(store, Sleep())

    book.note([replace(RAN, job="nul \0"), replace(RAN, job="half \ud83d"), RAN])
    await book.written()

    assert store.batches == [[RAN]]
    assert await book.adopt(G, [replace(SEEN, job="nul \0")]) == ()
