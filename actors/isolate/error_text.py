"""What an author sees of an error: their own files and lines, and none of our frames.

V8 names places by the text it ran (`file:///guild/<id>/bundle.js:40:7`); the source map turns them into
`src/main.ts:12:5`.
"""

from __future__ import annotations

import re

from flora.actors.isolate.source_map import InvalidSourceMap, SourceMap

INTERNAL_MARKERS = (
    "runtime-dist/",
    "runtime_sdk_bundle.js",
    "runtime_prelude.js",
    "runtime_bootstrap.js",
    "runtime_module_resolution.js",
    "flora:bootstrap",
    "flora:guild_context",
    "ext:",
    # What ours are evaluated as.
    "flora:prelude",
    "flora:sdk",
    "flora:linker",
    "flora:engine",
)
"""Lower-case; a line that contains one of them is a frame of ours."""

_LINKER = "flora:linker"  # how a frame in the text between two modules is named
_RESUMED = re.compile(r"^ +at (?:async )?\S*\.next \(<anonymous>\)$", re.MULTILINE)  # where a module begins
_TOP_LEVEL = re.compile(r"^( +at (?:async )?)\$flora\$\w+(?:\.next)? \((\S+)\)$", re.MULTILINE)  # of a module
_MAX_CHARS = 64_000  # a script may throw a string of any length


def script_url(guild_id: str) -> str:
    """What a guild's script is called in stack traces."""
    return f"{_script_base(guild_id)}bundle.js"


def _script_base(guild_id: str) -> str:
    return f"file:///guild/{guild_id}/"


def hide_internal_frames(text: str, show_internal: bool = False) -> str:
    """Drops our frames and says how many there were. The first line always stays.

    Args:
        text: An error message and stack trace.
        show_internal: `runtime.show_internal_stack_frames`; True returns `text` as it is.
    """
    if show_internal:
        return text
    first, *rest = text.split("\n")
    kept = [line for line in rest if not _is_internal(line)]
    hidden = len(rest) - len(kept)
    if hidden:
        kept.append(f"    ... {hidden} internal frame(s) hidden (set RUNTIME_SHOW_INTERNAL_STACK_FRAMES=true to show)")
    return "\n".join([first, *kept])


def _is_internal(line: str) -> bool:
    lowered = line.lower()
    return any(marker in lowered for marker in INTERNAL_MARKERS)


class ErrorText:
    """Renders the errors of one guild's script. One per isolate and kept with it: the first error decodes the map."""

    def __init__(self, guild_id: str, source_map: SourceMap | None = None, lines_before: int = 1) -> None:
        """Prepares to render.

        Args:
            guild_id: Whose script; says which places are to be mapped.
            source_map: Map of the script, or None: places then name `bundle.js`.
            lines_before: Lines the host put before the script's first: 1 for `(async function () {"use strict";`.
        """
        self._base = _script_base(guild_id)
        self._map = source_map
        self._lines_before = lines_before
        self._place = re.compile(re.escape(script_url(guild_id)) + r":(\d{1,9})(?::(\d{1,9}))?")

    @classmethod
    def of(cls, guild_id: str, source_map: str | None, lines_before: int = 1) -> ErrorText:
        """As the constructor, from the map's JSON; a map that cannot be read counts as none."""
        try:
            parsed = SourceMap(source_map, _script_base(guild_id)) if source_map else None
        except InvalidSourceMap:
            parsed = None
        return cls(guild_id, parsed, lines_before)

    def render(self, text: str, show_internal: bool = False) -> str:
        """The error as its author should read it: places mapped, then our frames hidden unless asked for."""
        if len(text) > _MAX_CHARS:
            text = text[:_MAX_CHARS] + " …"
        return hide_internal_frames(self.map_places(text), show_internal)

    def map_places(self, text: str) -> str:
        """The same text with every place of the script as the author's `file:line:column`."""
        if self._map is not None:
            text = _TOP_LEVEL.sub(r"\1\2", _RESUMED.sub(f"    at {_LINKER}", text))
        return self._place.sub(self._mapped, text)

    def _mapped(self, match: re.Match[str]) -> str:
        line = int(match[1]) - self._lines_before
        column = int(match[2]) if match[2] else None
        suffix = f"{line}:{column}" if column else f"{line}"
        if self._map is None:
            return f"bundle.js:{suffix}"
        found = self._map.lookup(line, column)
        if found is None:
            return f"bundle.js:{suffix}" if self._map.has_line(line) else f"{_LINKER}:{suffix}"
        source = found.source.removeprefix(self._base)
        return f"{source}:{found.line}:{found.column}" if column else f"{source}:{found.line}"
