"""`flora token create` against the Postgres that flora starts by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flora.messages.ids import UserId
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor
from flora.storage.postgres import Database, PostgresAuditLog, PostgresTokenStore

pytestmark = pytest.mark.service


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[tuple[Path, ServiceSupervisor]]:
    folder = DataFolder.open(tmp_path / "data")
    supervisor = ServiceSupervisor(folder, cache=False)
    supervisor.start()
    yield folder.path, supervisor
    supervisor.stop()
    folder.close()


@pytest.mark.timeout(60)
async def test_a_token_is_made_beside_a_running_flora_and_nothing_else_is_printed(flora: Any, data_dir: Any) -> None:
    path, supervisor = data_dir

    plain = await flora.run(
        *("token", "create", "--user", "77", "--label", "laptop", "--expires-in-days", "2", "--data-dir", str(path))
    )
    as_json = await flora.run("token", "create", "--user", "78", "--json", FLORA_DATA_DIR=str(path))
    supervisor.stop()
    stopped = await flora.run("token", "create", "--user", "77", "--data-dir", str(path))
    supervisor.start()

    assert [plain.code, as_json.code, stopped.code] == [0, 0, 1], (plain, as_json, stopped)
    assert stopped.err.startswith(f"error: flora does not run on the data folder {path}")
    database = Database(supervisor.database_url)
    await database.open()
    tokens = PostgresTokenStore(database)
    assert await tokens.authenticate(plain.out.strip()) == "77"
    assert await tokens.authenticate(json.loads(as_json.out)["token"]) == "78"
    assert [record.label for record in await tokens.list(UserId("77"))] == ["laptop"]

    token_id = plain.out.partition(".")[0]
    listed = await flora.run("token", "list", "--user", "77", "--data-dir", str(path))
    deleted = await flora.run("token", "delete", token_id, "--user", "77", "--data-dir", str(path))
    twice = await flora.run("token", "delete", token_id, "--user", "77", "--data-dir", str(path))
    nothing = await flora.run("token", "list", "--user", "77", "--json", "--data-dir", str(path))

    assert re.match(rf"{token_id}   laptop               created \S+, used \S+, expires \S+\n", listed.out), listed
    assert (deleted.code, twice.code, nothing.out) == (0, 1, "[]\n"), (deleted, twice, nothing)
    assert await tokens.authenticate(plain.out.strip()) is None
    lines = await PostgresAuditLog(database).page(10)
    assert [(line.action, line.target, line.actor.kind) for line in lines[:1]] == [("token.delete", token_id, "system")]
    assert len(lines) == 3
    await database.close()


async def test_given_no_flora_ever_ran_here_when_asked_then_the_error_says_so_and_nothing_is_made(flora: Any) -> None:
    done = await flora.run("token", "create", "--user", "77")

    assert done.code == 1
    assert f"no flora has run on the data folder {flora.project / 'data'}" in done.err
    assert list(flora.project.iterdir()) == []


async def test_given_another_database_that_is_away_when_asked_then_the_setting_is_named(flora: Any) -> None:
    done = await flora.run(
        "token", "create", "--user", "77", DATABASE_URL="postgresql://flora:x@127.0.0.1:1/flora?connect_timeout=1"
    )

    assert done.code == 1
    assert "database.url (DATABASE_URL)" in done.err
