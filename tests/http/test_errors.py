from __future__ import annotations

import json

import pytest
from aiohttp import web

from flora.http import errors
from flora.messages.errors import (
    BugError,
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


def body_of(response: web.Response) -> object:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


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


@pytest.mark.parametrize(
    "error", [BugError("a path"), StorageError("a query"), DiscordError("upstream text", status=502)]
)
def test_given_an_error_of_ours_when_rendered_then_only_its_code_is_told(error: FloraError) -> None:
    response = errors.error_response(error)

    assert response.status == 500
    assert body_of(response) == {"message": "Internal server error", "code": error.code, "details": {}}


def test_given_a_known_waiting_time_when_rendered_then_retry_after_has_whole_seconds() -> None:
    assert errors.error_response(MailboxFull("x", retry_after_s=6.6)).headers["Retry-After"] == "7"
    assert errors.error_response(Unavailable("x", retry_after_s=0.01)).headers["Retry-After"] == "1"
    assert errors.error_response(Unavailable("x")).headers["Retry-After"] == str(errors.RETRY_AFTER_S)
