"""Which key-value stores there are, in table `kv_stores`, where their contents are in files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from psycopg.rows import DictRow

from flora.messages.ids import GuildId
from flora.messages.kv import KvStoreInfo
from flora.storage.postgres.database import Database
from flora.storage.postgres.errors import translated
from flora.storage.postgres.kv_connection import connect
from flora.storage.postgres.queries import QUERIES


def all_kv_stores(url: str) -> list[tuple[GuildId, KvStoreInfo]]:
    """Every store that the table names, by guild. Blocks: for before serving begins.

    Raises:
        Unavailable, StorageError: the database cannot be asked.
    """
    with connect(url) as connection, translated("reading which key-value stores there are"):
        rows = connection.execute(QUERIES["kv_all_stores"]).fetchall()
    return [(row["guild_id"], _info(row)) for row in rows]


class PostgresKvIndex:
    """`KvIndex` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_guild(self, guild_id: GuildId) -> Sequence[KvStoreInfo]:
        action = f"reading which key-value stores guild {guild_id} has"
        rows = await self._database.fetch_all("kv_stores_of_guild", {"guild_id": guild_id}, action)
        return [_info(row) for row in rows]

    async def replace(self, guild_id: GuildId, stores: Sequence[KvStoreInfo]) -> None:
        params = {
            "guild_id": guild_id,
            "ids": [uuid.UUID(info.store_id) for info in stores],
            "names": [info.name for info in stores],
            "times": [info.created_at for info in stores],
        }
        await self._database.execute("kv_replace_index", params, f"storing which key-value stores guild {guild_id} has")


def _info(row: DictRow) -> KvStoreInfo:
    return KvStoreInfo(store_id=str(row["id"]), name=row["store_name"], created_at=row["created_at"])
