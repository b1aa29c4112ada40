"""One blocking Postgres connection with named queries, for the key-value stores of a guild."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from flora.messages.errors import StorageError, Unavailable
from flora.storage.postgres.errors import translated
from flora.storage.postgres.queries import QUERIES

CONNECT_LIMIT_S = 5
ANSWER_LIMIT_MS = 10_000  # per statement, kept by the server


class KvConnection:
    """Connects when it is first used, and again after the connection broke. Use on one thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[DictRow] | None = None
        self._in_batch = False

    def fetch_one(self, query: str, params: Mapping[str, Any]) -> DictRow | None:
        """The first row of a named query, or None."""
        with translated("using a key-value store"):
            return self._connected().execute(QUERIES[query], params).fetchone()

    def fetch_all(self, query: str, params: Mapping[str, Any]) -> list[DictRow]:
        """All rows of a named query."""
        with translated("using a key-value store"):
            return self._connected().execute(QUERIES[query], params).fetchall()

    def execute(self, query: str, params: Mapping[str, Any]) -> None:
        """Runs a named query that gives no rows."""
        with translated("using a key-value store"):
            self._connected().execute(QUERIES[query], params)

    def execute_many(self, query: str, rows: Iterator[Mapping[str, Any]]) -> None:
        """Runs a named query once per row, without waiting in between."""
        connection = self._connected()
        with translated("using a key-value store"), connection.cursor() as cursor:
            cursor.executemany(QUERIES[query], rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end of the block, rolls back when it raises; inside a batch the batch does so."""
        if self._in_batch:
            yield
            return
        connection = self._connected()
        with translated("using a key-value store"), connection.transaction():
            yield

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction for all calls inside; those inside another batch belong to that."""
        if self._in_batch:
            yield
            return
        with self.transaction():
            self._in_batch = True
            try:
                yield
            finally:
                self._in_batch = False
            # A statement failed and the caller went on: the server would turn the commit into a rollback and say nothing.
            if self._connected().info.transaction_status is not TransactionStatus.INTRANS:
                raise StorageError("using a key-value store: one call of a batch failed, and with it the others")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[DictRow]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._in_batch:
            raise Unavailable(
                "using a key-value store: the database connection broke within a batch; nothing of it holds"
            )
        self._connection = connect(self._url)
        return self._connection


def connect(url: str) -> psycopg.Connection[DictRow]:
    """A connection that commits each statement."""
    with translated("connecting to the database"):
        connection = psycopg.connect(
            url, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_LIMIT_S, application_name="flora kv"
        )
        connection.execute(
            "SELECT set_config('timezone', 'UTC', false), set_config('statement_timeout', %s, false)",
            [str(ANSWER_LIMIT_MS)],
        )
        return connection
