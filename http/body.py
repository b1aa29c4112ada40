"""Reading JSON bodies: what may go wrong, each with its own status."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import hdrs, web

from flora.http.deps import DEPS
from flora.http.errors import RequestTimedOut, UnprocessableBody, UnsupportedMediaType
from flora.messages.errors import BadRequest, TooLarge

JsonObject = dict[str, Any]


async def read_json_object(request: web.Request) -> JsonObject:
    """The request's body as a JSON object.

    Raises:
        UnsupportedMediaType: it is not announced as JSON (415).
        TooLarge: over the server's limit (413).
        RequestTimedOut: it did not arrive in time (408).
        BadRequest: it is not JSON (400).
        UnprocessableBody: it is JSON of another kind (422).
    """
    kind = request.content_type
    if hdrs.CONTENT_TYPE not in request.headers or not (kind == "application/json" or kind.endswith("+json")):
        raise UnsupportedMediaType("the body must be sent with `Content-Type: application/json`")
    body = await _read(request)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}", line=exc.lineno, column=exc.colno) from exc
    if not isinstance(value, dict):
        raise UnprocessableBody("the body must be a JSON object")
    return value


async def _read(request: web.Request) -> bytes:
    limits = request.app[DEPS].limits
    too_large = TooLarge(f"the body is larger than {limits.max_body_bytes} bytes", max_bytes=limits.max_body_bytes)
    if (request.content_length or 0) > limits.max_body_bytes:
        raise too_large
    try:
        async with asyncio.timeout(limits.body_s):
            if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            return await request.read()
    except TimeoutError:
        raise RequestTimedOut(f"the body did not arrive within {limits.body_s:g} s", limit_s=limits.body_s) from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except web.RequestPayloadError as exc:
        raise BadRequest("the body ended early or is badly encoded") from exc


def string_field(body: JsonObject, name: str, where: str = "") -> str:
    """A required string field.

    Raises:
        UnprocessableBody: it is missing or no string.
    """
    value = body.get(name)
    if isinstance(value, str):
        return value
    label = f"`{where}{name}`"
    raise UnprocessableBody(
        f"{label} is required" if value is None else f"{label} must be a string", field=where + name
    )


def optional_string_field(body: JsonObject, name: str) -> str | None:
    """An optional string field; null counts as absent."""
    return None if body.get(name) is None else string_field(body, name)
