"""Small pages for people who meet the API with a browser: what went wrong, and where to go."""

from __future__ import annotations

import base64
import hashlib
from html import escape

import orjson
from aiohttp import hdrs, web

from flora.http.errors import error_response
from flora.messages.errors import FloraError

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
main { max-width: 30rem; margin: 18vh auto; padding: 0 1.5rem }
h1 { font-size: 1.4rem }
a { color: inherit; font-weight: 600 }
small { opacity: .65 }
"""
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title} · flora</title>
<style>{style}</style><main><h1>{title}</h1><p>{text}</p><p><a href="{link}">{label}</a></p><p><small>{code}</small></p></main></html>
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_CSP = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def wants_page(request: web.Request) -> bool:
    """Whether a person's browser asks, not a program."""
    return "text/html" in request.headers.get(hdrs.ACCEPT, "")


def error_page(error: FloraError, request_id: str, title: str, link: str, label: str) -> web.Response:
    """An error as a page, with the status and headers that the JSON would have."""
    response = error_response(error, request_id)
    assert isinstance(response.body, bytes)
    told = orjson.loads(response.body)
    response.text = _PAGE.format(
        title=escape(title),
        style=_STYLE,
        text=escape(str(told["message"])),
        link=escape(link),
        label=escape(label),
        code=escape(str(told["code"])),
    )
    response.content_type = "text/html"
    response.headers["Content-Security-Policy"] = PAGE_CSP
    return response
