"""What one module looks like between the isolate, which rewrites it, and the linker, which joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

SDK_PACKAGE = "@uwu/flora-sdk"

_KINDS = {
    ".ts": ".ts",
    ".mts": ".ts",
    ".cts": ".ts",
    ".tsx": ".tsx",
    ".js": ".js",
    ".mjs": ".js",
    ".cjs": ".js",
    ".jsx": ".jsx",
    ".json": ".json",
}


def kind_of(path: str) -> str | None:
    """How a file is read: `.ts`, `.tsx`, `.js`, `.jsx` or `.json`. None: it cannot be imported."""
    return _KINDS.get(PurePosixPath(path).suffix)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedName:
    """One name that a module takes from another. `name` is None for the whole namespace."""

    request: int
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndirectExport:
    """`export { name as exported } from …`; `name` is None for `export * as exported from …`."""

    exported: str
    request: int
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One rewritten module. Depends on nothing but its own text, so it is cached by that.

    Attributes:
        code: A list of statements without import or export. Bindings of `requests[i]` are read as `$flora$<i>.<name>`.
        lines: Number of lines in `code`, at least 1.
        mappings: Source map mappings of `code`, one source, beginning at zero.
        last: Source line and column (from 0) of the last mapping.
        requests: Specifiers in order of first appearance.
        places: Line and column (from 1) of each of them in the author's file.
        exports: Exported name → local name.
        types: Exported names that exist only as types; "*" stands for some that are not known.
        default_function: Whether the default export is a function without a name of its own.
        shifts: For bundles: line (from 0) → [column, characters gained by then], to move the mappings of a given map.
    """

    code: str
    lines: int
    mappings: str = ""
    last: tuple[int, int] = (0, 0)
    requests: tuple[str, ...] = ()
    places: tuple[tuple[int, int], ...] = ()
    imported: tuple[ImportedName, ...] = ()
    exports: Mapping[str, str]
    indirect: tuple[IndirectExport, ...] = ()
    stars: tuple[int, ...] = ()
    types: frozenset[str] = frozenset()
    default_function: bool = False
    top_level_await: bool = False
    uses_meta: bool = False
    shifts: Mapping[int, tuple[tuple[int, int], ...]]

    @property
    def size(self) -> int:
        """Rough size in characters, for a bounded cache."""
        return len(self.code) + len(self.mappings) + 1000

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Module:
        """From what transform.js answers."""
        return Module(
            code=raw["code"],
            lines=raw["lines"],
            mappings=raw["mappings"],
            last=(raw["last"][0], raw["last"][1]),
            requests=tuple(raw["requests"]),
            places=tuple((line, column) for line, column in raw["places"]),
            imported=tuple(ImportedName(request=request, name=name) for request, name in raw["imported"]),
            exports=dict(raw["exports"]),
            indirect=tuple(
                IndirectExport(exported=exported, request=request, name=name)
                for exported, request, name in raw["indirect"]
            ),
            stars=tuple(raw["stars"]),
            types=frozenset(raw["types"]),
            default_function=raw["default_function"],
            top_level_await=raw["top_level_await"],
            uses_meta=raw["uses_meta"],
            shifts={line: tuple((column, sum_) for column, sum_ in list_) for line, list_ in raw["shifts"]},
        )
