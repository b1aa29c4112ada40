"""The files of a project that are sent to be deployed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flora.scripts.cli.errors import CliError
from flora.scripts.cli.ignore import IgnoreRules

EXTENSIONS = frozenset({".ts", ".tsx", ".js", ".jsx", ".mjs", ".cts"})
# Lock files are left out: nothing is installed on the server, and they would use up its limit for sources.
NAMES = frozenset({"package.json", "tsconfig.json"})
# fmt: off
SKIPPED_FOLDERS = frozenset({
    "node_modules", "target", "dist", ".output", ".next", ".nuxt", ".svelte-kit", "build", "out",
    ".turbo", ".cache", "coverage", ".parcel-cache", ".vite", ".git",
})
# fmt: on


class SourceText(NamedTuple):
    """One file. `path` is relative to the project's root, with `/` between its parts."""

    path: str
    contents: str


def collect(root: Path, entry: str) -> list[SourceText]:
    """Source files below `root`, in order of their paths, without what is ignored; always with `entry`.

    Raises:
        CliError: a file or folder cannot be read, or a source is not UTF-8.
    """
    try:
        paths = set(_walk(root, "", IgnoreRules()))
    except OSError as exc:
        raise CliError(f"{exc.filename} cannot be read: {exc.strerror}") from exc
    return [SourceText(path, read_text(root / path)) for path in sorted(paths | {entry})]


def read_text(file: Path) -> str:
    """A source file's text.

    Raises:
        CliError: it cannot be read or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise CliError(f"{file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise CliError(f"{file} is not UTF-8 text (byte {exc.start}); save it as UTF-8 or ignore it") from exc


def _walk(folder: Path, prefix: str, rules: IgnoreRules) -> Iterator[str]:
    rules = rules.entering(folder, prefix)
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED_FOLDERS and not rules.ignore(path, is_folder=True):
                    yield from _walk(folder / entry.name, f"{path}/", rules)
            elif _is_source(entry.name) and entry.is_file() and not rules.ignore(path, is_folder=False):
                yield path


def _is_source(name: str) -> bool:
    return name in NAMES or Path(name).suffix in EXTENSIONS
