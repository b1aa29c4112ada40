"""One suite for every implementation of a port: the stores in memory and the ones on real servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from flora.messages.deployment import ChangeSummary, DeployActor, Deployment, Revision, SourceFile
from flora.messages.ids import GuildId, UserId
from flora.storage.memory import MemoryCache, MemoryDeploymentStore, MemoryPlacementStore, MemoryTokenStore
from flora.storage.ports import Cache, DeploymentStore, PlacementStore, TokenStore
from flora.storage.postgres import (
    Database,
    PostgresDeploymentStore,
    PostgresPlacementStore,
    PostgresTokenStore,
    migrate,
)
from flora.storage.redis import RedisCache, make_client

MEMORY_AND_POSTGRES = ["memory", pytest.param("postgres", marks=pytest.mark.service)]
MEMORY_AND_VALKEY = ["memory", pytest.param("valkey", marks=pytest.mark.service)]

MakePair = Callable[..., tuple[Deployment, Revision]]


async def _database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    url = request.getfixturevalue("postgres_url")
    migrate(url)
    database = Database(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def deployments(request: pytest.FixtureRequest) -> AsyncIterator[DeploymentStore]:
    if request.param == "memory":
        yield MemoryDeploymentStore()
        return
    async for database in _database(request):
        yield PostgresDeploymentStore(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def tokens(request: pytest.FixtureRequest) -> AsyncIterator[TokenStore]:
    if request.param == "memory":
        yield MemoryTokenStore()
        return
    async for database in _database(request):
        yield PostgresTokenStore(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def placements(request: pytest.FixtureRequest) -> AsyncIterator[PlacementStore]:
    if request.param == "memory":
        yield MemoryPlacementStore()
        return
    async for database in _database(request):
        yield PostgresPlacementStore(database)


@pytest.fixture(params=MEMORY_AND_VALKEY)
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    if request.param == "memory":
        yield MemoryCache()
        return
    client = make_client(request.getfixturevalue("valkey_url"))
    yield RedisCache(client)
    await client.aclose()


@pytest.fixture
def make_pair() -> MakePair:
    """A deployment and its revision, with everything filled in; any field of the revision can be given."""

    def make(guild: str = "1", bundle: str = "on('ready')", **changes: Any) -> tuple[Deployment, Revision]:
        files = (SourceFile(path="src/main.ts", contents=bundle), SourceFile(path="src/ünï.ts", contents=""))
        source_map = SourceFile(path="bundle.js.map", contents='{"version":3}')
        deployment = Deployment(
            guild_id=GuildId(guild), entry="src/main.ts", bundle=bundle, files=files, source_map=source_map
        )
        fields: dict[str, Any] = {
            "revision_id": str(uuid.uuid4()),
            "guild_id": GuildId(guild),
            "entry": "src/main.ts",
            "bundle": bundle,
            "status": "success",
            "deploy_source": "cli",
            "actor": DeployActor(kind="token", user_id=UserId("7"), username="ann"),
            "files": files,
            "source_map": source_map,
            "build_id": "b-1",
            "change_summary": ChangeSummary(added_files=2, removed_files=0, modified_files=1),
        }
        return deployment, Revision(**(fields | changes))

    return make
