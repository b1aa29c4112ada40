"""The server while its Redis is dead or frozen, and after: a Valkey of the test's own, really killed and really stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flora.messages.deployment import GetDeployment
from flora.storage.backoff import Backoff
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor
from flora.storage.redis import GuardedCache, RedisCache, make_client

pytestmark = [pytest.mark.service, pytest.mark.fault]

LIMIT_S = 0.4


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[tuple[ServiceSupervisor, GuardedCache]]:
    folder = DataFolder.open(tmp_path / "data")
    supervisor = ServiceSupervisor(folder, postgres=False)
    supervisor.start()
    assert supervisor.cache_url is not None
    client = make_client(supervisor.cache_url)
    guard = GuardedCache(RedisCache(client), client.ping, limit_s=LIMIT_S, backoff=Backoff(first_s=0.02, cap_s=0.2))
    yield supervisor, guard
    await guard.close()
    await client.aclose()
    supervisor.stop()
    folder.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_given_redis_dies_or_freezes_then_every_answer_is_quick_and_sessions_outlive_it(
    make_entrance: Any, own_valkey: tuple[ServiceSupervisor, GuardedCache], eventually: Any, how: signal.Signals
) -> None:
    supervisor, guard = own_valkey
    entrance = await make_entrance(cache=guard)
    entrance.host.system.answers[GetDeployment] = lambda asked: {"guild_id": asked.guild_id}
    await entrance.log_in()
    own = next(iter(entrance.discord.simulator.world.guilds))
    valkey = supervisor.pids["Valkey"]
    took_s: list[float] = []

    async def ask(path: str, token: bool = False) -> Any:
        started = time.monotonic()
        answer = await (entrance.host.get(path) if token else entrance.go(path))
        took_s.append(time.monotonic() - started)
        return answer

    os.kill(valkey, how)
    away = [await ask(path) for path in ("/api/auth/me", "/api/auth/login", "/api/guilds", f"/api/deployments/{own}")]
    bearer = [await ask(path, token=True) for path in ("/api/auth/me", "/api/deployments/1000")]

    assert [answer.status for answer in away] == [503] * 4
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in away)
    assert [answer.status for answer in bearer] == [200, 200]
    assert max(took_s) < 3 * LIMIT_S

    if how is signal.SIGSTOP:
        os.kill(valkey, signal.SIGCONT)

    async def back() -> bool:
        supervisor.poll()
        return (await entrance.go("/api/auth/me")).status == 200

    await eventually.soon(back, within_s=10)
    assert (await ask("/api/guilds")).status == 200
    assert (await entrance.log_in()).status == 303
