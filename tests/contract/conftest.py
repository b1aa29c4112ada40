"""One suite for every implementation of a port: the stores in memory and the ones on real servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flora.messages.deployment import ChangeSummary, DeployActor, Deployment, Revision, SourceFile
from flora.messages.ids import GuildId, UserId
from flora.storage.kv import Durability, KvFiles, KvLimits, MemoryKv
from flora.storage.memory import (
    MemoryAuditLog,
    MemoryCache,
    MemoryCronRunStore,
    MemoryDeploymentStore,
    MemoryKvIndex,
    MemoryPlacementStore,
    MemoryTokenStore,
)
from flora.storage.memory_secrets import MemorySecretStore
from flora.storage.ports import (
    AuditLog,
    Cache,
    CronRunStore,
    DeploymentStore,
    KvGuild,
    KvIndex,
    PlacementStore,
    SecretStore,
    TokenStore,
)
from flora.storage.postgres import (
    Database,
    PostgresAuditLog,
    PostgresCronRunStore,
    PostgresDeploymentStore,
    PostgresKv,
    PostgresKvIndex,
    PostgresPlacementStore,
    PostgresSecretStore,
    PostgresTokenStore,
)
from flora.storage.redis import DegradingCache, GuardedCache, RedisCache, make_client

MEMORY_AND_POSTGRES = ["memory", pytest.param("postgres", marks=pytest.mark.service)]
MEMORY_AND_VALKEY = ["memory", *(pytest.param(name, marks=pytest.mark.service) for name in ("valkey", "guarded"))]
KV_BACKENDS = ["memory", "files", "files synced always", pytest.param("postgres", marks=pytest.mark.service)]

MakePair = Callable[..., tuple[Deployment, Revision]]


async def _database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    database = Database(request.getfixturevalue("tables_url"))
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
async def few_revisions(request: pytest.FixtureRequest) -> AsyncIterator[DeploymentStore]:
    if request.param == "memory":
        yield MemoryDeploymentStore(keep_revisions=4)
        return
    async for database in _database(request):
        yield PostgresDeploymentStore(database, keep_revisions=4)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def kv_index(request: pytest.FixtureRequest) -> AsyncIterator[KvIndex]:
    if request.param == "memory":
        yield MemoryKvIndex()
        return
    async for database in _database(request):
        yield PostgresKvIndex(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def tokens(request: pytest.FixtureRequest) -> AsyncIterator[TokenStore]:
    if request.param == "memory":
        yield MemoryTokenStore()
        return
    async for database in _database(request):
        yield PostgresTokenStore(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def cron_runs(request: pytest.FixtureRequest) -> AsyncIterator[CronRunStore]:
    if request.param == "memory":
        yield MemoryCronRunStore()
        return
    async for database in _database(request):
        yield PostgresCronRunStore(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def placements(request: pytest.FixtureRequest) -> AsyncIterator[PlacementStore]:
    if request.param == "memory":
        yield MemoryPlacementStore()
        return
    async for database in _database(request):
        yield PostgresPlacementStore(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def audit_log(request: pytest.FixtureRequest) -> AsyncIterator[AuditLog]:
    if request.param == "memory":
        yield MemoryAuditLog()
        return
    async for database in _database(request):
        yield PostgresAuditLog(database)


@pytest.fixture(params=MEMORY_AND_POSTGRES)
async def secrets(request: pytest.FixtureRequest) -> AsyncIterator[SecretStore]:
    if request.param == "memory":
        yield MemorySecretStore()
        return
    async for database in _database(request):
        yield PostgresSecretStore(database)


@pytest.fixture(params=MEMORY_AND_VALKEY)
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    if request.param == "memory":
        yield MemoryCache()
        return
    client = make_client(request.getfixturevalue("valkey_url"))
    plain = RedisCache(client)
    yield plain if request.param == "valkey" else DegradingCache(GuardedCache(plain, client.ping))
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


class ManualClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1_000_000.5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


OpenKv = Callable[..., KvGuild]


@pytest.fixture
def kv_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=KV_BACKENDS)
def open_kv(request: pytest.FixtureRequest, tmp_path: Path, kv_clock: ManualClock) -> Iterator[OpenKv]:
    """Opens a guild's stores: `open_kv("1", max_store_bytes=…)`. Opened again, they have what they had, but in memory."""
    with ExitStack() as stack:
        backend = request.param
        url = request.getfixturevalue("tables_url") if backend == "postgres" else ""

        def make(guild: str = "1", **changes: Any) -> KvGuild:
            limits = KvLimits(**({"writes_per_minute": 0} | changes))
            kv: KvGuild
            if backend == "memory":
                kv = MemoryKv(GuildId(guild), limits=limits, clock=kv_clock, monotonic=kv_clock)
            elif backend == "postgres":
                kv = PostgresKv(url, GuildId(guild), limits=limits, clock=kv_clock, monotonic=kv_clock)
            else:
                durability = Durability.ALWAYS if "always" in backend else Durability.INTERVAL
                files = KvFiles(tmp_path, durability=durability, limits=limits, clock=kv_clock, monotonic=kv_clock)
                stack.callback(files.close)
                kv = files.open_guild(GuildId(guild))
            stack.callback(kv.close)
            return kv

        yield make


@pytest.fixture
def kv(open_kv: OpenKv) -> KvGuild:
    return open_kv()
