"""What holds for every request, whatever its route."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

import pytest

from flora.http.limits import HttpLimits
from flora.http.server import ApiServer
from flora.messages.deployment import Deploy, GetDeployment, ListDeployments
from flora.messages.errors import ConfigError, NotFound
from flora.messages.lifecycle import DescribeSystem, SystemStage

pytestmark = pytest.mark.service


async def test_health_is_text_ok_for_anybody(host: Any) -> None:
    response = await host.get("/api/health", token=None)

    assert (response.status, await response.text()) == (200, "ok")
    assert response.content_type == "text/plain"


async def test_both_slash_forms_are_served(host: Any) -> None:
    host.system.answers[ListDeployments] = lambda _: []

    for path in ("/api/health", "/api/health/", "/api/deployments", "/api/deployments/"):
        assert (await host.get(path)).status == 200, path


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_ready_tells_the_stage_of_the_runtime(host: Any, ready: bool, status: int) -> None:
    host.system.answers[DescribeSystem] = lambda _: {"ready": ready, "stage": "restoring", "actors": {"router": {}}}

    response = await host.get("/api/ready", token=None)

    assert response.status == status
    assert await response.json() == {"ready": ready, "stage": "restoring"}


async def test_given_a_boot_under_way_then_ready_tells_stage_and_progress_without_asking_and_callers_wait(
    host: Any,
) -> None:
    progress = (("step", 3), ("steps", 13))
    host.deps.boot.update(SystemStage(stage="database", progress=progress))

    response = await host.get("/api/ready", token=None)
    early = await host.get("/api/deployments")

    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert await response.json() == {"ready": False, "stage": "database", "progress": {"step": 3, "steps": 13}}
    assert host.system.asked == []
    assert (early.status, early.headers["Retry-After"]) == (503, "2")
    assert host.tokens.looked_up == 0
    assert (await host.get("/api/health", token=None)).status == 200


async def test_given_a_database_that_is_ready_while_booting_then_callers_are_looked_up(host: Any) -> None:
    host.system.answers[ListDeployments] = lambda _: []
    host.deps.boot.update(SystemStage(stage="deployments", storage_ready=True))

    assert (await host.get("/api/deployments")).status == 200


async def test_given_a_silent_runtime_when_asked_then_ready_is_no_within_its_limit(make_host: Any) -> None:
    host = await make_host(HttpLimits(lookup_s=0.05))
    host.system.answers[DescribeSystem] = lambda _: asyncio.Event().wait()

    response = await host.get("/api/ready", token=None)

    assert (response.status, (await response.json())["ready"]) == (503, False)


@pytest.mark.parametrize("path", ["/api/nothing", "/api", "/nothing", "/api/deployments/1/2", "/api/<b>"])
async def test_unknown_paths_are_404_as_json(host: Any, path: str) -> None:
    response = await host.get(path, headers={"Accept": "text/html"})

    assert (response.status, response.content_type) == (404, "application/json")
    assert (await response.json())["code"] == "NOT_FOUND"


async def test_wrong_method_is_405_as_json_with_allow(host: Any) -> None:
    response = await host.call("PATCH", "/api/deployments/1000")

    assert (response.status, response.headers["Allow"]) == (405, "DELETE, GET, HEAD, POST")
    assert (await response.json())["code"] == "METHOD_NOT_ALLOWED"


async def test_every_answer_has_a_request_id_and_an_incoming_one_is_kept(host: Any) -> None:
    fresh = await host.get("/api/nothing")
    kept = await host.get("/api/health", headers={"X-Request-ID": "abc-123"})
    replaced = await host.get("/api/health", headers={"X-Request-ID": "two words"})

    assert uuid.UUID(fresh.headers["X-Request-ID"]).version == 4
    assert kept.headers["X-Request-ID"] == "abc-123"
    assert uuid.UUID(replaced.headers["X-Request-ID"]).version == 4


async def test_every_answer_has_the_security_headers_and_no_cors(host: Any) -> None:
    for path in ("/api/health", "/api/nothing", "/api/auth/me"):
        headers = (await host.get(path, headers={"Origin": "https://elsewhere.example"})).headers

        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "flora"
        assert "Strict-Transport-Security" not in headers
        assert not [name for name in headers if name.startswith("Access-Control")]


async def test_large_answers_are_compressed_for_those_who_take_it(host: Any) -> None:
    host.system.answers[GetDeployment] = lambda _: {"bundle": "x" * 50_000}
    path = "/api/deployments/1000"

    zipped = await host.get(path, headers={"Accept-Encoding": "br, gzip"})
    plain = await host.get(path, headers={"Accept-Encoding": "gzip;q=0"})

    assert zipped.headers["Content-Encoding"] == "gzip"
    assert int(zipped.headers["Content-Length"]) < 1_000
    assert zipped.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in plain.headers
    assert await zipped.json() == await plain.json()


async def test_given_a_peer_that_never_answers_when_the_limit_passes_then_the_answer_is_408(make_host: Any) -> None:
    host = await make_host(HttpLimits(request_s=0.1))
    host.system.answers[GetDeployment] = lambda _: asyncio.Event().wait()

    response = await host.get("/api/deployments/1000")

    assert response.status == 408
    assert (await response.json())["code"] == "REQUEST_TIMED_OUT"


async def test_given_a_peer_that_is_late_when_its_own_limit_passes_then_the_answer_is_504(make_host: Any) -> None:
    host = await make_host(HttpLimits(peer_s=0.05))
    host.system.answers[GetDeployment] = lambda _: asyncio.Event().wait()

    assert (await host.get("/api/deployments/1000")).status == 504


async def test_given_a_bug_in_a_handler_when_called_then_the_caller_learns_nothing(
    host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError("a private detail")

    host.system.answers[GetDeployment] = fails

    response = await host.get("/api/deployments/1000")

    assert response.status == 500
    assert await response.json() == {"message": "Internal server error", "code": "INTERNAL", "details": {}}
    assert "a private detail" in caplog.text


async def test_given_a_peer_that_is_being_restarted_when_asked_then_503_says_when_to_retry(host: Any) -> None:
    host.deps.peers.change(type(host.deps.peers._peers)(gateway="gateway"))

    response = await host.get("/api/deployments/1000")

    assert (response.status, (await response.json())["code"]) == (503, "UNAVAILABLE")
    assert int(response.headers["Retry-After"]) >= 1


async def test_access_log_has_the_real_peer_and_no_query(
    host: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flora.api")

    await host.get("/api/health?key=private", headers={"User-Agent": "tests"})

    record = await eventually.soon(lambda: next((r for r in caplog.records if hasattr(r, "duration_ms")), None))
    assert record.ip == "127.0.0.1"
    assert (record.method, record.path, record.status, record.user_agent) == ("GET", "/api/health", 200, "tests")
    assert "private" not in str(vars(record))


async def test_given_the_port_is_taken_when_started_then_the_error_names_address_and_setting(host: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        await ApiServer(host.deps).start("127.0.0.1", host.listening.port)

    assert f"127.0.0.1:{host.listening.port}" in str(caught.value)
    assert "api.port (API_PORT)" in str(caught.value)


async def test_given_an_address_of_another_machine_when_started_then_the_error_names_the_setting(host: Any) -> None:
    with pytest.raises(ConfigError, match=r"api\.address"):
        await ApiServer(host.deps).start("192.0.2.1", 0)


async def test_given_a_running_request_when_drained_then_it_is_finished_and_new_ones_are_refused(
    host: Any, eventually: Any
) -> None:
    finish = asyncio.Event()

    async def deploying(_: Deploy) -> dict[str, str]:
        await finish.wait()
        return {"guild_id": "1000"}

    host.system.answers[Deploy] = deploying
    running = asyncio.create_task(host.deploy({"entry": "a.ts", "bundle": "1"}))
    await eventually.soon(lambda: host.system.of(Deploy))

    draining = asyncio.create_task(host.server.drain(limit_s=5))
    refused = await eventually.soon(lambda: _refused(host))
    health = await host.get("/api/health")
    finish.set()

    assert (await refused.json())["code"] == "SHUTTING_DOWN"
    assert health.status == 200
    assert (await running).status == 200
    assert await draining == 0


async def _refused(host: Any) -> Any:
    response = await host.get("/api/auth/me")
    return response if response.status == 503 else None


async def test_given_a_request_that_does_not_end_when_drained_then_the_limit_holds(host: Any, eventually: Any) -> None:
    host.system.answers[Deploy] = lambda _: asyncio.Event().wait()
    running = asyncio.create_task(host.deploy({"entry": "a.ts", "bundle": "1"}))
    await eventually.soon(lambda: host.system.of(Deploy))

    assert await host.server.drain(limit_s=0.05) == 1

    running.cancel()


async def test_a_missing_deployment_is_404(host: Any) -> None:
    def missing(_: GetDeployment) -> None:
        raise NotFound("no deployment")

    host.system.answers[GetDeployment] = missing

    response = await host.get("/api/deployments/1000")

    assert (response.status, (await response.json())["message"]) == (404, "Resource not found: no deployment")
