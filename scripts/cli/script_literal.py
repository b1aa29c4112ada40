"""Reads `export default {…}` from a script without running it: plain values only."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\$]|\\.)*`)
      |(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?\b)
      |(?P<name>[A-Za-z_$][\w$]*)
      |(?P<mark>[{}\[\](),:;])
      |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None, "undefined": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
MAX_DEPTH = 50


class NotLiteral(Exception):
    """What is exported cannot be known without running the script; says why, as the end of a sentence."""


def read_default_export(text: str) -> Any:
    """The default export of a script, when it is made of plain values.

    Understands `export default {…}`, `export default defineConfig({…})` and `module.exports = {…}`; what follows,
    such as `satisfies T`, is passed over.

    Raises:
        NotLiteral: it is something else.
    """
    start = re.search(r"^[ \t]*(?:export\s+default\b|module\.exports\s*=)", text, re.MULTILINE)
    if start is None:
        raise NotLiteral("has no default export")
    reader = _Reader(text, start.end())
    if reader.peek()[0] == "name" and reader.peek()[1] not in _WORDS:
        reader.take("name")
        reader.take("mark", "(")
        value = reader.value()
        reader.take("mark", ")")
    else:
        value = reader.value()
    return value


class _Reader:
    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._tokens = [
            (match.lastgroup or "", match[0], match.start())
            for match in _TOKEN.finditer(text, position)
            if match.lastgroup != "skip"
        ]
        self._next = 0

    def peek(self) -> tuple[str, str]:
        if self._next == len(self._tokens):
            return ("end", "the end")
        kind, text, _ = self._tokens[self._next]
        return (kind, text)

    def take(self, kind: str, text: str | None = None) -> str:
        found_kind, found = self.peek()
        if found_kind != kind or (text is not None and found != text):
            raise self._unclear(found)
        self._next += 1
        return found

    def value(self, depth: int = 0) -> Any:
        kind, text = self.peek()
        if depth > MAX_DEPTH:
            raise NotLiteral("is nested too deeply")
        if text == "{" and kind == "mark":
            return self._object(depth)
        if text == "[" and kind == "mark":
            return self._list(depth)
        self._next += 1
        if kind == "string":
            return _unquoted(text)
        if kind == "number":
            return json.loads(text)
        if kind == "name" and text in _WORDS:
            return _WORDS[text]
        self._next -= 1
        raise self._unclear(text)

    def _object(self, depth: int) -> dict[str, Any]:
        self.take("mark", "{")
        found: dict[str, Any] = {}
        while self.peek() != ("mark", "}"):
            kind, text = self.peek()
            self.take(kind if kind in {"name", "string", "number"} else "name")
            self.take("mark", ":")
            found[_unquoted(text) if kind == "string" else text] = self.value(depth + 1)
            self._comma("}")
        self.take("mark", "}")
        return found

    def _list(self, depth: int) -> list[Any]:
        self.take("mark", "[")
        found: list[Any] = []
        while self.peek() != ("mark", "]"):
            found.append(self.value(depth + 1))
            self._comma("]")
        self.take("mark", "]")
        return found

    def _comma(self, end: str) -> None:
        if self.peek() != ("mark", end):
            self.take("mark", ",")

    def _unclear(self, found: str) -> NotLiteral:
        at = self._tokens[self._next][2] if self._next < len(self._tokens) else len(self._text)
        line = self._text.count("\n", 0, at) + 1
        return NotLiteral(f"line {line} has more than plain values (at {found[:40]!r})")


def _unquoted(literal: str) -> str:
    return re.sub(
        r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))",
        _escaped,
        literal[1:-1],
        flags=re.DOTALL,
    )


def _escaped(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if number is None:
        return _ESCAPES.get(match[4], match[4])
    if int(number, 16) > 0x10FFFF:
        raise NotLiteral("has a character escape that names no character")
    return chr(int(number, 16))
