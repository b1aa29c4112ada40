"""What a script asks `fetch` for and what it gets: read from its op, written for its isolate. Pure.

    op_fetch {"url", "method", "headers": [[name, value], …], "text" | "base64", "redirect"}
    answer   {"url", "status", "statusText", "headers": [[name, value], …], "redirected", "text" | "base64"}

A body travels as text where it is UTF-8, which most are and which costs nothing to read, else (and where escaping would blow it
up) as Base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

MAX_URL_CHARS = 8192
MAX_HEADERS = 100
MAX_HEADER_CHARS = 32_768
"""Of all request headers together; servers refuse much less."""

MAX_ESCAPED = 2
"""How much longer than itself a body may become as JSON text. Control characters take six each, and V8 a second for 5 MiB of them."""

Headers = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
_OURS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that say how the message is carried. A script's are left out, as a browser does."""


class FetchCode(StrEnum):
    """The `code` of the TypeError that a failed fetch rejects with."""

    BLOCKED = "FETCH_BLOCKED"  # a rule of this host: address, port, scheme, or fetch is switched off
    TIMEOUT = "FETCH_TIMEOUT"
    TOO_LARGE = "FETCH_TOO_LARGE"
    FAILED = "FETCH_FAILED"


class FetchError(Exception):
    """A fetch that came to nothing. The text is for the script's author and never names an address the script did not write."""

    def __init__(self, code: FetchCode, text: str) -> None:
        super().__init__(text)
        self.code = code

    def details(self) -> dict[str, str]:
        """What becomes the script's TypeError."""
        return {"message": f"fetch failed: {self}", "code": self.code, "name": "TypeError"}


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One fetch, checked. URL and header values are as the script wrote them and may hold placeholders of secrets."""

    url: str
    method: str = "GET"
    headers: Headers = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    redirect: str = "follow"  # or "error", "manual"


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """What came back. `url` is that of the last request, without a fragment."""

    url: str
    status: int
    reason: str
    headers: Headers
    body: bytes = field(repr=False)
    redirected: bool = False

    def encoded(self) -> str:
        """The answer as JSON text."""
        answer: dict[str, Any] = {
            "url": self.url,
            "status": self.status,
            "statusText": self.reason,
            "headers": self.headers,
            "redirected": self.redirected,
        }
        with suppress(UnicodeDecodeError):
            text = orjson.dumps({**answer, "text": self.body.decode()})
            if len(text) <= MAX_ESCAPED * len(self.body) + MAX_HEADER_CHARS:
                return text.decode()
        answer["base64"] = base64.b64encode(self.body).decode()
        return orjson.dumps(answer).decode()


def read_request(args: Sequence[Any], max_body_bytes: int) -> FetchRequest:
    """The request behind the arguments of `op_fetch`. The prelude has checked them; a script may reach the op itself.

    Raises:
        FetchError: FAILED for what is malformed, TOO_LARGE for a body above the limit.
    """
    given = args[0] if args and isinstance(args[0], dict) else {}
    method = _method(given.get("method", "GET"))
    body = _body(given, max_body_bytes)
    if body is not None and method in {"GET", "HEAD"}:
        raise _malformed(f"a {method} request cannot have a body")
    redirect = given.get("redirect", "follow")
    if redirect not in {"follow", "error", "manual"}:
        raise _malformed("redirect must be follow, error or manual")
    return FetchRequest(_url(given.get("url")), method, _headers(given.get("headers", [])), body, redirect)


def _malformed(text: str) -> FetchError:
    return FetchError(FetchCode.FAILED, text)


def _url(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise _malformed("the URL must be text without spaces and beyond-ASCII characters")
    if len(value) > MAX_URL_CHARS:
        raise FetchError(FetchCode.TOO_LARGE, f"the URL has more than {MAX_URL_CHARS} characters")
    return value


def _method(value: Any) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _malformed("the method is not a valid name")
    upper = value.upper()
    if upper in _FORBIDDEN_METHODS:
        raise _malformed(f"the method {upper} is not allowed")
    return upper if upper in {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"} else value


def _headers(value: Any) -> Headers:
    if not isinstance(value, list) or len(value) > MAX_HEADERS:
        raise _malformed(f"headers must be a list of at most {MAX_HEADERS}")
    found: list[tuple[str, str]] = []
    for pair in value:
        match pair:
            case [str(name), str(content)] if _TOKEN.fullmatch(name) and _VALUE.fullmatch(content):
                if not is_ours(name):
                    found.append((name, content))
            case _:
                raise _malformed("a header has a name or value that HTTP does not allow")
    if sum(len(name) + len(content) for name, content in found) > MAX_HEADER_CHARS:
        raise FetchError(FetchCode.TOO_LARGE, f"the headers have more than {MAX_HEADER_CHARS} characters")
    return tuple(found)


def is_ours(name: str) -> bool:
    """Whether a header is left to the host."""
    lower = name.lower()
    return lower in _OURS or lower.startswith("proxy-")


def _body(given: dict[str, Any], max_bytes: int) -> bytes | None:
    text, encoded = given.get("text"), given.get("base64")
    try:
        if isinstance(text, str):
            body = text.encode()
        elif isinstance(encoded, str):
            body = base64.b64decode(encoded, validate=True)
        elif text is None and encoded is None:
            return None
        else:
            raise _malformed("the body must be text")
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise _malformed("the body is neither text nor Base64") from None
    if len(body) > max_bytes:
        raise FetchError(
            FetchCode.TOO_LARGE, f"the body has {len(body)} bytes, the limit is {max_bytes} (fetch.max_request_bytes)"
        )
    return body
