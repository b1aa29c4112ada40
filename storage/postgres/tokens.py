"""API tokens in table `user_tokens`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flora.messages.ids import UserId
from flora.storage import token_text
from flora.storage.ports import TokenRecord
from flora.storage.postgres.database import Database


class PostgresTokenStore:
    """`TokenStore` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserId, label: str | None, expires_at: datetime | None = None) -> str:
        params, plaintext = new_token(user_id, label, expires_at)
        if await self._database.fetch_one("insert_token", params, f"creating a token for user {user_id}") is None:
            raise token_text.too_many()
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


def new_token(user_id: str, label: str | None, expires_at: datetime | None) -> tuple[dict[str, Any], str]:
    """A fresh token: parameters of the query that stores it, and its plaintext."""
    token_id, plaintext = token_text.make_token()
    params = {
        "token_id": token_id,
        "user_id": user_id,
        "label": label,
        "token_hash": token_text.hash_of(plaintext),
        "expires_at": expires_at,
        "max_per_user": token_text.MAX_PER_USER,
        "expired_kept_days": token_text.EXPIRED_KEPT_DAYS,
    }
    return params, plaintext
