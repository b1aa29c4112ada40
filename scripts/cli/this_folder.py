"""What the folder one stands in says of the flora that runs there."""

from __future__ import annotations

import os
from pathlib import Path

_UNUSED_SECRETS = {"API_SECRET": "-" * 32, "SECRETS_MASTER_KEY": "0" * 64, "CLUSTER_SECRET": "-" * 32}


def api_url() -> str | None:
    """Where it serves; None: none runs here."""
    from flora.storage.embedded.folder import announced

    data_dir = _data_dir()
    url = announced(data_dir) if data_dir is not None else None
    return f"{url}/api" if url else None


def operator_secret() -> str | None:
    """The operator's secret; None: no flora has run here, or its settings cannot be read."""
    from flora.messages.errors import ConfigError
    from flora.storage.config import load_settings_and_warnings

    data_dir = _data_dir()
    if data_dir is None or not (data_dir / "secrets").is_dir():
        return None
    try:
        return load_settings_and_warnings({**os.environ, **_UNUSED_SECRETS}, Path.cwd())[0].api.operator_secret
    except (ConfigError, OSError):
        return None


def _data_dir() -> Path | None:
    from flora.messages.errors import ConfigError
    from flora.storage.config import load_settings_and_warnings

    # With all secrets given, nothing is made: in a folder where no flora has run there is nothing to be found.
    environ = {**os.environ, **_UNUSED_SECRETS, "API_OPERATOR_SECRET": "-"}
    try:
        return load_settings_and_warnings(environ, Path.cwd())[0].data_dir
    except (ConfigError, OSError):
        return None
