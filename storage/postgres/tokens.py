"""API tokens in table `user_tokens`."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from flora.messages.ids import UserId
from flora.storage import token_text
from flora.storage.ports import TokenRecord
from flora.storage.postgres.database import Database
from flora.storage.postgres.errors import translated
from flora.storage.postgres.migrate import migrate
from flora.storage.postgres.queries import QUERIES


class PostgresTokenStore:
    """`TokenStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserId, label: str | None) -> str:
        params, plaintext = _new_token(user_id, label)
        await self._database.execute("insert_token", params, f"creating a token for user {user_id}")
        return plaintext

    async def authenticate(self, plaintext: str) -> UserId | None:
        if not token_text.is_plausible(plaintext):
            return None
        params = {"token_hash": token_text.hash_of(plaintext), "stamp_every_s": token_text.STAMP_EVERY_S}
        row = await self._database.fetch_one("user_of_token", params, "checking a token")
        return UserId(row["user_id"]) if row else None

    async def list(self, user_id: UserId) -> Sequence[TokenRecord]:
        action = f"listing the tokens of user {user_id}"
        rows = await self._database.fetch_all("tokens_of_user", {"user_id": user_id}, action)
        return [TokenRecord(**row) for row in rows]

    async def delete(self, user_id: UserId, token_id: str) -> bool:
        params = {"user_id": user_id, "token_id": token_id}
        return await self._database.fetch_one("delete_token", params, f"deleting a token of user {user_id}") is not None


def create_token(url: str, user_id: str, label: str | None) -> str:
    """Makes an API token without a running flora; for the command line. Brings the schema up to date first.

    Returns:
        The plaintext, which exists nowhere else.
    Raises:
        StorageError, Unavailable: as the store itself; nothing was made.
    """
    migrate(url, wait_s=0)
    params, plaintext = _new_token(user_id, label)
    with translated(f"creating a token for user {user_id}"), psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute(QUERIES["insert_token"], params)
    return plaintext


def _new_token(user_id: str, label: str | None) -> tuple[dict[str, str | None], str]:
    token_id, plaintext = token_text.make_token()
    params = {"token_id": token_id, "user_id": user_id, "label": label, "token_hash": token_text.hash_of(plaintext)}
    return params, plaintext
