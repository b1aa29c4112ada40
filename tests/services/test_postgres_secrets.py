"""Secrets of a reference database, and a rotation of their key that is killed in the middle."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid

import psycopg
import pytest
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from flora.actors.secret_service import SecretService
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId
from flora.storage.postgres import Database, PostgresSecretStore, migrate
from flora.storage.secret_cipher import KeyRing

pytestmark = pytest.mark.service

OLD, NEW = b"o" * 32, b"n" * 32
ROWS, BEFORE_DEATH = 150, 60
OPERATOR = DeployActor(kind="operator")

# As the reference makes it.
TABLE = """
CREATE TABLE guild_secrets (
    id uuid PRIMARY KEY, guild_id text NOT NULL, name text NOT NULL, ciphertext bytea NOT NULL, nonce bytea NOT NULL,
    allowed_hosts text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (guild_id, name)
)
"""

ROTATES_AND_DIES = """
import asyncio, os, signal, sys
from flora.actors.secret_service import SecretService
from flora.messages.deployment import DeployActor
from flora.storage.postgres import Database, PostgresSecretStore
from flora.storage.secret_cipher import KeyRing


class Dies(PostgresSecretStore):
    left = int(sys.argv[2])

    async def reseal(self, row, sealed):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return await super().reseal(row, sealed)


async def main():
    database = Database(sys.argv[1])
    await database.open()
    service = SecretService(Dies(database), KeyRing(b"n" * 32, [b"o" * 32]), None, None)
    await service.rotate(DeployActor(kind="operator"))


asyncio.run(main())
"""


class NoAudit:
    def record(self, *line: object) -> None:
        pass


async def nobody_runs(*_: object) -> None:
    pass


async def read(database: Database, *keys: bytes) -> dict[str, str]:
    service = SecretService(PostgresSecretStore(database), KeyRing(keys[0], keys[1:]), nobody_runs, NoAudit())
    found = (await service.for_load(GuildId("1"))).secrets
    assert found is not None
    return {entry.name: entry.value for entry in found.entries}


async def test_given_a_reference_database_when_its_rotation_is_killed_and_run_again_then_every_secret_is_there(
    postgres_url: str,
) -> None:
    values = {f"KEY_{number}": f"välue {number}" for number in range(ROWS)}
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLE)
        for name, value in values.items():
            nonce = uuid.uuid4().bytes + b"12345678"
            ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(value.encode(), None, nonce, OLD)
            connection.execute(
                "INSERT INTO guild_secrets (id, guild_id, name, ciphertext, nonce) VALUES (%s, '1', %s, %s, %s)",
                [uuid.uuid4(), name, ciphertext, nonce],
            )
    migrate(postgres_url)
    database = Database(postgres_url)
    await database.open()
    try:
        assert await read(database, OLD) == values

        died = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ROTATES_AND_DIES, postgres_url, str(BEFORE_DEATH)
        )
        await asyncio.wait_for(died.wait(), 15)
        halfway = await read(database, NEW, OLD)
        service = SecretService(PostgresSecretStore(database), KeyRing(NEW, [OLD]), nobody_runs, NoAudit())
        found = await service.rotate(OPERATOR)

        assert died.returncode == -signal.SIGKILL
        assert halfway == values
        assert (found["rotated"], found["bound"], found["unreadable_count"]) == (*[ROWS - BEFORE_DEATH] * 2, 0)
        assert await read(database, NEW) == values
    finally:
        await database.close()
