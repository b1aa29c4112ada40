"""`cli.json`: the API URL and token that `flora login` keeps for one person."""

from __future__ import annotations

import json
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from flora.scripts.cli.errors import CliError

APP = "flora-nodejs"  # the name under which earlier command lines kept the same file


def config_file() -> Path:
    """Where the platform keeps a program's settings."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Preferences" / APP / "cli.json"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", home / "AppData" / "Roaming")) / APP / "Config" / "cli.json"
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else home / ".config") / APP / "cli.json"


def load() -> dict[str, Any]:
    """What is kept: `apiUrl`, `token`; empty when nothing is.

    Raises:
        CliError: the file cannot be read.
    """
    path = config_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise CliError(f"{path} cannot be read: {exc}; repair or delete it, then run `flora login`") from exc
    if not isinstance(kept, dict):
        raise CliError(f"{path} is not a JSON object; delete it, then run `flora login`")
    return kept


def save(**values: str | None) -> Path:
    """Changes some values and keeps the others; None takes one out. The file is complete at any moment, and only its owner can read it.

    Raises:
        CliError: the file cannot be written.
    """
    path = config_file()
    kept = {name: value for name, value in {**load(), **values}.items() if value is not None}
    text = json.dumps(kept, indent=2) + "\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError as exc:
        with suppress(OSError):
            draft.unlink()
        raise CliError(f"{path} cannot be written: {exc.strerror}") from exc
    return path
