"""Query parameters, checked."""

from __future__ import annotations

from aiohttp import web

from flora.messages.errors import BadRequest

LEVELS = ("trace", "debug", "info", "warn", "error")


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


def level_parameter(request: web.Request) -> str | None:
    """A log level, or None."""
    level = request.query.get("level")
    if level is not None and level not in LEVELS:
        raise BadRequest(f"`level` must be one of {', '.join(LEVELS)}", parameter="level")
    return level
