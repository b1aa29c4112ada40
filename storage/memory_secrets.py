"""`SecretStore` in memory: for tests, and for trying things without a server."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace

from flora.messages.ids import GuildId
from flora.storage.ports import StoredSecret
from flora.storage.secret_cipher import Sealed


class MemorySecretStore:
    """`SecretStore` in a dictionary."""

    def __init__(self) -> None:
        self._rows: dict[tuple[GuildId, str], StoredSecret] = {}
        self._versions = itertools.count(1)

    async def next_version(self) -> int:
        return next(self._versions)

    async def of_guild(self, guild_id: GuildId) -> Sequence[StoredSecret]:
        return [self._rows[key] for key in sorted(self._rows) if key[0] == guild_id]

    async def put(self, guild_id: GuildId, name: str, sealed: Sealed, allowed_hosts: Sequence[str]) -> None:
        known = self._rows.get((guild_id, name))
        self._rows[guild_id, name] = StoredSecret(
            secret_id=known.secret_id if known else str(uuid.uuid4()),
            guild_id=guild_id,
            name=name,
            sealed=sealed,
            allowed_hosts=tuple(allowed_hosts),
        )

    async def delete(self, guild_id: GuildId, name: str) -> bool:
        return self._rows.pop((guild_id, name), None) is not None

    async def under_other_keys(self, key_id: str, *, after: str | None, limit: int) -> Sequence[StoredSecret]:
        rows = sorted(self._rows.values(), key=lambda row: row.secret_id)
        due = [row for row in rows if row.sealed.key_id != key_id and (after is None or row.secret_id > after)]
        return due[:limit]

    async def reseal(self, row: StoredSecret, sealed: Sealed) -> bool:
        known = self._rows.get((row.guild_id, row.name))
        if known is None or known.secret_id != row.secret_id or known.sealed.nonce != row.sealed.nonce:
            return False
        self._rows[row.guild_id, row.name] = replace(known, sealed=sealed)
        return True
