"""The one place where psycopg's errors become flora's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from flora.messages.errors import FloraError, MailboxFull, StorageError, TimedOut, Unavailable


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raises what happens inside as a `FloraError`.

    Args:
        action: What was being done, as the beginning of a sentence: "reading the deployment of guild 1".
    Raises:
        Unavailable: Postgres cannot be reached, is full or too slow: the same call may work later.
        StorageError: Postgres refused; the same call will be refused again.
    """
    try:
        yield
    except (psycopg.Error, TimeoutError, UnicodeEncodeError) as exc:
        raise _as_flora_error(action, exc) from exc


def _as_flora_error(action: str, exc: Exception) -> FloraError:
    match exc:
        case TooManyRequests():
            return MailboxFull(f"{action}: too many callers wait for a database connection; try again")
        case PoolTimeout():
            return Unavailable(f"{action}: no database connection became free in time; try again")
        case PoolClosed():
            return Unavailable(f"{action}: the database connections are closed")
        case TimeoutError() | psycopg.errors.QueryCanceled():
            return TimedOut(f"{action}: the database did not answer in time")
        # DataError before its siblings: NUL characters and broken Unicode are found on this side of the wire.
        case psycopg.DataError() | UnicodeEncodeError():
            return StorageError(f"{action}: a text cannot be stored: {_reason(exc)}")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Unavailable(f"{action}: the database is not available: {_reason(exc)}")
        case psycopg.Error():
            return StorageError(f"{action}: the database refused: {_reason(exc)}", sqlstate=exc.sqlstate or "")
    return StorageError(f"{action}: {_reason(exc)}")


def _reason(exc: Exception) -> str:
    """The first line only: what follows may quote rows, and rows hold other people's code."""
    if isinstance(exc, psycopg.Error) and exc.diag.message_primary:
        return exc.diag.message_primary
    return (str(exc).splitlines() or [type(exc).__name__])[0]
