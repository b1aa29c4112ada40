from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from flora.messages.errors import ConfigError, StorageError, Unavailable
from flora.messages.ids import UserId
from flora.storage.postgres import Database, PostgresTokenStore, create_token, migrate
from flora.storage.postgres.migrate import LOCK_KEY, Migration, load_migrations

pytestmark = pytest.mark.service


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def columns(url: str) -> set[tuple[str, str, str, str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name NOT IN ('_sqlx_migrations', 'flora_migrations')"
        )
        return set(rows.fetchall())


def test_given_an_empty_database_when_migrated_then_each_step_is_told_and_a_second_run_does_nothing(
    postgres_url: str,
) -> None:
    told: list[str] = []

    applied = migrate(postgres_url, told.append)

    assert applied == len(load_migrations()) == len(told)
    assert told[0] == f"migration 1 of {applied}: deployments"
    assert migrate(postgres_url, told.append) == 0
    assert len(told) == applied


def test_given_tables_too_old_to_take_over_then_it_is_said_and_nothing_is_changed(postgres_url: str) -> None:
    run(postgres_url, "CREATE TABLE deployments (guild_id text PRIMARY KEY, script text NOT NULL)")

    with pytest.raises(StorageError, match="too old to take over"):
        migrate(postgres_url)

    assert columns(postgres_url) == {
        ("deployments", "guild_id", "text", "NO"),
        ("deployments", "script", "text", "NO"),
    }


def test_given_a_migration_that_was_edited_later_then_it_is_named(postgres_url: str) -> None:
    migrate(postgres_url)
    steps = load_migrations()
    edited = (replace(steps[0], checksum="0" * 64), *steps[1:])

    with pytest.raises(StorageError, match=r"0001_deployments was edited"):
        migrate(postgres_url, migrations=edited)


def test_given_a_database_of_a_newer_flora_then_it_is_refused(postgres_url: str) -> None:
    migrate(postgres_url)
    run(
        postgres_url,
        "INSERT INTO flora_migrations (number, name, checksum, duration_ms) VALUES (999, 'later', 'x', 1)",
    )

    with pytest.raises(StorageError, match=r"0999_later, which this version of flora does not know"):
        migrate(postgres_url)


def test_given_a_step_that_fails_half_way_then_it_leaves_nothing_and_earlier_ones_stay(postgres_url: str) -> None:
    good = Migration(number=1, name="good", sql="CREATE TABLE good (x int)", checksum="1")
    bad = Migration(number=2, name="bad", sql="CREATE TABLE half (x int); SELECT 1/0", checksum="2")

    with pytest.raises(StorageError, match="0002_bad"):
        migrate(postgres_url, migrations=(good, bad))

    assert {table for table, *_ in columns(postgres_url)} == {"good"}
    assert migrate(postgres_url, migrations=(good, replace(bad, sql="CREATE TABLE whole (x int)"))) == 1


def test_given_four_processes_that_start_at_once_then_one_migrates(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(lambda _: migrate(postgres_url), range(4)))

    assert sorted(applied) == [0, 0, 0, len(load_migrations())]
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() == (True,)


def test_given_nobody_listens_then_the_wait_is_told_and_ends() -> None:
    told: list[str] = []

    with pytest.raises(Unavailable, match="connecting to the database"):
        migrate("postgresql://flora:sesame@/flora?host=/nonexistent", told.append, wait_s=0.5)

    assert told
    assert "sesame" not in "".join(told)


@pytest.mark.parametrize("url", ["posgres//flora:sesame@localhost/flora", "postgresql://flora:sesame@localhost/x?y=z"])
def test_given_a_url_of_nothing_then_it_is_a_config_error_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        migrate(url)

    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_given_an_empty_database_when_a_token_is_made_from_the_command_line_then_it_works(
    postgres_url: str,
) -> None:
    token = create_token(postgres_url, "42", "ci")

    database = Database(postgres_url)
    await database.open()
    assert await PostgresTokenStore(database).authenticate(token) == UserId("42")
    await database.close()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [step.number for step in load_migrations()] == list(range(1, len(load_migrations()) + 1))
