from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from flora.messages.errors import ConfigError, StorageError, Unavailable
from flora.messages.ids import GuildId, UserId
from flora.storage.postgres import Database, PostgresDeploymentStore, PostgresTokenStore, create_token, migrate
from flora.storage.postgres.migrate import LOCK_KEY, Migration, load_migrations

pytestmark = pytest.mark.service

# What the Rust runtime's nine migrations leave behind, written from their description; with its ledger.
RUST_SCHEMA = """
CREATE TABLE _sqlx_migrations (
    version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(),
    success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL
);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT n, 'step ' || n, true, '\\x00', 1 FROM generate_series(1, 9) AS n;
CREATE TABLE deployments (
    guild_id text PRIMARY KEY, entry text NOT NULL, bundle text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    source_map jsonb, files jsonb
);
CREATE TABLE user_tokens (
    token_id text PRIMARY KEY, user_id text NOT NULL, label text, token_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), last_used_at timestamptz
);
CREATE TABLE kv_stores (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), guild_id text NOT NULL, store_name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (guild_id, store_name)
);
CREATE INDEX idx_kv_stores_guild_id ON kv_stores (guild_id);
CREATE TABLE guild_secrets (
    id uuid PRIMARY KEY, guild_id text NOT NULL, name text NOT NULL, ciphertext bytea NOT NULL, nonce bytea NOT NULL,
    allowed_hosts text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (guild_id, name)
);
CREATE TABLE deployment_revisions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), guild_id text NOT NULL, entry text NOT NULL, files jsonb,
    bundle text NOT NULL, source_map jsonb, status text NOT NULL CHECK (status IN ('success', 'failed')),
    deployed_at timestamptz NOT NULL DEFAULT now(), deploy_source text NOT NULL, actor_user_id text,
    actor_username text, actor_type text NOT NULL, error_message text, build_id text,
    base_revision_id uuid REFERENCES deployment_revisions (id) ON DELETE SET NULL, change_summary jsonb
);
CREATE INDEX idx_deployment_revisions_guild_deployed_at
    ON deployment_revisions (guild_id, deployed_at DESC, id DESC);
CREATE INDEX idx_deployment_revisions_guild_status_deployed_at
    ON deployment_revisions (guild_id, status, deployed_at DESC, id DESC);
"""

RUST_DATA = """
INSERT INTO deployments (guild_id, entry, bundle, source_map, files, created_at, updated_at) VALUES
    ('1', 'src/main.ts', 'on("ready", () => {})', '{"path": "bundle.js.map", "contents": "{}"}',
     '[{"path": "src/main.ts", "contents": "on()"}]', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    ('2', 'main.js', '1', NULL, NULL, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
INSERT INTO deployment_revisions
    (guild_id, entry, bundle, status, deploy_source, actor_type, change_summary, deployed_at)
    VALUES ('1', 'src/main.ts', 'on("ready", () => {})', 'success', 'cli', 'token',
            '{"added_files": 1, "removed_files": 2, "modified_files": 3}', '2026-01-02T00:00:00Z');
INSERT INTO guild_secrets (id, guild_id, name, ciphertext, nonce)
    VALUES ('6f1c8b52-1111-4111-8111-111111111111', '1', 'KEY', '\\x01', '\\x02');
"""


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


def test_given_both_ways_to_get_there_then_the_columns_are_the_same(postgres_url: str) -> None:
    migrate(postgres_url)
    fresh = columns(postgres_url)
    run(postgres_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", RUST_SCHEMA)

    migrate(postgres_url)

    assert columns(postgres_url) == fresh


async def test_given_a_database_of_the_rust_runtime_when_opened_then_its_data_works(postgres_url: str) -> None:
    token = "abcdefABCDEF.0123456789abcdef0123456789ABCDEF"
    token_hash = hashlib.sha256(token.encode()).hexdigest()
    run(
        postgres_url,
        RUST_SCHEMA,
        RUST_DATA,
        f"INSERT INTO user_tokens (token_id, user_id, token_hash) VALUES ('abcdefABCDEF', '77', '{token_hash}')",
    )

    migrate(postgres_url)

    database = Database(postgres_url)
    await database.open()
    store = PostgresDeploymentStore(database)
    deployment = await store.current(GuildId("1"))
    assert deployment is not None
    assert deployment.files is not None
    assert deployment.files[0].path == "src/main.ts"
    known = await store.latest_success(GuildId("1"))
    assert known is not None
    assert known.deploy_source == "cli"
    assert known.change_summary is not None
    assert known.change_summary.modified_files == 3
    explained = await store.latest_success(GuildId("2"), include_bundle=True)
    assert explained is not None
    assert (explained.deploy_source, explained.actor.kind, explained.bundle) == ("unknown", "system", "1")
    assert len(await store.history(GuildId("1"), 10)) == 1
    assert await PostgresTokenStore(database).authenticate(token) == UserId("77")
    await database.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM _sqlx_migrations").fetchone() == (9,)
        assert connection.execute("SELECT name FROM guild_secrets").fetchone() == ("KEY",)


async def test_given_a_rust_database_before_revisions_and_maps_when_opened_then_what_is_missing_is_added(
    postgres_url: str,
) -> None:
    run(
        postgres_url,
        "CREATE TABLE deployments (guild_id text PRIMARY KEY, entry text NOT NULL, files jsonb NOT NULL, "
        "bundle text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), "
        "updated_at timestamptz NOT NULL DEFAULT now())",
        "INSERT INTO deployments (guild_id, entry, files, bundle) VALUES ('1', 'a.ts', '[]', '1')",
    )

    migrate(postgres_url)

    database = Database(postgres_url)
    await database.open()
    assert await PostgresDeploymentStore(database).latest_success(GuildId("1")) is not None
    await database.close()


def test_given_tables_too_old_to_take_over_then_it_is_said_and_nothing_is_changed(postgres_url: str) -> None:
    run(postgres_url, "CREATE TABLE deployments (guild_id text PRIMARY KEY, script text NOT NULL)")

    with pytest.raises(StorageError, match="too old to take over"):
        migrate(postgres_url)

    assert columns(postgres_url) == {
        ("deployments", "guild_id", "text", "NO"),
        ("deployments", "script", "text", "NO"),
    }


def test_given_the_same_token_twice_in_an_old_database_then_it_still_opens(postgres_url: str) -> None:
    run(
        postgres_url,
        RUST_SCHEMA,
        "INSERT INTO user_tokens (token_id, user_id, token_hash) VALUES ('a', '1', 'same'), ('b', '1', 'same')",
    )

    assert migrate(postgres_url) == len(load_migrations())


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
