"""The built SDK: what `npm run build` leaves in sdk/dist, found in a checkout and in an installed wheel alike."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from flora.messages.errors import ConfigError


def sdk_path(name: str) -> Path:
    """Path of a built file.

    Raises:
        ConfigError: it was not built; says how.
    """
    path = Path(str(resources.files("flora.sdk"))) / "dist" / name
    if not path.is_file():
        raise ConfigError(f"the SDK is not built: {path.name} is missing; run ./scripts/up, or `npm run build` in sdk/")
    return path


@cache
def sdk_text(name: str) -> str:
    """Contents of a built file; read once per process."""
    return sdk_path(name).read_text(encoding="utf-8")
