"""Source maps, version 3: find the author's place behind a place of the script that ran.

A map comes from our own compiler or, with a ready-made bundle, from whoever deployed: nothing in it is trusted.
Decoding is lazy and linear; the first lookup walks the mappings once and keeps one position per line, later ones decode
one line.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUE_OF = {digit: value for value, digit in enumerate(DIGITS)}
_MAX_VLQ_DIGITS = 8  # 40 bits; positions need 31
_MAX_MAPPINGS_CHARS = 16_000_000  # about 0.7 s to walk; a larger map is kept and not used
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_ABSOLUTE = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:|/)")


class InvalidSourceMap(ValueError):
    """The text is not a source map. `str(error)` begins `invalid source map JSON: `."""


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """A place in an author's file. `line` and `column` count from 1."""

    source: str
    line: int
    column: int
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class _State:
    """Running sums at the start of a line."""

    source: int = 0
    line: int = 0
    column: int = 0
    name: int = 0


_Segment = tuple[int, int, int, int, int]  # generated column, source (-1: none), line, column, name (-1: none); from 0


def encode_vlq(values: Iterable[int]) -> str:
    """Base64 VLQ of each value, joined."""
    return "".join(_encode_one(value) for value in values)


def _encode_one(value: int) -> str:
    rest = (-value << 1) | 1 if value < 0 else value << 1
    digits = []
    while True:
        digit = rest & 31
        rest >>= 5
        digits.append(DIGITS[digit | 32 if rest else digit])
        if not rest:
            return "".join(digits)


def decode_vlq(text: str) -> tuple[int, ...]:
    """The values of one segment.

    Raises:
        InvalidSourceMap: A character outside base64, a value cut short, or one of more than 40 bits.
    """
    values: list[int] = []
    value = shift = 0
    for digit in text:
        bits = _VALUE_OF.get(digit)
        if bits is None or shift >= 5 * _MAX_VLQ_DIGITS:
            raise InvalidSourceMap("invalid source map JSON: bad mappings")
        value |= (bits & 31) << shift
        if bits & 32:
            shift += 5
            continue
        values.append(-(value >> 1) if value & 1 else value >> 1)
        value = shift = 0
    if shift:
        raise InvalidSourceMap("invalid source map JSON: bad mappings")
    return tuple(values)


def shift_mappings(mappings: str, shifts: Mapping[int, Sequence[tuple[int, int]]]) -> str:
    """Mappings of a text after edits that moved columns.

    Args:
        mappings: Of the text before.
        shifts: Line (from 0) → rising (column, characters gained from this column on).

    Raises:
        InvalidSourceMap: A line that has to be changed is junk.
    """
    lines = mappings.split(";")
    for line, gains in shifts.items():
        if line < len(lines) and lines[line]:
            lines[line] = _shifted_line(lines[line], gains)
    return ";".join(lines)


def _shifted_line(line: str, gains: Sequence[tuple[int, int]]) -> str:
    at = moved_before = 0
    shifted = []
    for text in line.split(","):
        column, *rest = decode_vlq(text) or (0,)
        at += column
        place = bisect_right(gains, at, key=lambda gain: gain[0]) - 1
        moved = at + (gains[place][1] if place >= 0 else 0)
        shifted.append(encode_vlq((moved - moved_before, *rest)))
        moved_before = moved
    return ",".join(shifted)


def resolve_source(source: str, base: str) -> str:
    """A map's source as a URL: relative ones below `base` (which ends in a slash), `.` and `..` resolved."""
    if _ABSOLUTE.match(source):
        return source
    return base + relative_source(source)


def relative_source(source: str) -> str:
    """A relative source for people: no `.`, `..` or control characters, e.g. `../src/./main.ts` → `src/main.ts`."""
    parts: list[str] = []
    for part in _CONTROL.sub("?", source).split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _rooted(root: str, source: str) -> str:
    if not root or _ABSOLUTE.match(source):
        return source
    return root.rstrip("/") + "/" + source


