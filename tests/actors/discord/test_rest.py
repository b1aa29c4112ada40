from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.discord.rest import RETRY_CAP_S, retry_delay_s
from flora.actors.discord.rest_figures import MAX_ROUTES, RestFigures, ending_of
from flora.actors.discord.routes import bucket_of, shown, template_of
from flora.messages.errors import DiscordError, DiscordRateLimited, ScopeForbidden

pytestmark = pytest.mark.service

CHANNEL = (("channel", "2"),)


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """As Discord does it: without a charset."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def answer(status: int, body: Any = None, **headers: str) -> Any:
    async def handle(_: web.Request) -> web.Response:
        return reply(body, status, {k.replace("_", "-"): v for k, v in headers.items()})

    return handle


def error_of(result: tuple[int, bool, str]) -> Any:
    assert result[1] is False
    return orjson.loads(result[2])


async def test_given_a_post_when_it_succeeds_then_body_reason_and_answer_pass_unchanged(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    rig.scopes.learn("channel", "2", "3")

    async def echo(request: web.Request) -> web.Response:
        seen = {
            "body": await request.text(),
            "type": request.content_type,
            "auth": request.headers["Authorization"],
            "reason": request.headers["X-Audit-Log-Reason"],
            "query": dict(request.query),
        }
        return reply(seen)

    rig.discord.answers["POST /channels/2/messages"] = echo
    rig.call(
        *(1, "3", "POST", "/channels/2/messages"),
        scope=CHANNEL,
        body='{"content":"héllo"}',
        reason="why é",
        query=(("wait", "true"),),
    )
    await eventually.soon(lambda: 1 in rig.results)

    assert orjson.loads(rig.results[1][2]) == {
        "body": '{"content":"héllo"}',
        "type": "application/json",
        "auth": "Bot token",
        "reason": "why %C3%A9",
        "query": {"wait": "true"},
    }


async def test_given_an_empty_answer_when_delivered_then_it_is_null(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()

    async def nothing(_: web.Request) -> web.Response:
        return web.Response(status=204)

    rig.discord.answers["DELETE /guilds/3/members/7"] = nothing
    rig.call(1, "3", "DELETE", "/guilds/3/members/7", scope=(("guild", "3"),))
    await eventually.soon(lambda: rig.results)

    assert rig.results[1] == (1, True, "null")


async def test_given_files_when_posted_then_discord_gets_a_multipart_form(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    parts: dict[str, Any] = {}

    async def read(request: web.Request) -> web.Response:
        form = await request.post()
        parts["payload"] = orjson.loads(str(form["payload_json"]))
        upload = form["files[0]"]
        assert isinstance(upload, web.FileField)
        parts["file"] = (upload.filename, upload.file.read())
        return reply({})

    rig.discord.answers["POST /channels/2/messages"] = read
    rig.scopes.learn("channel", "2", "3")
    body = 'multipart {"payload":{"content":"x"},"files":[{"name":"hi.txt","data":"aGk="}]}'
    rig.call(1, "3", "POST", "/channels/2/messages", scope=CHANNEL, body=body)
    await eventually.soon(lambda: rig.results)

    assert parts == {"payload": {"content": "x"}, "file": ("hi.txt", b"hi")}


async def test_given_a_refusal_when_delivered_then_the_error_has_code_status_and_route(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    refusal = {"message": "Missing Permissions", "code": 50013}
    rig.discord.answers["POST /webhooks/12/tok"] = answer(403, refusal)
    rig.call(1, "3", "POST", "/webhooks/12/tok")
    await eventually.soon(lambda: rig.results)

    assert error_of(rig.results[1]) == {
        "code": "DISCORD_HTTP_ERROR",
        "message": "HTTP 403: Missing Permissions (POST /webhooks/12/…)",
        "discord_code": 50013,
        "status": 403,
    }


async def test_given_server_errors_when_a_read_is_made_then_it_is_tried_three_times_and_a_write_once(
    make_rig: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.actors.discord.rest.RETRY_BASE_S", 0.001)
    rig = await make_rig()
    for line in ("GET /guilds/3/x", "POST /guilds/3/x"):
        rig.discord.answers[line] = answer(502, {"message": "Bad gateway"})
    rig.call(1, "3", "GET", "/guilds/3/x", retry=True)
    rig.call(2, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: len(rig.results) == 2)

    assert sorted(rig.discord.seen) == ["GET /guilds/3/x"] * 3 + ["POST /guilds/3/x"]
    assert error_of(rig.results[2]) == {
        "code": "DISCORD_HTTP_ERROR",
        "message": "HTTP 502: Bad gateway (POST /guilds/3/x)",
        "discord_code": 0,
        "status": 502,
    }
    assert error_of(rig.results[1])["status"] == 502


async def test_given_a_broken_connection_when_writing_then_it_is_not_sent_again(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    rig.discord.answers["POST /guilds/3/x"] = cut
    rig.call(1, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: rig.results)

    assert rig.discord.seen == ["POST /guilds/3/x"]
    error = error_of(rig.results[1])
    assert (error["code"], error["status"]) == ("DISCORD_HTTP_ERROR", 0)
    assert "connection to Discord failed" in error["message"]


async def test_given_a_slow_guild_when_others_call_then_they_are_not_delayed(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    gate = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await gate.wait()
        return reply({})

    for number in range(20):
        rig.discord.answers[f"POST /guilds/3/x{number}"] = wait
        rig.call(number, "3", "POST", f"/guilds/3/x{number}")
    for number in range(100, 150):
        rig.call(number, "4", "POST", f"/guilds/4/x{number}")

    await eventually.soon(lambda: len(rig.results) == 50)
    assert min(rig.results) == 100
    assert rig.discord.most_under_way["3"] == 4
    gate.set()
    await eventually.soon(lambda: len(rig.results) == 70)
    await eventually.soon(lambda: rig.executor.unfinished == 0)


async def test_given_a_held_up_bucket_when_the_guild_calls_others_then_they_go_on_and_order_within_each_stays(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    gate = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await gate.wait()
        return reply({})

    rig.discord.answers["POST /guilds/3/held"] = wait
    for number in range(10):
        rig.call(number, "3", "POST", "/guilds/3/held")
    for number in range(100, 110):
        rig.call(number, "3", "POST", "/guilds/3/free")

    await eventually.soon(lambda: len(rig.results) == 10)
    assert rig.order == list(range(100, 110))
    gate.set()
    await eventually.soon(lambda: len(rig.results) == 20)
    assert rig.order[10:] == list(range(10))


async def test_given_calls_of_one_guild_one_at_a_time_when_run_then_they_leave_in_order(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(guild_concurrency=1)
    for number in range(30):
        rig.call(number, "3", "POST", f"/guilds/3/x{number}")
    await eventually.soon(lambda: len(rig.results) == 30)

    assert rig.order == list(range(30))
    assert rig.discord.seen == [f"POST /guilds/3/x{number}" for number in range(30)]


async def test_given_discord_too_slow_when_the_limit_passes_then_the_call_is_rate_limited(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(limit_s=0.1)
    gate = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await gate.wait()
        return reply({})

    rig.discord.answers["POST /guilds/3/x"] = wait
    rig.call(1, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: rig.results)
    gate.set()

    error = error_of(rig.results[1])
    assert error["code"] == "DISCORD_RATE_LIMITED"
    assert error["message"].startswith("POST /guilds/3/x did not finish within 0.1 s")


async def test_given_a_full_bucket_when_calling_then_it_waits_and_goes_on(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    answers = [
        answer(429, {"message": "slow", "retry_after": 0.05}, Via="1.1 google", Retry_After="1"),
        answer(200, {"ok": 1}),
    ]

    async def next_answer(request: web.Request) -> web.Response:
        response: web.Response = await answers.pop(0)(request)
        return response

    told: list[Any] = []
    rig.executor.on_timed = lambda origin, timing: told.append(timing)
    rig.discord.answers["POST /guilds/3/x"] = next_answer
    rig.call(1, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: rig.results)

    assert rig.results[1] == (1, True, '{"ok":1}')
    assert [(timing.call_id, timing.status, timing.refused) for timing in told] == [(1, 200, 1)]
    assert told[0].rate_limit_wait_us >= 50_000
    counts, waited_us = rig.executor.figures.samples()["rest_rate_limit"]["POST /guilds/{id}/x",]
    assert (sum(counts), waited_us >= 50_000) == (1, True)
    assert rig.executor.figures.samples()["rest"] == {("POST /guilds/{id}/x", "2xx"): 1}


async def test_given_fast_calls_when_one_is_traced_then_only_its_times_are_told(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    told: list[Any] = []
    rig.executor.on_timed = lambda origin, timing: told.append((timing.call_id, timing.status))
    rig.discord.answers["POST /guilds/3/x"] = answer(200, {})
    rig.executor.follow("w", [2])
    for number in (1, 2, 3):
        rig.call(number, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: len(rig.results) == 3)

    assert (2, 200) in told
    assert not rig.executor._traced


async def test_given_a_wait_longer_than_the_limit_when_limited_then_the_call_fails_at_once(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(limit_s=5)
    rig.discord.answers["PATCH /channels/2"] = answer(
        429, {"message": "slow", "retry_after": 600.0}, Via="1.1 google", Retry_After="600"
    )
    rig.scopes.learn("channel", "2", "3")
    rig.call(1, "3", "PATCH", "/channels/2", scope=CHANNEL)
    await eventually.soon(lambda: rig.results, within_s=1)

    assert error_of(rig.results[1])["code"] == "DISCORD_RATE_LIMITED"


async def test_given_a_global_limit_when_our_limit_ends_the_wait_then_later_calls_still_leave(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(limit_s=0.1)
    rig.discord.answers["POST /guilds/3/x"] = answer(
        429,
        {"message": "slow", "retry_after": 0.3, "global": True},
        Via="1.1 google",
        Retry_After="0.3",
        X_RateLimit_Global="true",
    )
    rig.call(1, "3", "POST", "/guilds/3/x")
    await eventually.soon(lambda: rig.results)
    assert error_of(rig.results[1])["code"] == "DISCORD_RATE_LIMITED"

    await eventually.soon(rig.http._global_over.is_set)
    rig.call(2, "3", "POST", "/guilds/3/y")
    await eventually.soon(lambda: 2 in rig.results)
    assert rig.results[2][1]


async def test_given_too_many_waiting_calls_when_one_more_comes_then_it_is_refused(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(guild_concurrency=1, max_waiting=5)
    for number in range(7):
        rig.call(number, "3", "POST", f"/guilds/3/x{number}")

    assert set(rig.results) == {5, 6}  # the lane has not begun yet: five wait
    assert error_of(rig.results[6])["code"] == "DISCORD_RATE_LIMITED"
    assert rig.executor.figures.samples()["rest_refused"] == {("guild_queue_full",): 2}
    await eventually.soon(lambda: len(rig.results) == 7)


async def test_given_waiting_calls_when_cancelled_then_they_never_leave_and_have_no_result(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(guild_concurrency=1)
    for number in range(5):
        rig.call(number, "3", "POST", f"/guilds/3/x{number}")
    rig.executor.cancel("w", [1, 3])
    await eventually.soon(lambda: rig.executor.unfinished == 0)

    assert rig.order == [0, 2, 4]
    assert rig.discord.seen == ["POST /guilds/3/x0", "POST /guilds/3/x2", "POST /guilds/3/x4"]


async def test_given_a_dead_worker_when_its_calls_are_dropped_then_others_calls_stay(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig(guild_concurrency=1)
    rig.call(0, "3", "POST", "/guilds/3/x0")
    rig.call(1, "3", "POST", "/guilds/3/x1")
    rig.executor.submit("other", [(1, "3", "POST", "/guilds/3/y", (), None, (), None, False)])

    rig.executor.cancel_origin("w")
    await eventually.soon(lambda: rig.executor.unfinished == 0)

    assert rig.discord.seen == ["POST /guilds/3/y"]


async def test_given_running_calls_when_settled_then_it_waits_for_them(make_rig: Any) -> None:
    rig = await make_rig()
    for number in range(12):
        rig.call(number, "3", "POST", f"/guilds/3/x{number}")

    assert await rig.executor.settle(5) == 0
    assert len(rig.results) == 12


async def test_given_a_foreign_channel_when_called_then_it_is_forbidden_and_nothing_leaves(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    rig.scopes.learn("channel", "2", "4")
    rig.call(1, "3", "POST", "/channels/2/messages", scope=CHANNEL)
    rig.call(2, "3", "DELETE", "/guilds/4/members/1", scope=(("guild", "4"),))
    rig.call(3, "", "DELETE", "/guilds/4/members/1", scope=(("guild", ""),))
    await eventually.soon(lambda: len(rig.results) == 3)

    assert {error_of(result)["code"] for result in rig.results.values()} == {"SCOPE_FORBIDDEN"}
    assert rig.discord.seen == []


async def test_given_an_unknown_channel_when_many_calls_name_it_then_one_lookup_decides(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    rig.discord.answers["GET /channels/2"] = answer(200, {"id": "2", "guild_id": "3"})
    for number in range(4):
        rig.call(number, "3", "POST", "/channels/2/messages", scope=CHANNEL)
        rig.call(100 + number, "4", "POST", "/channels/2/messages", scope=CHANNEL)
    await eventually.soon(lambda: len(rig.results) == 8)

    assert rig.discord.seen.count("GET /channels/2") == 1
    assert [rig.results[number][1] for number in range(4)] == [True] * 4
    assert {error_of(rig.results[100 + number])["code"] for number in range(4)} == {"SCOPE_FORBIDDEN"}


async def test_given_a_direct_message_channel_when_called_then_it_is_forbidden(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    rig.discord.answers["GET /channels/2"] = answer(200, {"id": "2", "type": 1})
    rig.call(1, "3", "POST", "/channels/2/messages", scope=CHANNEL)
    await eventually.soon(lambda: rig.results)

    assert error_of(rig.results[1])["code"] == "SCOPE_FORBIDDEN"


async def test_given_a_failing_lookup_when_called_then_the_error_has_no_route(make_rig: Any, eventually: Any) -> None:
    rig = await make_rig()
    rig.discord.answers["GET /webhooks/9"] = answer(404, {"message": "Unknown Webhook", "code": 10015})
    rig.call(1, "3", "POST", "/webhooks/9/tok", scope=(("webhook", "9"),))
    await eventually.soon(lambda: rig.results)

    error = error_of(rig.results[1])
    assert (error["code"], error["status"], error["discord_code"]) == ("DISCORD_HTTP_ERROR", 404, 10015)
    assert "GET" not in error["message"]


async def test_given_a_route_with_our_application_when_called_then_its_id_is_filled_in(
    make_rig: Any, eventually: Any
) -> None:
    rig = await make_rig()
    rig.executor.application_id = "12"
    rig.call(1, "3", "GET", "/applications/{app}/guilds/3/commands", scope=(("guild", "3"),))
    await eventually.soon(lambda: rig.results)

    assert rig.discord.seen == ["GET /applications/12/guilds/3/commands"]


@pytest.mark.parametrize(
    ("method", "path", "bucket"),
    [
        ("POST", "/channels/1/messages", "POST /channels/1/messages"),
        ("DELETE", "/channels/1/messages/2", "DELETE /channels/1/messages/*"),
        ("PUT", "/channels/1/messages/2/reactions/a%20b:3/@me", "PUT /channels/1/messages/*/reactions/*"),
        ("PATCH", "/guilds/1/members/2", "PATCH /guilds/1/members/*"),
        ("PATCH", "/channels/1", "PATCH /channels/1"),
        ("POST", "/webhooks/1/tok", "POST /webhooks/1/tok"),
        ("PATCH", "/webhooks/1/tok/messages/5", "PATCH /webhooks/1/tok/messages/*"),
        ("POST", "/interactions/1/tok/callback", "POST /interactions/1/tok/callback"),
        ("PUT", "/applications/1/guilds/2/commands", "PUT /applications/1/guilds/*/commands"),
    ],
)
def test_given_a_path_then_its_bucket_keeps_the_major_id_only(method: str, path: str, bucket: str) -> None:
    assert bucket_of(method, path) == bucket


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("POST", "/channels/1/messages", "POST /channels/{id}/messages"),
        (
            "DELETE",
            "/channels/1/messages/2/reactions/%F0%9F%98%80/@me",
            "DELETE /channels/{id}/messages/{id}/reactions/{emoji}",
        ),
        ("POST", "/webhooks/1/s3cret", "POST /webhooks/{id}/{token}"),
        ("POST", "/interactions/1/s3cret/callback", "POST /interactions/{id}/{token}/callback"),
        ("PUT", "/applications/{app}/guilds/3/commands", "PUT /applications/{id}/guilds/{id}/commands"),
    ],
)
def test_given_a_path_then_its_template_has_nothing_that_differs_in_each_call(
    method: str, path: str, template: str
) -> None:
    assert template_of(method, path) == template


def test_given_more_routes_than_may_be_when_counted_then_the_rest_is_one() -> None:
    figures = RestFigures()
    for number in range(MAX_ROUTES + 5):
        figures.finished("GET", f"/made{'x' * number}", "2xx", 0.2, 0.1)

    found = figures.samples()

    assert len(found["rest_time"]) == MAX_ROUTES + 1
    assert found["rest"]["other", "2xx"] == 5


@pytest.mark.parametrize(
    ("status", "error", "ending"),
    [
        (200, None, "2xx"),
        (404, DiscordError("x"), "4xx"),
        (502, DiscordError("x"), "5xx"),
        (429, DiscordRateLimited("x"), "rate_limited"),
        (0, DiscordRateLimited("x"), "rate_limited"),
        (0, ScopeForbidden("x"), "forbidden"),
        (0, DiscordError("x"), "failed"),
    ],
)
def test_given_how_a_call_ended_then_there_is_one_word_for_it(
    status: int, error: DiscordError | ScopeForbidden | None, ending: str
) -> None:
    assert ending_of(status, error) == ending


def test_given_a_path_with_a_token_when_shown_then_the_token_is_left_out() -> None:
    assert shown("POST", "/interactions/1/secret/callback") == "POST /interactions/1/…/callback"
    assert shown("POST", "/channels/1/messages") == "POST /channels/1/messages"


@given(attempt=st.integers(0, 10), chance=st.floats(0, 1))
def test_given_any_attempt_then_the_pause_is_within_full_jitter(attempt: int, chance: float) -> None:
    delay_s = retry_delay_s(attempt, lambda: chance)

    assert 0 <= delay_s <= min(0.25 * 2**attempt, RETRY_CAP_S)
