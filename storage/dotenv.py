"""Reads `.env` files: `KEY=value` lines as shells and other tools write them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"^\s*(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(?P<value>.*)$")
_REFERENCE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)\}|(?P<bare>[A-Za-z_]\w*))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Variables of a `.env` text, and one sentence for each line that is not understood.

    Single quotes keep everything as it is; in double quotes backslash escapes count; unquoted values end at ` #`.
    `$NAME` and `${NAME}` stand for a variable of `environ` or of an earlier line, outside single quotes.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        value = _value(match["value"], {**found, **environ}) if match else None
        if match is None or value is None:
            problems.append(f".env line {number} is not KEY=value and was skipped")
            continue
        found.setdefault(match["key"], value)
    return found, problems


def _value(raw: str, known: Mapping[str, str]) -> str | None:
    raw = raw.strip()
    if raw.startswith("'"):
        end = raw.find("'", 1)
        return raw[1:end] if end > 0 else None
    if raw.startswith('"'):
        return _double_quoted(raw[1:], known)
    bare = re.split(r"\s#", " " + raw, maxsplit=1)[0].strip()
    return _with_references(bare, known)


def _double_quoted(raw: str, known: Mapping[str, str]) -> str | None:
    parts: list[str] = []
    plain = ""
    at = 0
    while at < len(raw):
        char = raw[at]
        if char == '"':
            return "".join(parts) + _with_references(plain, known)
        if char == "\\" and at + 1 < len(raw):
            parts += [_with_references(plain, known), _ESCAPES.get(raw[at + 1], raw[at + 1])]
            plain = ""
            at += 2
            continue
        plain += char
        at += 1
    return None


def _with_references(text: str, known: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: known.get(match["braced"] or match["bare"], ""), text)
