"""Remembers what the compiler made, by the content it was made from.

A thousand guilds that run the starter bot are one compilation at boot, and putting a previous script back needs none.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flora.messages.deployment import Compiled, SourceFile
from flora.messages.ids import GuildId

MAX_CHARS = 32_000_000  # scripts and maps together; most are ASCII, so about as many bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What somebody wants to run. At least one of `files` and `bundle` is given; a bundle is what runs."""

    entry: str
    files: tuple[SourceFile, ...] | None
    bundle: str | None
    source_map: SourceFile | None


CompileScript = Callable[[Script], Awaitable[Compiled]]


class CompileCache:
    """Least recently used first out. Failures are not remembered: their reason may be gone."""

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._chars = 0
        self._known: OrderedDict[bytes, Compiled] = OrderedDict()

    async def get(self, guild_id: GuildId, script: Script, compile_script: CompileScript) -> Compiled:
        """What `compile_script` makes of the script, from memory where possible. Its errors pass through."""
        shared = _key(script)
        own = shared + guild_id.encode()
        for key in (shared, own):
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        compiled = await compile_script(script)
        # `import.meta.url` names the guild; a script that uses it is this guild's alone.
        self._keep(own if f"//guild/{guild_id}/" in compiled.script else shared, compiled)
        return compiled

    def _keep(self, key: bytes, compiled: Compiled) -> None:
        self._drop(key)
        self._known[key] = compiled
        self._chars += _size(compiled)
        while self._chars > self._max_chars:
            self._drop(next(iter(self._known)))

    def _drop(self, key: bytes) -> None:
        gone = self._known.pop(key, None)
        if gone is not None:
            self._chars -= _size(gone)


def _key(script: Script) -> bytes:
    digest = hashlib.sha256()
    parts: list[str | None] = [script.entry, script.bundle]
    for file in (*(script.files or ()), *((script.source_map,) if script.source_map else ())):
        parts += [file.path, file.contents]
    for part in parts:
        data = b"" if part is None else part.encode("utf-8", "surrogatepass")
        # Length first: otherwise two lists of parts could run together into the same bytes.
        digest.update(b"-" if part is None else b"%d:" % len(data))
        digest.update(data)
    digest.update(b"files" if script.files is not None else b"bundle")
    return digest.digest()


def _size(compiled: Compiled) -> int:
    return len(compiled.script) + len(compiled.source_map or "")
