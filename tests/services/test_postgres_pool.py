from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flora.messages.deployment import DeployActor, Deployment, Revision, SourceFile
from flora.messages.errors import MailboxFull, StorageError, TimedOut, Unavailable
from flora.messages.ids import GuildId, UserId
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor
from flora.storage.postgres import Database, PostgresDeploymentStore, PostgresTokenStore, database, migrate

pytestmark = pytest.mark.service

Connect = Callable[..., Awaitable[Database]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens pools on migrated databases; all are closed at the end."""
    pools: list[Database] = []

    async def connect(url: str | None, **options: Any) -> Database:
        assert url is not None
        migrate(url)
        pools.append(Database(url, **options))
        await pools[-1].open()
        return pools[-1]

    yield connect
    for pool in pools:
        await pool.close()


@pytest.fixture
async def opened(connect: Connect, postgres_url: str) -> Database:
    return await connect(postgres_url, max_connections=2)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[ServiceSupervisor]:
    """A Postgres that this test may kill."""
    folder = DataFolder.open(tmp_path / "data")
    supervisor = ServiceSupervisor(folder, cache=False)
    supervisor.start()
    yield supervisor
    supervisor.stop()
    folder.close()


def a_pair(bundle: str = "1") -> tuple[Deployment, Revision]:
    guild_id = GuildId("1")
    return (
        Deployment(guild_id=guild_id, entry="a.js", bundle=bundle),
        Revision(
            revision_id="6f1c8b52-1111-4111-8111-111111111111",
            guild_id=guild_id,
            entry="a.js",
            bundle=bundle,
            status="success",
            deploy_source="api",
            actor=DeployActor(kind="system"),
        ),
    )


async def test_given_a_trigger_that_refuses_the_deployment_then_the_revision_is_gone_too(
    opened: Database, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no more'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON deployments FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    store = PostgresDeploymentStore(opened)

    with pytest.raises(
        StorageError, match="storing the deployment of guild 1: the database refused: no more"
    ) as caught:
        await store.record_success(*a_pair())

    assert isinstance(caught.value.__cause__, psycopg.Error)
    assert await store.latest(GuildId("1")) is None


async def test_given_text_that_postgres_cannot_keep_then_it_is_a_storage_error(opened: Database) -> None:
    store = PostgresDeploymentStore(opened)

    for bad in ("a\0b", "\ud800"):
        with pytest.raises(StorageError):
            await store.record_success(*a_pair(bad))
    deployment, revision = a_pair()
    with pytest.raises(StorageError):
        await store.record_success(
            Deployment(
                guild_id=deployment.guild_id, entry="a", bundle="1", files=(SourceFile(path="a", contents="\0"),)
            ),
            revision,
        )

    assert await store.latest(GuildId("1")) is None


async def test_given_more_callers_than_connections_then_all_are_served(opened: Database) -> None:
    tokens = PostgresTokenStore(opened)
    token = await tokens.create(UserId("1"), None)

    assert await asyncio.gather(*(tokens.authenticate(token) for _ in range(100))) == ["1"] * 100


async def test_given_a_full_line_then_the_next_caller_is_refused_at_once(
    postgres_url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_WAITING", 3)
    narrow = await connect(postgres_url, max_connections=1)
    tokens = PostgresTokenStore(narrow)
    async with narrow.transaction("holding the only connection"):
        waiting = [asyncio.ensure_future(tokens.list(UserId("1"))) for _ in range(4)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), MailboxFull)

    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, MailboxFull) for result in results) == 1


async def test_given_a_query_that_hangs_then_it_ends_within_the_limit(postgres_url: str, connect: Connect) -> None:
    hasty = await connect(postgres_url, max_connections=1, answer_limit_s=0.3)
    with psycopg.connect(postgres_url) as blocker:
        blocker.execute("LOCK TABLE user_tokens IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(TimedOut, match="did not answer in time"):
            await PostgresTokenStore(hasty).list(UserId("1"))

    assert await PostgresTokenStore(hasty).list(UserId("1")) == []


async def test_given_connections_that_the_server_ended_then_the_next_calls_work(
    opened: Database, postgres_url: str
) -> None:
    tokens = PostgresTokenStore(opened)
    await asyncio.gather(*(tokens.list(UserId("1")) for _ in range(10)))
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'flora' AND datname = current_database()"
        )

    assert await asyncio.gather(*(tokens.list(UserId("1")) for _ in range(10))) == [[]] * 10


@pytest.mark.fault
@pytest.mark.timeout(60)
async def test_given_postgres_is_killed_and_comes_back_then_the_store_works_again(
    own_postgres: ServiceSupervisor, connect: Connect, eventually: Any
) -> None:
    tokens = PostgresTokenStore(await connect(own_postgres.database_url, checkout_limit_s=1))
    token = await tokens.create(UserId("1"), None)
    first = own_postgres.pids["Postgres"]

    os.kill(first, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await _until_it_fails(tokens, token)

    def is_back() -> bool:
        own_postgres.poll()
        return own_postgres.pids.get("Postgres") not in {None, first}

    await eventually.soon(is_back, within_s=20)

    async def works() -> bool:
        own_postgres.poll()
        try:
            return await tokens.authenticate(token) == "1"
        except Unavailable:
            return False

    started = time.monotonic()
    await eventually.soon(works, within_s=15)
    assert time.monotonic() - started < 12


@pytest.mark.fault
@pytest.mark.timeout(60)
async def test_given_a_frozen_postgres_then_callers_are_released_and_later_served(
    own_postgres: ServiceSupervisor, connect: Connect, eventually: Any
) -> None:
    tokens = PostgresTokenStore(await connect(own_postgres.database_url, answer_limit_s=0.5, checkout_limit_s=1))
    token = await tokens.create(UserId("1"), None)
    pids = _tree(own_postgres.pids["Postgres"])
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await tokens.authenticate(token)
        assert time.monotonic() - started < 1 + database.CHECK_LIMIT_S + 1
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    async def works() -> bool:
        try:
            return await tokens.authenticate(token) == "1"
        except Unavailable:
            return False

    await eventually.soon(works, within_s=15)


async def _until_it_fails(tokens: PostgresTokenStore, token: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        await tokens.authenticate(token)


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [pid, *(found for child in children for found in _tree(int(child)))]
