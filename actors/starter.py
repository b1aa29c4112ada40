"""The bot that a guild gets when it has none: built with the SDK, shipped as source."""

from __future__ import annotations

from functools import cache

import orjson

from flora.actors.compile_cache import Script
from flora.actors.sdk_files import sdk_text
from flora.messages.deployment import SourceFile


@cache
def load_starter() -> Script:
    """The starter bot, from sdk/dist/starter.json: {"entry": path, "files": [{"path", "contents"}, …]}.

    Raises:
        ConfigError: the SDK was not built.
    """
    starter = orjson.loads(sdk_text("starter.json"))
    files = tuple(SourceFile(path=found["path"], contents=found["contents"]) for found in starter["files"])
    return Script(entry=starter["entry"], files=files, bundle=None, source_map=None)
