"""Query parameters, checked."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from flora.messages.errors import BadRequest
from flora.messages.logs import LEVELS, SOURCES, LogFilter

MAX_TEXT_CHARS = 200


def count_parameter(request: web.Request, name: str, default: int, most: int) -> int:
    """A number from 0; what is above `most` is cut to it."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequest(f"`{name}` must be a number from 0", parameter=name)
    return min(int(text), most)


def flag_parameter(request: web.Request, name: str, *, default: bool = False) -> bool:
    """`true` or `false`."""
    text = request.query.get(name, "true" if default else "false")
    if text not in {"true", "false"}:
        raise BadRequest(f"`{name}` must be true or false", parameter=name)
    return text == "true"


def moment_parameter(request: web.Request, name: str) -> int | None:
    """Unix milliseconds, or an RFC 3339 time with its offset, as Unix milliseconds; None when absent."""
    text = request.query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 15:
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + arrives as a space
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadRequest(f"`{name}` must be Unix milliseconds or an RFC 3339 time with its offset", parameter=name)
    return int(moment.timestamp() * 1000)


def text_parameter(request: web.Request, name: str) -> str:
    """A text of at most `MAX_TEXT_CHARS`; empty when absent."""
    text = request.query.get(name, "")
    if len(text) > MAX_TEXT_CHARS:
        raise BadRequest(f"`{name}` has at most {MAX_TEXT_CHARS} characters", parameter=name)
    return text


def log_filter(request: web.Request) -> LogFilter:
    """`level`, `source`, `since`, `until`, `q` and `before`: which log lines are wanted."""
    text = text_parameter(request, "q")
    before = count_parameter(request, "before", 0, 2**63 - 1)
    return LogFilter(
        level=one_of_parameter(request, "level", LEVELS),
        source=one_of_parameter(request, "source", tuple(SOURCES)),
        since_ms=moment_parameter(request, "since"),
        until_ms=moment_parameter(request, "until"),
        text=text or None,
        before_id=before or None,
    )


def one_of_parameter(request: web.Request, name: str, words: tuple[str, ...]) -> str | None:
    """One of these words; None when absent."""
    word = request.query.get(name)
    if word is not None and word not in words:
        raise BadRequest(f"`{name}` must be one of {', '.join(words)}", parameter=name)
    return word
