"""Secrets that flora makes for itself, one file each, in a folder that only its user can read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from flora.messages.errors import ConfigError

SECRET_BYTES = 32


def keep_secret(folder: Path, name: str) -> str:
    """The secret of that name as 64 hex digits; made on first use, the same ever after.

    Two processes that ask at the same moment get the same one: the file appears whole under its name or not at all, and
    only the first to link it there wins.

    Raises:
        ConfigError: the folder or file cannot be made or read, or does not hold a secret.
    """
    file = folder / name
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        if not file.exists():
            _create(file, secrets.token_hex(SECRET_BYTES))
        value = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the secret {file} can be neither made nor read: {exc}", path=str(file)) from exc
    if len(value) != SECRET_BYTES * 2:
        raise ConfigError(f"{file} does not hold a secret (64 hex digits); restore it from a backup", path=str(file))
    return value


def _create(file: Path, value: str) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(value + "\n")
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):  # another process was first; its secret counts
            os.link(draft, file)
    finally:
        draft.unlink()
    parent = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