def _parsed(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidSourceMap(f"invalid source map JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise InvalidSourceMap("invalid source map JSON: not an object")
    raw.setdefault("sources", [])
    raw.setdefault("mappings", "")
    if not isinstance(raw["mappings"], str):
        raise InvalidSourceMap("invalid source map JSON: `mappings` is not a string")
    if not _strings(raw["sources"]) or not isinstance(raw.get("sourceRoot") or "", str):
        raise InvalidSourceMap("invalid source map JSON: `sources` is not a list of strings")
    if not _strings(raw.setdefault("names", [])):
        raise InvalidSourceMap("invalid source map JSON: `names` is not a list of strings")
    return raw


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(one is None or isinstance(one, str) for one in value)


class SourceMap:
    """A version 3 map, ready for lookups. Not thread-safe: one owner, like the isolate it belongs to."""

    def __init__(self, text: str, base: str = "") -> None:
        """Checks the JSON; the mappings are not decoded yet.

        Args:
            text: The map's JSON.
            base: URL with a final slash that relative sources are resolved against; empty keeps them relative.

        Raises:
            InvalidSourceMap: `text` is not a map.
        """
        raw = _parsed(text)
        root = raw.get("sourceRoot") or ""
        sources = [_rooted(root, one or "") for one in raw["sources"]]
        self.sources = [resolve_source(one, base) for one in sources]
        self.names = [one or "" for one in raw["names"]]
        self._lines = raw["mappings"].split(";") if len(raw["mappings"]) <= _MAX_MAPPINGS_CHARS else []
        self._starts: list[_State] | None = None
        self._decoded: tuple[int, list[_Segment]] = (-1, [])

    def lookup(self, line: int, column: int | None) -> SourcePosition | None:
        """The author's place behind a generated one, both counting from 1. None where the map says nothing.

        Follows the rule of the format: the last mapping at or before the place, on the same line. Without a column: the
        first mapping of the line.
        """
        segments = self._line(line - 1)
        at = 0 if column is None else bisect_right(segments, column - 1, key=lambda segment: segment[0]) - 1
        if not 0 <= at < len(segments):
            return None
        _, source, source_line, source_column, name = segments[at]
        if not 0 <= source < len(self.sources) or source_line < 0 or source_column < 0:
            return None
        label = self.names[name] if 0 <= name < len(self.names) else None
        return SourcePosition(self.sources[source], source_line + 1, source_column + 1, label)

    def has_line(self, line: int) -> bool:
        """Whether anything on this generated line, counting from 1, is mapped."""
        return 0 < line <= len(self._lines) and bool(self._lines[line - 1])

    def _line(self, index: int) -> list[_Segment]:
        if self._decoded[0] == index:
            return self._decoded[1]
        starts = self._line_starts()
        if not 0 <= index < len(starts):
            return []
        try:
            segments = _segments(self._lines[index], starts[index])
        except InvalidSourceMap:
            segments = []
        self._decoded = (index, segments)
        return segments

    def _line_starts(self) -> list[_State]:
        """State at the start of each line, up to the first line that is junk."""
        if self._starts is None:
            self._starts = []
            memo: dict[str, tuple[int, ...]] = {}
            state = _State()
            for line in self._lines:
                self._starts.append(state)
                if not line:
                    continue
                try:
                    state = _advance(line, state, memo)
                except InvalidSourceMap:
                    self._starts.pop()
                    break
        return self._starts


def _advance(line: str, state: _State, memo: dict[str, tuple[int, ...]]) -> _State:
    source, source_line, column, name = state.source, state.line, state.column, state.name
    for text in line.split(","):
        values = memo.get(text)
        if values is None:
            values = memo[text] = decode_vlq(text)
        if len(values) >= 4:
            source += values[1]
            source_line += values[2]
            column += values[3]
            if len(values) >= 5:
                name += values[4]
    return _State(source, source_line, column, name)


def _segments(line: str, state: _State) -> list[_Segment]:
    segments: list[_Segment] = []
    at = 0
    source, source_line, column, name = state.source, state.line, state.column, state.name
    for text in line.split(",") if line else ():
        values = decode_vlq(text)
        if not values:
            continue
        at += values[0]
        if len(values) < 4:
            segments.append((at, -1, 0, 0, -1))
            continue
        source, source_line, column = source + values[1], source_line + values[2], column + values[3]
        if len(values) >= 5:
            name += values[4]
        segments.append((at, source, source_line, column, name if len(values) >= 5 else -1))
    segments.sort(key=lambda segment: segment[0])
    return segments
