"""A database of the Rust runtime opens and works: at its newest state, and two of its migrations back.

Both are built here from the description of its tables. Two migrations back there were no revisions, and deployments had no files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from flora.actors.compile_cache import Script
from flora.actors.deploy_service import DeployService
from flora.messages.deployment import Compiled, Deploy, DeployActor, ListRevisions, RollBack, Undeploy
from flora.messages.ids import GuildId, ReqId, UserId
from flora.storage.kv import KvFiles
from flora.storage.kv.adopt import adopt
from flora.storage.postgres import (
    Database,
    PostgresAuditLog,
    PostgresDeploymentStore,
    PostgresKv,
    PostgresKvIndex,
    PostgresSecretStore,
    PostgresTokenStore,
    all_kv_stores,
    migrate,
)
from flora.storage.postgres.migrate import load_migrations
from flora.storage.secret_cipher import KeyRing

pytestmark = pytest.mark.service

NEWEST, TWO_BACK = 9, 7
STATES = pytest.mark.parametrize("state", [NEWEST, TWO_BACK], ids=["newest", "two back"])

LEDGER = """
CREATE TABLE _sqlx_migrations (
    version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(),
    success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL
);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT n, 'step ' || n, true, '\\x00', 1 FROM generate_series(1, {state}) AS n;
"""

TABLES = """
CREATE TABLE deployments (
    guild_id text PRIMARY KEY, entry text NOT NULL, bundle text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), source_map jsonb
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
"""

REVISIONS = """
ALTER TABLE deployments ADD COLUMN files jsonb;
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

DATA = """
INSERT INTO deployments (guild_id, entry, bundle, source_map, created_at, updated_at) VALUES
    ('1', 'src/main.ts', 'one()', '{"path": "bundle.js.map", "contents": "{}"}', '2026-01-01T00:00:00Z',
     '2026-01-02T00:00:00Z'),
    ('2', 'main.js', 'two()', NULL, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
INSERT INTO kv_stores (guild_id, store_name) VALUES ('1', 'counters'), ('2', 'counters');
"""

REVISION_DATA = """
UPDATE deployments SET files = '[{"path": "src/main.ts", "contents": "one()"}]' WHERE guild_id = '1';
INSERT INTO deployment_revisions
    (guild_id, entry, bundle, files, source_map, status, deploy_source, actor_type, actor_user_id, actor_username,
     error_message, change_summary, deployed_at)
VALUES
    ('1', 'src/main.ts', 'one()', '[{"path": "src/main.ts", "contents": "one()"}]',
     '{"path": "bundle.js.map", "contents": "{}"}', 'success', 'cli', 'token', '77', 'ada', NULL,
     '{"added_files": 1, "removed_files": 2, "modified_files": 3}', '2026-01-02T00:00:00Z'),
    ('1', 'src/main.ts', 'bad(', NULL, NULL, 'failed', 'webui', 'session', '77', 'ada', 'SyntaxError', NULL,
     '2026-01-03T00:00:00Z'),
    ('2', 'main.js', 'two()', NULL, NULL, 'success', 'unknown', 'system', NULL, NULL, NULL, NULL, '2026-01-01T00:00:00Z');
"""

TOKEN = "abcdefABCDEF.0123456789abcdef0123456789ABCDEF"
MASTER_KEY = bytes(range(32))
SECRET_ID = "6f1c8b52-1111-4111-8111-111111111111"
G = GuildId("1")
ANN = DeployActor(kind="token", user_id="7", username="ann")


class Host:
    """Runs scripts by remembering them."""

    def __init__(self) -> None:
        self.running: dict[GuildId, str] = {}

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        return Compiled(script=script.bundle or "", source_map=None)

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        await asyncio.sleep(0)
        self.running[guild_id] = compiled.script

    def stored(self, guild_id: GuildId) -> None: ...

    async def unload(self, guild_id: GuildId) -> None:
        self.running.pop(guild_id, None)


def make_reference(url: str, state: int, *, filled: bool = True) -> None:
    """What the Rust runtime's first `state` migrations leave behind, and with it some of everything it stores."""
    with psycopg.connect(url) as connection:
        connection.execute(LEDGER.format(state=state))
        connection.execute(TABLES)
        if state == NEWEST:
            connection.execute(REVISIONS)
        if not filled:
            return
        connection.execute(DATA)
        if state == NEWEST:
            connection.execute(REVISION_DATA)
        token_hash = hashlib.sha256(TOKEN.encode()).hexdigest()
        connection.execute(
            "INSERT INTO user_tokens (token_id, user_id, token_hash) VALUES ('abcdefABCDEF', '77', %s)", [token_hash]
        )
        nonce = os.urandom(24)
        ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(b"s3cret", None, nonce, MASTER_KEY)
        connection.execute(
            "INSERT INTO guild_secrets (id, guild_id, name, ciphertext, nonce, allowed_hosts) "
            "VALUES (%s, '1', 'KEY', %s, %s, '{example.com}')",
            [SECRET_ID, ciphertext, nonce],
        )


