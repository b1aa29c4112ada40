"""What an isolate says, decoded. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson


def decode_output(text: bytes) -> dict[str, Any]:
    """The prelude's JSON object.

    A script's strings may hold half of a surrogate pair, which JSON can write and no encoding can: orjson refuses the whole text
    then. Such halves become U+FFFD, as V8 itself does when it encodes a string.
    """
    try:
        return dict(orjson.loads(text))
    except orjson.JSONDecodeError:
        return dict(_well_formed(json.loads(text)))


def _well_formed(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_well_formed(item) for item in value]
        case dict():
            return {_well_formed(key): _well_formed(item) for key, item in value.items()}
        case _:
            return value
