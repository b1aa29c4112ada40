"""Last runs of cron jobs, in table `cron_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flora.messages.cron import CronRun
from flora.messages.ids import GuildId
from flora.storage.postgres.database import Database, Row


class PostgresCronRunStore:
    """`CronRunStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def adopt(self, guild_id: GuildId, runs: Sequence[CronRun]) -> Sequence[CronRun]:
        params = {"guild_id": guild_id, **_columns(runs)}
        rows = await self._database.fetch_all("adopt_cron_jobs", params, f"reading last runs of guild {guild_id}")
        return [_run(row) for row in rows]

    async def record(self, runs: Sequence[CronRun]) -> None:
        params = {"guilds": [run.guild_id for run in runs], **_columns(runs)}
        await self._database.execute("record_cron_runs", params, "storing last runs of cron jobs")


def _columns(runs: Sequence[CronRun]) -> dict[str, list[Any]]:
    return {
        "jobs": [run.job for run in runs],
        "expressions": [run.expression for run in runs],
        "times": [datetime.fromtimestamp(run.at_s, UTC) for run in runs],
        "outcomes": [run.outcome for run in runs],
        "elapsed": [run.elapsed_us for run in runs],
    }


def _run(row: Row) -> CronRun:
    return CronRun(
        guild_id=GuildId(row["guild_id"]),
        job=row["job"],
        expression=row["expression"],
        at_s=row["ran_at"].timestamp(),
        outcome=row["outcome"],
        elapsed_us=row["elapsed_us"],
    )
