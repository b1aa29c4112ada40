"""What an isolate says, decoded. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson


class UnreadableOutput(Exception):
    """What an isolate said cannot be taken in; the text says why, for the script's author."""


def decode_output(text: bytes) -> dict[str, Any]:
    """The prelude's JSON object.

    A script's strings may hold half of a surrogate pair, which JSON can write and no encoding can: orjson refuses the whole text
    then. Such halves become U+FFFD, as V8 itself does when it encodes a string.

    Raises:
        UnreadableOutput: it is not one, or a script nested an argument hundreds of levels deep.
    """
    try:
        return dict(orjson.loads(text))
    except orjson.JSONDecodeError:
        pass
    try:
        return dict(_well_formed(json.loads(text)))
    except RecursionError as exc:
        raise UnreadableOutput("an argument of an operation is nested too deeply") from exc
    except (ValueError, TypeError) as exc:
        raise UnreadableOutput(f"the isolate's output cannot be read: {exc}") from exc


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
