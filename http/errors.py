"""How errors look over HTTP: one status per code, one JSON shape, fixed prefixes.

    {"message": "<prefix><what happened>", "code": "<UPPER_SNAKE>", "details": {…}}

A bug of ours says nothing but `Internal server error`. What a store, Discord or the configuration is the reason of is said in a
fixed sentence: their own words may quote what the caller must not see, and are in the process log under the request's id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from flora.http.render import json_response
from flora.messages.errors import FloraError, MailboxFull, NotFound, RequestError, TooLarge, Unavailable

log = logging.getLogger("flora.api")

RETRY_AFTER_S = 2  # restarts of actors take about a second


class MethodNotAllowed(RequestError):
    """The path exists, the method on it does not; the answer's Allow header lists those that do."""

    code = "METHOD_NOT_ALLOWED"


class UnsupportedMediaType(RequestError):
    """The body is not announced as JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class UnprocessableBody(RequestError):
    """The body is JSON, but a field is missing or of the wrong type."""

    code = "UNPROCESSABLE_BODY"


class RequestTimedOut(RequestError):
    """The request was not complete, or not answered, within its limit."""

    code = "REQUEST_TIMED_OUT"


STATUS_BY_CODE: Mapping[str, int] = {
    "REQUEST_ERROR": 400,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMED_OUT": 408,
    "CONFLICT": 409,
    "TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "UNPROCESSABLE_BODY": 422,
    "KV_QUOTA_EXCEEDED": 413,
    "KV_RATE_LIMITED": 429,
    "CONFIG_ERROR": 500,
    "BUNDLE_FAILED": 400,
    "GUEST_ERROR": 400,
    "LOAD_FAILED": 400,
    "LOAD_TIMED_OUT": 400,
    "OUT_OF_MEMORY": 400,
    "SCOPE_FORBIDDEN": 403,
    "LIMIT_REACHED": 429,
    "STORAGE_ERROR": 500,
    "DISCORD_HTTP_ERROR": 502,
    "DISCORD_RATE_LIMITED": 503,
    "UNAVAILABLE": 503,
    "WORKER_GONE": 503,
    "MAILBOX_FULL": 429,
    "SHUTTING_DOWN": 503,
    "TIMED_OUT": 504,
    "INTERNAL": 500,
}

_PREFIX_BY_STATUS: Mapping[int, str] = {
    401: "Unauthorized: ",
    403: "Forbidden: ",
    404: "Resource not found: ",
    429: "Too many requests: ",
    500: "Internal server error: ",
    502: "Service unavailable: ",
    503: "Service unavailable: ",
    504: "Service unavailable: ",
}
_OTHER_PREFIX = "Bad request: "
_INTERNAL = "Internal server error"
_SAID_INSTEAD: Mapping[str, str] = {
    "STORAGE_ERROR": "a store refused or failed; the process log says why",
    "CONFIG_ERROR": "the server is not set up for this; the process log says what is missing",
    "DISCORD_HTTP_ERROR": "Discord answered with an error; try again in a moment",
}
_SAY_WHEN_TO_RETRY = frozenset({429, 502, 503})


def status_of(error: FloraError) -> int:
    """HTTP status of an error; 500 for a code that is not in the table."""
    return STATUS_BY_CODE.get(error.code, 500)


def error_response(error: FloraError, request_id: str = "-") -> web.Response:
    """Renders an error. Of those that are not the caller's business the answer has the code, never the text or details."""
    status = status_of(error)
    said: str | None = str(error)
    if status == 500 or error.code in _SAID_INSTEAD:
        fields = {"action": "request_failed", "code": error.code, "request_id": request_id}
        log.error("request failed: %s", error, extra=fields)
        said = _SAID_INSTEAD.get(error.code)
    message = _INTERNAL if said is None else f"{_PREFIX_BY_STATUS.get(status, _OTHER_PREFIX)}{said}"
    details = error.details if said == str(error) else {}
    response = json_response({"message": message, "code": error.code, "details": details}, status=status)
    response.headers.update(_headers(error, status))
    return response


def _headers(error: FloraError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if status in _SAY_WHEN_TO_RETRY:
        wait_s = error.details.get("retry_after_s", RETRY_AFTER_S)
        return {"Retry-After": str(max(1, math.ceil(wait_s)) if isinstance(wait_s, int | float) else RETRY_AFTER_S)}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.details["allowed"])}
    return {}


def from_framework(exc: web.HTTPException, path: str) -> FloraError:
    """The error behind what aiohttp raised by itself: unknown path, wrong method, body too large."""
    match exc:
        case web.HTTPNotFound():
            return NotFound(f"no such path: {path}")
        case web.HTTPMethodNotAllowed():
            allowed = sorted(exc.allowed_methods)
            return MethodNotAllowed(f"{exc.method} is not possible here; use {' or '.join(allowed)}", allowed=allowed)
        case web.HTTPRequestEntityTooLarge():
            return TooLarge("the request body is too large")
        case _ if exc.status >= 500:
            return Unavailable(exc.reason)
        case _:
            return RequestError(exc.reason or HTTPStatus(exc.status).phrase)


def too_many(message: str, **details: Any) -> MailboxFull:
    """Refusal at a limit: 429 with Retry-After."""
    return MailboxFull(message, **details)
