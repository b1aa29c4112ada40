"""Encrypted secrets of guilds, in table `guild_secrets`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from flora.messages.ids import GuildId
from flora.storage.ports import StoredSecret
from flora.storage.postgres.database import Database, Row
from flora.storage.secret_cipher import Sealed


class PostgresSecretStore:
    """`SecretStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_version(self) -> int:
        row = await self._database.fetch_one("next_secrets_version", {}, "numbering a set of secrets")
        assert row is not None
        return int(row["version"])

    async def of_guild(self, guild_id: GuildId) -> Sequence[StoredSecret]:
        action = f"reading the secrets of guild {guild_id}"
        return [_row(row) for row in await self._database.fetch_all("secrets_of_guild", {"guild_id": guild_id}, action)]

    async def put(self, guild_id: GuildId, name: str, sealed: Sealed, allowed_hosts: Sequence[str]) -> None:
        params = {
            "id": uuid.uuid4(),
            "guild_id": guild_id,
            "name": name,
            "ciphertext": sealed.ciphertext,
            "nonce": sealed.nonce,
            "key_id": sealed.key_id,
            "allowed_hosts": list(allowed_hosts),
        }
        await self._database.execute("upsert_secret", params, f"storing a secret of guild {guild_id}")

    async def delete(self, guild_id: GuildId, name: str) -> bool:
        params = {"guild_id": guild_id, "name": name}
        action = f"deleting a secret of guild {guild_id}"
        return await self._database.fetch_one("delete_secret", params, action) is not None

    async def under_other_keys(self, key_id: str, *, after: str | None, limit: int) -> Sequence[StoredSecret]:
        params = {"key_id": key_id, "after": after, "limit": limit}
        rows = await self._database.fetch_all("secrets_under_other_keys", params, "looking for secrets to rotate")
        return [_row(row) for row in rows]

    async def reseal(self, row: StoredSecret, sealed: Sealed) -> bool:
        params = {
            "id": row.secret_id,
            "old_nonce": row.sealed.nonce,
            "ciphertext": sealed.ciphertext,
            "nonce": sealed.nonce,
            "key_id": sealed.key_id,
        }
        action = f"rotating a secret of guild {row.guild_id}"
        return await self._database.fetch_one("reseal_secret", params, action) is not None


def _row(row: Row) -> StoredSecret:
    return StoredSecret(
        secret_id=str(row["id"]),
        guild_id=GuildId(row["guild_id"]),
        name=row["name"],
        sealed=Sealed(ciphertext=bytes(row["ciphertext"]), nonce=bytes(row["nonce"]), key_id=row["key_id"]),
        allowed_hosts=tuple(row["allowed_hosts"]),
    )
