from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from flora.http import errors
from flora.messages.errors import (
    BugError,
    ConfigError,
    DiscordError,
    FloraError,
    Forbidden,
    MailboxFull,
    NotFound,
    StorageError,
    Unauthorized,
    Unavailable,
)


def all_kinds(root: type[FloraError]) -> set[type[FloraError]]:
    return {root}.union(*(all_kinds(child) for child in root.__subclasses__()))


def body_of(response: web.Response) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    body: dict[str, Any] = json.loads(response.body)
    return body


AT_OUR_END = {
    "INTERNAL", "STORAGE_ERROR", "CONFIG_ERROR", "DISCORD_HTTP_ERROR", "DISCORD_RATE_LIMITED",
    "UNAVAILABLE", "WORKER_GONE", "SHUTTING_DOWN", "TIMED_OUT",
}  # fmt: skip


def test_every_error_code_has_a_status_and_no_status_is_left_without_a_code() -> None:
    codes = {kind.code for kind in all_kinds(FloraError) if kind.__module__.startswith("flora.")}

    assert codes == set(errors.STATUS_BY_CODE)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Unauthorized("Login required"), 401, "Unauthorized: Login required"),
        (Forbidden("Bot not in guild"), 403, "Forbidden: Bot not in guild"),
        (NotFound("deployment not found"), 404, "Resource not found: deployment not found"),
        (errors.UnprocessableBody("`entry` is required"), 422, "Bad request: `entry` is required"),
        (MailboxFull("too many"), 429, "Too many requests: too many"),
        (Unavailable("restarting"), 503, "Service unavailable: restarting"),
    ],
)
def test_given_an_error_when_rendered_then_status_prefix_and_code_fit(
    error: FloraError, status: int, message: str
) -> None:
    response = errors.error_response(error)

    assert response.status == status
    assert body_of(response) == {"message": message, "code": error.code, "details": {}}


@pytest.mark.parametrize("kind", sorted(all_kinds(FloraError), key=lambda kind: kind.__name__))
def test_given_any_error_when_rendered_then_only_a_bug_is_opaque(kind: type[FloraError]) -> None:
    response = errors.error_response(kind("what happened", allowed=["GET"]))
    body = body_of(response)

    is_opaque = body["message"] == "Internal server error"
    assert is_opaque == (kind.code == BugError.code)
    assert body["code"] == kind.code
    assert (response.status >= 500) == (kind.code in AT_OUR_END)
    assert ("Retry-After" in response.headers) == (response.status in {429, 502, 503})


@pytest.mark.parametrize(
    "error",
    [
        BugError("a path", secret=1),
        StorageError("a query", sqlstate="42P01"),
        ConfigError("a setting", key="database.url"),
        DiscordError("upstream text", status=502),
    ],
)
def test_given_what_is_not_the_callers_business_when_rendered_then_text_and_details_stay_in_the_log(
    error: FloraError, caplog: pytest.LogCaptureFixture
) -> None:
    response = errors.error_response(error, "request-1")

    body = body_of(response)
    assert response.status in {500, 502}
    assert str(error) not in body["message"]
    assert (body["code"], body["details"]) == (error.code, {})
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["request_id"]) == (f"request failed: {error}", "request-1")


def test_given_a_known_waiting_time_when_rendered_then_retry_after_has_whole_seconds() -> None:
    assert errors.error_response(MailboxFull("x", retry_after_s=6.6)).headers["Retry-After"] == "7"
    assert errors.error_response(Unavailable("x", retry_after_s=0.01)).headers["Retry-After"] == "1"
    assert errors.error_response(Unavailable("x")).headers["Retry-After"] == str(errors.RETRY_AFTER_S)
