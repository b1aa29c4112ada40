"""Where guilds are to run, in table `guild_placements`."""

from __future__ import annotations

from collections.abc import Sequence

from flora.messages.ids import GuildId
from flora.messages.placement import Placement
from flora.storage.ports import StoredPlacement
from flora.storage.postgres.database import Database


class PostgresPlacementStore:
    """`PlacementStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[StoredPlacement]:
        rows = await self._database.fetch_all("placements", {}, "reading where guilds are to run")
        return [
            StoredPlacement(
                guild_id=GuildId(row["guild_id"]),
                placement=Placement(row["placement"]),
                reason=row["reason"],
                updated_at=row["updated_at"],
            )
            for row in rows
        ]

    async def put(self, guild_id: GuildId, placement: Placement, reason: str) -> None:
        params = {"guild_id": guild_id, "placement": placement.value, "reason": reason}
        await self._database.execute("upsert_placement", params, f"storing where guild {guild_id} is to run")

    async def delete(self, guild_id: GuildId) -> None:
        action = f"forgetting where guild {guild_id} is to run"
        await self._database.execute("delete_placement", {"guild_id": guild_id}, action)
