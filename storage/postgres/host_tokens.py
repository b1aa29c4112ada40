"""API tokens without a running flora, for the command line on its host. Every change leaves a line in the audit log.

All of them bring the schema up to date first, block, and raise StorageError or Unavailable as the stores do.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from psycopg.rows import DictRow, dict_row

from flora.messages.audit import AuditLine
from flora.messages.deployment import DeployActor
from flora.storage import token_text
from flora.storage.ports import TokenRecord
from flora.storage.postgres.audit import audit_params
from flora.storage.postgres.errors import translated
from flora.storage.postgres.migrate import migrate
from flora.storage.postgres.queries import QUERIES
from flora.storage.postgres.tokens import new_token

CONNECT_LIMIT_S = 5


def create_token(url: str, user_id: str, label: str | None, expires_at: datetime | None = None) -> str:
    """Makes an API token.

    Returns:
        The plaintext, which exists nowhere else.
    Raises:
        Conflict: the user has too many.
    """
    params, plaintext = new_token(user_id, label, expires_at)
    with _connected(url, f"creating a token for user {user_id}") as connection:
        if connection.execute(QUERIES["insert_token"], params).fetchone() is None:
            raise token_text.too_many()
        _tell(connection, "token.create", params["token_id"], user_id)
    return plaintext


def list_tokens(url: str, user_id: str) -> list[TokenRecord]:
    """A user's tokens, newest first."""
    with _connected(url, f"listing the tokens of user {user_id}") as connection:
        return [TokenRecord(**row) for row in connection.execute(QUERIES["tokens_of_user"], {"user_id": user_id})]


def delete_token(url: str, user_id: str, token_id: str) -> bool:
    """Deletes one of a user's tokens. False: this user has no such token."""
    with _connected(url, f"deleting a token of user {user_id}") as connection:
        params = {"user_id": user_id, "token_id": token_id}
        if connection.execute(QUERIES["delete_token"], params).fetchone() is None:
            return False
        _tell(connection, "token.delete", token_id, user_id)
        return True


@contextmanager
def _connected(url: str, action: str) -> Iterator[psycopg.Connection[DictRow]]:
    migrate(url, wait_s=0)
    with (
        translated(action),
        psycopg.connect(url, connect_timeout=CONNECT_LIMIT_S, row_factory=dict_row) as connection,
    ):
        yield connection


def _tell(connection: psycopg.Connection[DictRow], action: str, token_id: str, user_id: str) -> None:
    line = AuditLine(
        line_id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        guild_id=None,
        actor=DeployActor(kind="system", user_id=None, username=None),
        action=action,
        target=token_id,
        details={"user_id": user_id},
    )
    connection.execute(QUERIES["insert_audit_line"], audit_params(line))
