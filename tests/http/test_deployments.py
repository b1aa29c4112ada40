"""`/api/deployments` over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flora.http.limits import HttpLimits
from flora.messages.deployment import Deploy, DeployActor, GetDeployment, SourceFile
from flora.messages.errors import (
    BundleFailed,
    HeapExhausted,
    LoadFailed,
    LoadTimedOut,
    MailboxFull,
    StorageError,
    Unavailable,
    WorkerGone,
)
from flora.messages.gateway import DescribeMember
from flora.messages.lifecycle import Peers

pytestmark = pytest.mark.service

DEPLOYED = {"guild_id": "1000", "entry": "main.ts", "created_at": "2026-01-01T00:00:00+00:00"}
FILE = {"path": "main.ts", "contents": "export {}"}
MAP = {"path": "bundle.js.map", "contents": "{}"}


@pytest.fixture
def taking(host: Any) -> Any:
    host.system.answers[Deploy] = lambda _: DEPLOYED
    return host


async def message_of(response: Any) -> str:
    return str((await response.json())["message"])


@pytest.mark.parametrize(
    ("body", "files", "bundle", "source_map"),
    [
        ({"bundle": "1"}, None, "1", None),
        ({"bundle": "1", "files": None, "source_map": None, "build_id": None, "unknown": 5}, None, "1", None),
        ({"bundle": "1", "source_map": MAP}, None, "1", SourceFile(**MAP)),
        ({"bundle": "1", "files": [FILE]}, (SourceFile(**FILE),), "1", None),
        ({"files": [FILE]}, (SourceFile(**FILE),), None, None),
        ({"files": [{"path": "a.ts", "contents": ""}]}, (SourceFile(path="a.ts", contents=""),), None, None),
    ],
)
async def test_the_three_modes_reach_the_deployer_as_sent(
    taking: Any, body: dict[str, Any], files: Any, bundle: str | None, source_map: Any
) -> None:
    response = await taking.deploy({"entry": "main.ts", **body}, headers={"x-flora-deploy-source": "cli"})

    assert (response.status, await response.json()) == (200, DEPLOYED)
    (sent,) = taking.system.of(Deploy)
    assert (sent.guild_id, sent.entry, sent.source) == ("1000", "main.ts", "cli")
    assert (sent.files, sent.bundle, sent.source_map) == (files, bundle, source_map)
    assert sent.actor == DeployActor(kind="token", user_id="77", username="ada")
    assert len(sent.trace.trace_id) == 32


REFUSALS = [
    ({"entry": " ", "bundle": "1"}, "`entry` must not be empty"),
    ({"entry": "a", "files": []}, "`files` must not be empty"),
    ({"entry": "a", "files": [{"path": " ", "contents": "x"}]}, "`files[].path` must not be empty"),
    ({"entry": "a", "bundle": " \n"}, "`bundle` must not be empty"),
    ({"entry": "a"}, "Either `files` or `bundle` is required"),
    ({"entry": "a", "bundle": "1", "source_map": {**MAP, "path": ""}}, "`source_map.path` must not be empty"),
    ({"entry": "a", "bundle": "1", "source_map": {**MAP, "contents": " "}}, "`source_map.contents` must not be empty"),
    ({"entry": "a", "bundle": "1", "source_map": {**MAP, "path": "a.js"}}, "`source_map.path` must end with `.map`"),
    ({"entry": "a", "files": [{"path": "a.ts", "contents": "x\0"}]}, "`a.ts` must not contain NUL characters"),
]


@pytest.mark.parametrize(("body", "detail"), REFUSALS)
async def test_values_that_are_not_allowed_are_refused_in_fixed_words(taking: Any, body: Any, detail: str) -> None:
    response = await taking.deploy(body)

    assert (response.status, await message_of(response)) == (400, f"Bad request: {detail}")
    assert not taking.system.of(Deploy)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bundle": "1"}, "`entry` is required"),
        ({"entry": 5, "bundle": "1"}, "`entry` must be a string"),
        ({"entry": "a", "bundle": ["1"]}, "`bundle` must be a string"),
        ({"entry": "a", "files": {}}, "`files` must be a list"),
        ({"entry": "a", "files": ["a.ts"]}, "`files[]` must be an object"),
        ({"entry": "a", "files": [{"path": "a.ts"}]}, "`files[].contents` is required"),
        ({"entry": "a", "bundle": "1", "source_map": "x"}, "`source_map` must be an object"),
        (["entry"], "the body must be a JSON object"),
    ],
)
async def test_fields_of_the_wrong_type_are_422(taking: Any, body: Any, field: str) -> None:
    response = await taking.deploy(body)

    assert (response.status, await message_of(response)) == (422, f"Bad request: {field}")


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "BAD_REQUEST"),
        (b"", "application/json", 400, "BAD_REQUEST"),
        (b'{"entry": "\\ud800"}', "application/json", 400, "BAD_REQUEST"),
        (b"\xff", "application/json", 400, "BAD_REQUEST"),
        (b"[" * 5000, "application/json", 400, "BAD_REQUEST"),
        (b"{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"{}", None, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_bodies_that_cannot_be_read_have_their_own_status(
    taking: Any, data: bytes, content_type: str | None, status: int, code: str
) -> None:
    more: dict[str, Any] = {"headers": {"Content-Type": content_type}} if content_type else {}
    if content_type is None:
        more["skip_auto_headers"] = ["Content-Type"]

    response = await taking.call("POST", "/api/deployments/1000", data=data, **more)

    assert (response.status, (await response.json())["code"]) == (status, code)


@pytest.mark.parametrize("chunked", [False, True])
async def test_given_a_body_over_the_limit_when_sent_then_413(make_host: Any, chunked: bool) -> None:
    host = await make_host(HttpLimits(max_body_bytes=2_000))

    async def pieces() -> Any:
        for _ in range(30):
            yield b"x" * 100

    response = await host.call(
        "POST",
        "/api/deployments/1000",
        data=pieces() if chunked else b"x" * 3_000,
        headers={"Content-Type": "application/json"},
    )

    assert (response.status, (await response.json())["code"]) == (413, "TOO_LARGE")


async def test_given_a_body_that_never_comes_when_the_limit_passes_then_408(make_host: Any) -> None:
    host = await make_host(HttpLimits(body_s=0.05))

    async def stalls() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    response = await host.call(
        "POST", "/api/deployments/1000", data=stalls(), headers={"Content-Type": "application/json"}
    )

    assert (response.status, (await response.json())["code"]) == (408, "REQUEST_TIMED_OUT")


@pytest.mark.parametrize("source", ["cli", "webui", "bootstrap", "api", "unknown"])
async def test_every_known_source_is_taken(taking: Any, source: str) -> None:
    await taking.deploy({"entry": "a", "bundle": "1"}, headers={"x-flora-deploy-source": source})

    assert taking.system.of(Deploy)[0].source == source


async def test_an_absent_source_is_unknown_and_another_one_is_refused_with_the_choices(taking: Any) -> None:
    body = {"entry": "a", "bundle": "1"}

    absent = await taking.deploy(body)
    wrong = [await taking.deploy(body, headers={"x-flora-deploy-source": value}) for value in ("ci", "CLI", "é")]

    assert (absent.status, taking.system.of(Deploy)[0].source) == (200, "unknown")
    assert [answer.status for answer in wrong] == [400, 400, 400]
    assert "cli, webui, bootstrap, api, unknown" in await message_of(wrong[0])


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            LoadFailed("Error: boom\n    at main.ts:3:7"),
            400,
            "Bad request: deployment failed: Error: boom\n    at main.ts:3:7",
        ),
        (LoadTimedOut("module_load timed out"), 400, "Bad request: deployment failed: module_load timed out"),
        (HeapExhausted("out of memory"), 400, "Bad request: deployment failed: out of memory"),
        (
            StorageError("private"),
            500,
            "Internal server error: a store refused or failed; the process log says why",
        ),
        (WorkerGone("worker 0 is gone"), 503, "Service unavailable: worker 0 is gone"),
        (MailboxFull("queue full"), 429, "Too many requests: queue full"),
        (Unavailable("starting"), 503, "Service unavailable: starting"),
    ],
)
async def test_given_the_deployer_refuses_when_deployed_then_whose_fault_it_is_shows(
    host: Any, error: Exception, status: int, message: str
) -> None:
    def refuse(_: Deploy) -> None:
        raise error

    host.system.answers[Deploy] = refuse

    response = await host.deploy({"entry": "a", "bundle": "1"})

    assert (response.status, await message_of(response)) == (status, message)


async def test_given_sources_that_do_not_compile_when_deployed_then_file_line_and_column_are_told(host: Any) -> None:
    def refuse(_: Deploy) -> None:
        raise BundleFailed("failed to parse a.ts: ';' expected", file="a.ts", line=3, column=9)

    host.system.answers[Deploy] = refuse

    response = await host.deploy({"entry": "a.ts", "files": [FILE]})

    assert response.status == 400
    assert await response.json() == {
        "message": "Bad request: invalid deployment files: failed to parse a.ts: ';' expected",
        "code": "BUNDLE_FAILED",
        "details": {"file": "a.ts", "line": 3, "column": 9},
    }


async def test_given_a_slow_deploy_when_the_request_limit_passes_then_it_is_still_waited_for(
    make_host: Any, eventually: Any
) -> None:
    host = await make_host(HttpLimits(request_s=0.05, peer_s=0.05))

    async def slow(_: Deploy) -> Any:
        await asyncio.sleep(0.2)
        return DEPLOYED

    host.system.answers[Deploy] = slow

    assert (await host.deploy({"entry": "a", "bundle": "1"})).status == 200


async def test_given_the_client_leaves_when_deploying_then_the_deploy_runs_to_its_end(
    host: Any, eventually: Any
) -> None:
    finish, ended = asyncio.Event(), asyncio.Event()

    async def deploying(_: Deploy) -> Any:
        await finish.wait()
        ended.set()
        return DEPLOYED

    host.system.answers[Deploy] = deploying
    client = asyncio.create_task(host.deploy({"entry": "a", "bundle": "1"}))
    await eventually.soon(lambda: host.system.of(Deploy))

    client.cancel()
    await asyncio.wait([client])
    await host.session.close()
    finish.set()

    await asyncio.wait_for(ended.wait(), 2)


async def test_given_the_deployer_dies_when_deploying_then_the_caller_is_told(host: Any, eventually: Any) -> None:
    host.system.answers[Deploy] = lambda _: asyncio.Event().wait()
    running = asyncio.create_task(host.deploy({"entry": "a", "bundle": "1"}))
    await eventually.soon(lambda: host.system.of(Deploy))

    assert host.deps.peers.change(Peers(gateway="gateway", deployer="another")) != []

    assert (await running).status == 503


async def test_given_a_member_nobody_can_look_up_when_deployed_then_only_the_name_is_missing(taking: Any) -> None:
    def fail(_: DescribeMember) -> None:
        raise Unavailable("gateway is away")

    taking.system.answers[DescribeMember] = fail

    assert (await taking.deploy({"entry": "a", "bundle": "1"})).status == 200
    assert taking.system.of(Deploy)[0].actor.username is None


async def test_the_bundle_is_included_only_when_asked_for(host: Any) -> None:
    host.system.answers[GetDeployment] = lambda request: {"asked": request.include_bundle}

    paths = ["", "?include_bundle=true", "?include_bundle=false"]
    answers = [await (await host.get(f"/api/deployments/1000{query}")).json() for query in paths]
    wrong = await host.get("/api/deployments/1000?include_bundle=maybe")

    assert [answer["asked"] for answer in answers] == [False, True, False]
    assert (wrong.status, await message_of(wrong)) == (400, "Bad request: `include_bundle` must be true or false")


async def test_anothers_guild_is_neither_read_nor_deployed_to(taking: Any) -> None:
    answers = [await taking.get("/api/deployments/2000"), await taking.deploy({"entry": "a", "bundle": "1"}, "2000")]

    assert [answer.status for answer in answers] == [403, 403]
    assert not taking.system.of(Deploy)
