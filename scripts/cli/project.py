"""A project's settings and where it begins: `flora.config.*`, root folder and entry file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from flora.scripts.cli.errors import CliError
from flora.scripts.cli.script_literal import NotLiteral, read_default_export

DATA_FILES = ("flora.config.json", "flora.config.toml")
SCRIPT_FILES = tuple(f"flora.config.{extension}" for extension in ("ts", "mts", "cts", "js", "mjs", "cjs"))
DEFAULT_ENTRY = "src/main.ts"


class Project(NamedTuple):
    """Where a project's sources are, and the file that runs: relative to the root, with `/` between its parts."""

    root: Path
    entry: str


def find_project(entry: str | None, root: str | None, cwd: Path) -> Project:
    """The project that the flags or the configuration in `cwd` describe.

    Raises:
        CliError: the configuration cannot be read, or the entry is missing or outside the root.
    """
    settings = {} if entry is not None and root is not None else read_deploy_settings(cwd)
    wanted_root = (cwd / (root or settings.get("root") or ".")).resolve()
    wanted_entry = entry or settings.get("entry") or DEFAULT_ENTRY
    if not wanted_root.is_dir():
        raise CliError(f"{wanted_root} is not a folder")
    # First as it is meant: inside the root. A path as the shell completes it, from the current folder, is clear too.
    for file in (wanted_root / wanted_entry, cwd / wanted_entry):
        if file.resolve().is_file():
            return Project(wanted_root, _relative(file.resolve(), wanted_root))
    _relative((wanted_root / wanted_entry).resolve(), wanted_root)
    raise CliError(f"entry file not found: {wanted_root / wanted_entry}; name another: `flora deploy ENTRY`")


def read_deploy_settings(folder: Path) -> dict[str, str]:
    """`deploy.entry` and `deploy.root` of the first `flora.config.*` in a folder; empty without one.

    Raises:
        CliError: it cannot be understood without running it.
    """
    for name in (*DATA_FILES, *SCRIPT_FILES):
        file = folder / name
        if file.is_file():
            return _deploy_section(file, _read(file))
    return {}


def _read(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8-sig")
        match file.suffix:
            case ".json":
                return json.loads(text)
            case ".toml":
                return tomllib.loads(text)
            case _:
                return read_default_export(text)
    except NotLiteral as exc:
        raise CliError(
            f"{file.name} is read, never run, and {exc}; write plain values, use flora.config.json,"
            " or give ENTRY and --root"
        ) from exc
    except (OSError, ValueError) as exc:
        raise CliError(f"{file} cannot be read: {exc}") from exc


def _deploy_section(file: Path, config: Any) -> dict[str, str]:
    section = config.get("deploy", {}) if isinstance(config, dict) else None
    if not isinstance(section, dict):
        raise CliError(f'{file.name} must look like {{"deploy": {{"entry": "src/main.ts", "root": "."}}}}')
    for key in ("entry", "root"):
        if key in section and not isinstance(section[key], str):
            raise CliError(f"{file.name}: deploy.{key} must be a string")
    return {key: section[key] for key in ("entry", "root") if section.get(key)}


def _relative(file: Path, root: Path) -> str:
    try:
        return file.relative_to(root).as_posix()
    except ValueError:
        raise CliError(f"Entry file is not inside {root}") from None