def shape(url: str) -> tuple[set[Any], set[Any]]:
    """Columns with their types, and indexes by table and columns: their names may differ."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name NOT IN ('_sqlx_migrations', 'flora_migrations')"
        ).fetchall()
        indexes = connection.execute(
            "SELECT tablename, regexp_replace(indexdef, 'INDEX \\S+ ON', 'ON') FROM pg_indexes "
            "WHERE schemaname = 'public' AND tablename NOT IN ('_sqlx_migrations', 'flora_migrations')"
        ).fetchall()
    return set(columns), set(indexes)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
async def database(postgres_url: str) -> Any:
    opened = Database(postgres_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def service(database: Database, host: Host) -> DeployService:
    starter = Script(entry="src/main.ts", files=None, bundle="starter", source_map=None)
    store = PostgresDeploymentStore(database)
    return DeployService(store, host, max_script_bytes=1000, workers=2, starter=lambda: starter)


@STATES
def test_given_all_ways_to_get_there_then_tables_and_indexes_are_the_same(postgres_url: str, state: int) -> None:
    migrate(postgres_url)
    fresh = shape(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    make_reference(postgres_url, state, filled=False)

    applied = migrate(postgres_url)

    assert applied == len(load_migrations())
    assert shape(postgres_url) == fresh
    assert migrate(postgres_url) == 0


@STATES
async def test_given_a_database_of_the_rust_runtime_when_opened_then_its_deployments_run_and_can_be_changed(
    postgres_url: str, service: DeployService, host: Host, database: Database, state: int
) -> None:
    make_reference(postgres_url, state)
    migrate(postgres_url)

    restored = await service.restore()
    await service.joined(GuildId("2"))
    assert restored == {"restored": 2, "failed": {}, "still_loading": []}
    assert host.running == {"1": "one()", "2": "two()"}, "no guild is taken for a new one"
    shown = await service.describe(G, include_bundle=True)
    assert (shown["bundle"], shown["source_map"]["path"]) == ("one()", "bundle.js.map")
    assert shown["updated_at"] == "2026-01-02T00:00:00.000000+00:00"

    answer = await service.deploy(
        Deploy(
            req_id=ReqId("d"), guild_id=G, entry="m.js", files=None, bundle="new()", source_map=None, source="api", actor=ANN
        )
    )  # fmt: skip
    assert answer["created_at"] == "2026-01-01T00:00:00.000000+00:00"
    assert host.running[G] == "new()"
    history = (await service.history(ListRevisions(req_id=ReqId("h"), guild_id=G, limit=10)))["revisions"]
    first = history[-1]
    assert [row["status"] for row in history] == (
        ["success", "failed", "success"] if state == NEWEST else ["success"] * 2
    )
    assert history[0]["base_revision_id"] == first["id"]
    assert (first["deploy_source"], first["actor"]["actor_type"]) == (
        *(("cli", "token") if state == NEWEST else ("unknown", "system")),
    )
    assert ("change_summary" in first) == ("files" in first) == (state == NEWEST)

    back = RollBack(req_id=ReqId("r"), guild_id=G, revision_id=first["id"], source="api", actor=ANN)
    await service.roll_back(back)
    assert host.running[G] == "one()"
    await service.undeploy(Undeploy(req_id=ReqId("u"), guild_id=GuildId("2"), source="api", actor=ANN))
    assert host.running == {"1": "one()"}
    told = await PostgresAuditLog(database).page(10)
    assert [line.action for line in told] == ["deploy.undeploy", "deploy.rollback", "deploy.create"]


@STATES
async def test_given_a_database_of_the_rust_runtime_when_opened_then_tokens_secrets_and_stores_work(
    postgres_url: str, database: Database, state: int, tmp_path: Path
) -> None:
    make_reference(postgres_url, state)
    migrate(postgres_url)

    assert await PostgresTokenStore(database).authenticate(TOKEN) == UserId("77")
    (secret,) = await PostgresSecretStore(database).of_guild(G)
    assert (secret.secret_id, secret.name, tuple(secret.allowed_hosts)) == (SECRET_ID, "KEY", ("example.com",))
    assert KeyRing(MASTER_KEY).open(G, "KEY", secret.sealed) == "s3cret"

    def count() -> tuple[list[str], object]:
        kv = PostgresKv(postgres_url, G)
        try:
            kv.increment("counters", "n", 2)
            entry = kv.get("counters", "n")
            return [info.name for info in kv.stores()], entry and entry.value.text
        finally:
            kv.close()

    assert await asyncio.to_thread(count) == (["counters"], "2")
    assert adopt(tmp_path, all_kv_stores(postgres_url)) == 2
    files = KvFiles(tmp_path)
    assert list(files.open_guild(G).stores()) == list(await PostgresKvIndex(database).of_guild(G))
    files.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM _sqlx_migrations").fetchone() == (state,), "it is left alone"


async def test_given_a_database_before_maps_when_opened_then_what_is_missing_is_added(
    postgres_url: str, database: Database
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "CREATE TABLE deployments (guild_id text PRIMARY KEY, entry text NOT NULL, files jsonb NOT NULL, "
            "bundle text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), "
            "updated_at timestamptz NOT NULL DEFAULT now())"
        )
        connection.execute("INSERT INTO deployments (guild_id, entry, files, bundle) VALUES ('1', 'a.ts', '[]', '1')")

    migrate(postgres_url)

    assert await PostgresDeploymentStore(database).latest_success(G) is not None


async def test_given_the_same_token_twice_in_an_old_database_then_it_still_opens(
    postgres_url: str, database: Database
) -> None:
    make_reference(postgres_url, NEWEST)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO user_tokens (token_id, user_id, token_hash) SELECT 'again', user_id, token_hash FROM user_tokens"
        )

    assert migrate(postgres_url) == len(load_migrations())
    assert await PostgresTokenStore(database).authenticate(TOKEN) == UserId("77")
