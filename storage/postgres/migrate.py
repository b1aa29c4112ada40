"""Brings a database to the schema this version needs.

Migrations are the files migrations/NNNN_name.sql, forward only, each in a transaction of its own together with its line
in the ledger `flora_migrations`. Several processes may start at once: an advisory lock lets one work and the others
find nothing left to do. The first five adopt a database of the Rust runtime where they meet one; its own ledger
(`_sqlx_migrations`) is left alone, so that it could open the database again.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flora.messages.errors import ConfigError, StorageError
from flora.storage.backoff import Backoff
from flora.storage.postgres.errors import translated

Progress = Callable[[str], None]

LOCK_KEY = 0x666C6F7261  # "flora" in ASCII; any number that nobody else in this database uses
LOCK_LIMIT_MS = 120_000  # somebody else's migration may copy a large table meanwhile
CONNECT_BACKOFF = Backoff(first_s=0.1, cap_s=2.0)

_LEDGER = """
CREATE TABLE IF NOT EXISTS flora_migrations (
    number      integer PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step. `checksum` is the SHA-256 of the file's text with line ends as LF."""

    number: int
    name: str
    sql: str
    checksum: str


def load_migrations() -> tuple[Migration, ...]:
    """The migrations of this version, in order: 1, 2, 3 …"""
    folder = resources.files(__package__).joinpath("migrations")
    files = [file for file in folder.iterdir() if _is_step(file.name)]
    found = [_migration(file.name, file.read_text(encoding="utf-8")) for file in files]
    return tuple(sorted(found, key=lambda migration: migration.number))


def migrate(
    url: str,
    progress: Progress | None = None,
    *,
    wait_s: float = 30.0,
    migrations: Sequence[Migration] | None = None,
) -> int:
    """Applies what is missing.

    Blocks: call it before serving begins, not on an actor's thread.

    Args:
        progress: Called with one sentence per step, on this thread.
        wait_s: How long to keep trying while the server cannot be reached.
        migrations: For tests; default: those of this version.
    Returns:
        How many were applied now; 0: the database was up to date.
    Raises:
        Unavailable: the server was not reached within `wait_s`, or somebody else holds the lock.
        ConfigError: the URL is malformed.
        StorageError: a step failed and was rolled back, an applied one was edited since, or the database is newer
            than this version. Earlier steps stay applied.
    """
    say = progress or _silent
    _check_url(url)
    steps = tuple(migrations) if migrations is not None else load_migrations()
    with translated("connecting to the database"):
        connection = _connect(url, wait_s, say)
    with connection, translated("reading which migrations were applied"):
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [str(LOCK_LIMIT_MS)])
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        connection.execute(_LEDGER)
        pending = _pending(connection, steps)
        for index, step in enumerate(pending, start=1):
            say(f"migration {index} of {len(pending)}: {step.name.replace('_', ' ')}")
            _apply(connection, step)
    return len(pending)


def _check_url(url: str) -> None:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Without its cause: libpq's text quotes the URL, and the URL has a password.
        raise ConfigError("database.url (DATABASE_URL) is not a Postgres URL") from None


def _connect(url: str, wait_s: float, say: Progress) -> psycopg.Connection:
    deadline = time.monotonic() + wait_s
    rng = random.Random()
    failures = 0
    while True:
        try:
            # Autocommit: the lock belongs to the session, each step begins a transaction of its own.
            return psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="flora migrations")
        except psycopg.OperationalError as exc:
            failures += 1
            delay_s = CONNECT_BACKOFF.delay_s(failures, rng)
            if time.monotonic() + delay_s > deadline:
                raise
            say(f"waiting for the database ({str(exc).splitlines()[0]})")
            time.sleep(delay_s)


def _pending(connection: psycopg.Connection, steps: Sequence[Migration]) -> list[Migration]:
    known = {step.number: step for step in steps}
    applied = connection.execute("SELECT number, name, checksum FROM flora_migrations ORDER BY number").fetchall()
    for number, name, checksum in applied:
        if number not in known:
            raise StorageError(
                f"the database has migration {number:04}_{name}, which this version of flora does not know; "
                "start the version that made it, or a newer one",
                number=number,
            )
        if known[number].checksum != checksum:
            raise StorageError(
                f"migration {number:04}_{name} was edited after this database had applied it; "
                "put the file back as it was and make the change a new migration",
                number=number,
            )
    done = {number for number, _, _ in applied}
    return [step for step in steps if step.number not in done]


def _apply(connection: psycopg.Connection, step: Migration) -> None:
    started = time.monotonic()
    with translated(f"migration {step.number:04}_{step.name}"), connection.transaction():
        connection.execute(step.sql)
        connection.execute(
            "INSERT INTO flora_migrations (number, name, checksum, duration_ms) VALUES (%s, %s, %s, %s)",
            [step.number, step.name, step.checksum, round((time.monotonic() - started) * 1000)],
        )


def _migration(file_name: str, text: str) -> Migration:
    number, _, name = file_name.removesuffix(".sql").partition("_")
    sql = text.replace("\r\n", "\n")
    return Migration(number=int(number), name=name, sql=sql, checksum=hashlib.sha256(sql.encode()).hexdigest())


def _is_step(file_name: str) -> bool:
    return file_name.endswith(".sql") and file_name[:4].isdigit()


def _silent(_: str) -> None:
    """Nobody listens."""
