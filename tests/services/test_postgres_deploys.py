"""The deploy service on a real Postgres: what runs and what is stored agree, whatever happens in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from flora.actors.compile_cache import Script
from flora.actors.deploy_service import DeployService
from flora.messages.deployment import Compiled, Deploy, DeployActor
from flora.messages.errors import LoadFailed, StorageError
from flora.messages.ids import GuildId, ReqId
from flora.storage.postgres import Database, PostgresDeploymentStore, migrate

pytestmark = pytest.mark.service

G = GuildId("1")


class Host:
    """Runs scripts by remembering them; every load takes a turn of the loop."""

    def __init__(self) -> None:
        self.running: dict[GuildId, str] = {}
        self.was_stored: list[GuildId] = []

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        return Compiled(script=script.bundle or "", source_map=None)

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        await asyncio.sleep(0)
        if "throws" in compiled.script:
            raise LoadFailed("Error: throws")
        self.running[guild_id] = compiled.script

    def stored(self, guild_id: GuildId) -> None:
        self.was_stored.append(guild_id)

    async def unload(self, guild_id: GuildId) -> None:
        self.running.pop(guild_id, None)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresDeploymentStore]:
    migrate(postgres_url)
    database = Database(postgres_url)
    await database.open()
    yield PostgresDeploymentStore(database)
    await database.close()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def service(store: PostgresDeploymentStore, host: Host) -> DeployService:
    return DeployService(
        store,
        host,
        max_script_bytes=1000,
        workers=2,
        starter=lambda: Script(entry="src/main.ts", files=None, bundle="starter", source_map=None),
    )


def a_deploy(bundle: str, guild: str = "1") -> Deploy:
    return Deploy(
        req_id=ReqId(uuid.uuid4().hex),
        guild_id=GuildId(guild),
        entry="main.js",
        files=None,
        bundle=bundle,
        source_map=None,
        source="api",
        actor=DeployActor(kind="token", user_id="7"),
    )


def refuse_deployments(url: str, when: str) -> None:
    """Makes the second statement of the transaction fail, after the revision was inserted."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk is sad'; END $$;"
            f"CREATE TRIGGER refuse {when} ON deployments FOR EACH ROW EXECUTE FUNCTION refuse()"
        )


@pytest.mark.scenario("T24b")
async def test_given_a_transaction_that_fails_then_the_previous_script_runs_and_is_stored(
    service: DeployService, host: Host, store: PostgresDeploymentStore, postgres_url: str
) -> None:
    await service.deploy(a_deploy("v1"))
    refuse_deployments(postgres_url, "BEFORE UPDATE")

    with pytest.raises(StorageError, match=r"the previous one runs again: .*disk is sad"):
        await service.deploy(a_deploy("v2"))

    assert host.running == {G: "v1"}
    stored = await store.current(G)
    assert stored is not None
    assert stored.bundle == "v1"
    assert [kept.status for kept in await store.history(G, 10)] == ["success"]


@pytest.mark.scenario("T24b")
async def test_given_a_first_transaction_that_fails_at_commit_then_nothing_runs_and_nothing_is_stored(
    service: DeployService, host: Host, store: PostgresDeploymentStore, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON deployments DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    with pytest.raises(StorageError, match=r"it was unloaded: .*not today"):
        await service.deploy(a_deploy("v1"))

    assert host.running == {}
    assert await store.current(G) is None
    assert await store.latest(G) is None


async def test_given_deploys_of_few_guilds_at_once_then_runtime_history_and_store_agree(
    service: DeployService, host: Host, store: PostgresDeploymentStore
) -> None:
    requests = [a_deploy("throws" if n % 5 == 4 else f"v{n}", guild=str(n % 3)) for n in range(21)]

    results: list[Any] = await asyncio.gather(
        *(service.deploy(request) for request in requests), return_exceptions=True
    )

    assert sum(isinstance(result, LoadFailed) for result in results) == 4
    assert len(host.running) == 3
    for guild_id, running in host.running.items():
        stored = await store.current(guild_id)
        latest = await store.latest_success(guild_id, include_bundle=True)
        assert stored is not None
        assert latest is not None
        assert running == stored.bundle == latest.bundle
        assert latest.deployed_at == stored.updated_at
        history = await store.history(guild_id, 100)
        assert len(history) == 7
        successes = [kept for kept in history if kept.status == "success"]
        assert [kept.base_revision_id for kept in successes[:-1]] == [kept.revision_id for kept in successes[1:]]


async def test_given_a_thousand_stored_deployments_when_restored_then_all_run(
    service: DeployService, host: Host, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO deployments (guild_id, entry, bundle) "
            "SELECT n, 'main.js', 'v' || n FROM generate_series(1, 1000) AS n"
        )

    outcome = await service.restore()

    assert outcome == {"restored": 1000, "failed": {}, "still_loading": []}
    assert host.running[GuildId("777")] == "v777"


@pytest.mark.scenario("T24")
async def test_given_a_guild_announced_twice_at_once_then_one_starter_is_stored(
    service: DeployService, host: Host, store: PostgresDeploymentStore
) -> None:
    await asyncio.gather(*(service.joined(G) for _ in range(5)))

    assert [kept.deploy_source for kept in await store.history(G, 10)] == ["bootstrap"]
    assert host.running == {G: "starter"}
