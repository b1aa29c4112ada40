"""The connection pool. One per actor that uses Postgres, opened where that actor starts.

Survives a server that is killed and comes back: idle connections are tried before they are handed out, broken ones are
replaced, and attempts to reconnect never grow further apart than RECONNECT_ROUND_S while somebody asks. A server that
stands still costs each caller its limit and no more.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from flora.storage.postgres.errors import translated
from flora.storage.postgres.queries import QUERIES

CHECKOUT_LIMIT_S = 5.0  # longer than the embedded server needs to come back
ANSWER_LIMIT_S = 30.0  # per statement, kept by the server
CUT_GRACE_S = 1.0  # the server ends a slow statement and keeps the connection; only one that does not is cut off
CHECK_LIMIT_S = 2.0
CONNECT_LIMIT_S = 5
RECONNECT_ROUND_S = 4.0  # the library doubles its delay within one round; a short round keeps it below this
MAX_WAITING = 200  # callers in line for a connection; beyond that an honest refusal is quicker

Params = Mapping[str, Any]
Row = dict[str, Any]


class Transaction:
    """Queries that happen together or not at all; exists only inside `Database.transaction`."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self._connection = connection

    async def fetch_one(self, query: str, params: Params) -> Row | None:
        """The first row of a named query, or None."""
        cursor = await self._connection.execute(QUERIES[query], params)
        return await cursor.fetchone()

    async def execute(self, query: str, params: Params) -> None:
        """Runs a named query that returns no rows."""
        await self._connection.execute(QUERIES[query], params)


class Database:
    """Named queries on pooled connections.

    Use on one asyncio loop. `action` says for error texts what was being done. All methods raise only `StorageError`
    and `Unavailable`.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 5,
        answer_limit_s: float = ANSWER_LIMIT_S,
        checkout_limit_s: float = CHECKOUT_LIMIT_S,
    ) -> None:
        self._answer_limit_s = answer_limit_s
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=AsyncConnection[DictRow],
            kwargs={
                "autocommit": True,  # one statement needs one round trip; `transaction` begins its own
                "row_factory": dict_row,
                "connect_timeout": CONNECT_LIMIT_S,
                "application_name": "flora",
            },
            min_size=1,
            max_size=max(1, max_connections),
            open=False,
            configure=self._configure,
            check=self._check,
            timeout=checkout_limit_s,
            max_waiting=MAX_WAITING,
            reconnect_timeout=RECONNECT_ROUND_S,
            name="flora",
        )

    async def open(self) -> None:
        """Starts connecting in the background; the server need not be up."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Closes every connection; callers in line are refused."""
        await self._pool.close()

    async def fetch_all(self, query: str, params: Params, action: str) -> list[Row]:
        """All rows of a named query."""
        async with self._connection(action) as connection:
            cursor = await connection.execute(QUERIES[query], params)
            return await cursor.fetchall()

    async def fetch_one(self, query: str, params: Params, action: str) -> Row | None:
        """The first row of a named query, or None."""
        async with self._connection(action) as connection:
            cursor = await connection.execute(QUERIES[query], params)
            return await cursor.fetchone()

    async def execute(self, query: str, params: Params, action: str) -> None:
        """Runs a named query that returns no rows."""
        async with self._connection(action) as connection:
            await connection.execute(QUERIES[query], params)

    @asynccontextmanager
    async def transaction(self, action: str) -> AsyncIterator[Transaction]:
        """Commits when the block ends, rolls back when it raises.

        An `Unavailable` from here leaves open whether the commit arrived; read before you draw conclusions.
        """
        async with self._connection(action) as connection, connection.transaction():
            yield Transaction(connection)

    @asynccontextmanager
    async def _connection(self, action: str) -> AsyncIterator[AsyncConnection[DictRow]]:
        with translated(action):
            async with self._pool.connection() as connection:
                with _cut_off(connection, self._answer_limit_s + CUT_GRACE_S):
                    yield connection

    async def _configure(self, connection: AsyncConnection[DictRow]) -> None:
        limit_ms = int(self._answer_limit_s * 1000)
        await connection.execute(
            "SELECT set_config('timezone', 'UTC', false), set_config('statement_timeout', %s, false)", [str(limit_ms)]
        )

    @staticmethod
    async def _check(connection: AsyncConnection[DictRow]) -> None:
        with _cut_off(connection, CHECK_LIMIT_S):
            await AsyncConnectionPool.check_connection(connection)


@contextmanager
def _cut_off(connection: AsyncConnection[DictRow], limit_s: float) -> Iterator[None]:
    """Shuts the connection's socket down if the block takes longer, which ends it with TimeoutError.

    Cancelling would not do: psycopg 3.3 answers it by asking the server to cancel and then waits for the server, and
    one that stands still never answers.
    """
    was_cut = False

    def cut() -> None:
        nonlocal was_cut
        was_cut = True
        _shut_down(connection)

    timer = asyncio.get_running_loop().call_later(limit_s, cut)
    try:
        yield
    except psycopg.OperationalError as exc:
        if was_cut:
            raise TimeoutError(f"no answer within {limit_s:g} s") from exc
        raise
    finally:
        timer.cancel()


def _shut_down(connection: AsyncConnection[DictRow]) -> None:
    try:
        # A duplicate: closing it leaves the descriptor alone that libpq still holds.
        with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError):
        pass  # closed already
