"""`/api/kv/export` over HTTP; the worker that keeps the exports is played."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from flora.http.limits import HttpLimits
from flora.messages.errors import FloraError, KvQuotaExceeded, KvRateLimited, NotFound, WorkerGone
from flora.messages.kv import KvCall
from flora.messages.kv_exports import (
    KvDeleteExport,
    KvExport,
    KvListExports,
    KvMakeExport,
    KvReadExportPart,
    KvRestoreExport,
)

pytestmark = pytest.mark.service

PATH = "/api/kv/export/1000"
ID = "0b7ad3a5-7d0b-4c39-9f0a-5f1a7f7b2d10"
FILE = bytes(range(256)) * 40
EXPORT = KvExport(
    backup_id=ID,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    stores=(("a", 1), ("b", 20)),
    file_bytes=len(FILE),
)
TOLD = {
    "backup_id": ID,
    "created_at": "2026-01-02T03:04:05Z",
    "size": len(FILE),
    "stores": [{"store_name": "a", "keys": 1}, {"store_name": "b", "keys": 20}],
}


@pytest.fixture
def worker(host: Any) -> dict[type, Any]:
    """What the worker answers, by the class of the operation: a value, or an error."""
    answers: dict[type, Any] = {
        KvMakeExport: EXPORT,
        KvListExports: (EXPORT,),
        KvDeleteExport: None,
        KvRestoreExport: (("b", 20),),
    }

    def answer(call: KvCall) -> Any:
        if isinstance(call.operation, KvReadExportPart) and KvReadExportPart not in answers:
            return FILE[call.operation.offset : call.operation.offset + 1_000]
        found = answers[type(call.operation)]
        if isinstance(found, FloraError):
            raise found
        return found

    host.system.answers[KvCall] = answer
    return answers


async def test_given_an_export_when_made_and_listed_then_id_size_and_keys_are_told(host: Any, worker: Any) -> None:
    made = await host.call("POST", PATH)
    listed = await host.get(f"{PATH}/")

    assert (made.status, await made.json()) == (200, TOLD)
    assert (listed.status, await listed.json()) == (200, [TOLD])
    assert [line[2:] for line in host.audit.told] == [("kv.export", ID, {})]


async def test_given_an_export_when_downloaded_then_it_comes_whole_with_a_name(host: Any, worker: Any) -> None:
    response = await host.get(f"{PATH}/{ID}", headers={"Accept-Encoding": "gzip"})

    assert await response.read() == FILE
    assert response.headers["Content-Length"] == str(len(FILE))
    assert response.content_type == "application/gzip"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Disposition"] == f'attachment; filename="kv-1000-{ID}.jsonl.gz"'


async def test_given_a_worker_that_dies_in_the_middle_of_a_download_then_the_client_notices(
    host: Any, worker: Any
) -> None:

    def answer(call: KvCall) -> Any:
        if not isinstance(call.operation, KvReadExportPart):
            return worker[type(call.operation)]
        if call.operation.offset:
            raise WorkerGone("worker 0 is gone")
        return FILE[:1_000]

    host.system.answers[KvCall] = answer

    with pytest.raises(aiohttp.ClientError):
        await host.get(f"{PATH}/{ID}")


@pytest.mark.parametrize("method_and_path", [("GET", f"{PATH}/other"), ("DELETE", f"{PATH}/other")])
async def test_given_an_unknown_export_then_404(host: Any, worker: Any, method_and_path: tuple[str, str]) -> None:
    worker[KvDeleteExport] = NotFound("export not found")

    response = await host.call(*method_and_path)

    assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")
    assert host.audit.told == []


async def test_given_an_export_when_restored_then_each_store_is_in_the_audit_log(host: Any, worker: Any) -> None:
    one = await host.call("POST", f"{PATH}/{ID}/restore", json={"store_name": "b"})
    everything = await host.call("POST", f"{PATH}/{ID}/restore")

    assert await one.json() == {"restored": [{"store_name": "b", "keys": 20}]}
    assert everything.status == 200
    assert [call.operation.store for call in host.system.of(KvCall)] == ["b", None]
    assert [line[2:] for line in host.audit.told] == [("kv.restore", "b", {"backup_id": ID, "keys": 20})] * 2


async def test_given_a_restore_over_quota_then_it_says_what_was_restored_before_and_that_is_in_the_audit_log(
    host: Any, worker: Any
) -> None:
    before = [{"store_name": "a", "keys": 1}]
    worker[KvRestoreExport] = KvQuotaExceeded("kv guild storage quota exceeded", store="b", restored=before)

    response = await host.call("POST", f"{PATH}/{ID}/restore")

    assert response.status == 413
    assert (await response.json())["details"] == {"store": "b", "restored": before}
    assert [line[2:4] for line in host.audit.told] == [("kv.restore", "a")]


async def test_given_an_export_too_soon_then_429_says_when(host: Any, worker: Any) -> None:
    worker[KvMakeExport] = KvRateLimited("kv export rate limit exceeded; retry in 41200ms", retry_after_s=41.2)

    response = await host.call("POST", PATH)

    assert (response.status, response.headers["Retry-After"]) == (429, "42")
    assert (await response.json())["message"] == "Too many requests: kv export rate limit exceeded; retry in 41200ms"


async def test_given_the_client_leaves_when_restoring_then_what_was_done_is_still_told(
    make_host: Any, eventually: Any
) -> None:
    host = await make_host(HttpLimits(request_s=0.05, peer_s=0.05))
    finish = asyncio.Event()

    async def restoring(_: KvCall) -> Any:
        await finish.wait()
        return (("b", 20),)

    host.system.answers[KvCall] = restoring
    client = asyncio.create_task(host.call("POST", f"{PATH}/{ID}/restore"))
    await eventually.soon(lambda: host.system.of(KvCall))

    client.cancel()
    await asyncio.wait([client])
    finish.set()

    await eventually.soon(lambda: [line[2] for line in host.audit.told] == ["kv.restore"])


async def test_given_anothers_guild_then_none_of_its_exports_is_touched(host: Any, worker: Any) -> None:
    calls = [("POST", ""), ("GET", ""), ("GET", f"/{ID}"), ("DELETE", f"/{ID}"), ("POST", f"/{ID}/restore")]

    answers = [await host.call(method, f"/api/kv/export/2000{rest}") for method, rest in calls]

    assert [answer.status for answer in answers] == [403] * 5
    assert not host.system.of(KvCall)
