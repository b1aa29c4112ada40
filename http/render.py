"""Answers as JSON, the same way everywhere."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web


def json_response(value: Any, status: int = 200) -> web.Response:
    """Plain data as a JSON answer. Datetimes come out as RFC 3339 with `+00:00`."""
    return web.Response(body=orjson.dumps(value, default=str), status=status, content_type="application/json")
