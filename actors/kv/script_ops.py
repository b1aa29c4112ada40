"""Key-value operations of scripts → calls of `KvGuild` → JSON text for the script. Pure but for the stores.

Arguments come from a script and may be anything. Names, keys and other strings have been made strings by the SDK, as the operations
of the runtime that scripts come from coerce them; a value that is no string is kept as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from flora.messages.errors import BadRequest, FloraError
from flora.messages.kv import KvEntry, KvKey, KvValue
from flora.storage.ports import KvGuild

PREFIX = "op_kv_"
ScriptOp = tuple[int, str, Sequence[Any]]
"""(op id, operation, arguments)"""
Answer = tuple[int, bool, str]
"""(op id, ok, JSON text of the value or of the error)"""

NOTHING = "null"


def answer(guild: KvGuild, op: ScriptOp) -> Answer:
    """Carries an operation out."""
    op_id, name, args = op
    run = OPS.get(name)
    try:
        if run is None:
            raise BadRequest(f"there is no operation {name}")
        return op_id, True, run(guild, args)
    except FloraError as exc:
        return refused(op_id, exc)


def refused(op_id: int, error: FloraError) -> Answer:
    """The answer that says why not."""
    return op_id, False, orjson.dumps({"message": str(error), "code": error.code}).decode()


def store_of(op: ScriptOp) -> str:
    """The store an operation is about."""
    _, name, args = op
    at = 1 if name == "op_kv_list_keys" else 0
    return args[at] if len(args) > at and isinstance(args[at], str) else ""


def _get(guild: KvGuild, args: Sequence[Any]) -> str:
    found = guild.get(_text(args, 0, "store"), _text(args, 1, "key"))
    return NOTHING if found is None else _json(found.value)


def _get_with_metadata(guild: KvGuild, args: Sequence[Any]) -> str:
    found = guild.get(_text(args, 0, "store"), _text(args, 1, "key"))
    return NOTHING if found is None else f"[{_json(found.value)},{_about(found)}]"


def _set(guild: KvGuild, args: Sequence[Any]) -> str:
    guild.set(_text(args, 0, "store"), _text(args, 1, "key"), _value(args, 2), **_options(args, 3, metadata=True))
    return NOTHING


def _set_if(guild: KvGuild, args: Sequence[Any]) -> str:
    condition = _object(args, 3, "condition")
    if condition.get("absent") is True:
        expected = None
    elif "value" in condition:
        expected = as_value(condition["value"])
    else:
        raise BadRequest("setIf needs { value } or { absent: true } to compare with")
    options = _options(args, 3, metadata=True)
    store, key = _text(args, 0, "store"), _text(args, 1, "key")
    return "true" if guild.set_if(store, key, _value(args, 2), expected=expected, **options) else "false"


def _increment(guild: KvGuild, args: Sequence[Any]) -> str:
    by = args[2] if len(args) > 2 and args[2] is not None else 1
    if isinstance(by, bool) or not isinstance(by, int | float):
        raise BadRequest("increment: the second argument is not a number")
    total = guild.increment(_text(args, 0, "store"), _text(args, 1, "key"), by, **_options(args, 3, metadata=False))
    return orjson.dumps(total).decode()


def _update_metadata(guild: KvGuild, args: Sequence[Any]) -> str:
    guild.update_metadata(_text(args, 0, "store"), _text(args, 1, "key"), args[2] if len(args) > 2 else None)
    return NOTHING


def _delete(guild: KvGuild, args: Sequence[Any]) -> str:
    guild.delete(_text(args, 0, "store"), _text(args, 1, "key"))
    return NOTHING


def _list_keys(guild: KvGuild, args: Sequence[Any]) -> str:
    given = _object(args, 0, "options")
    page = guild.list(
        _text(args, 1, "store"),
        prefix=_optional_text(given, "prefix") or "",
        cursor=_optional_text(given, "cursor"),
        limit=_whole(given, "limit"),
    )
    found: dict[str, Any] = {"keys": [_line(key) for key in page.keys], "listComplete": page.list_complete}
    if page.cursor is not None:
        found["cursor"] = page.cursor
    return orjson.dumps(found).decode()


OPS: dict[str, Callable[[KvGuild, Sequence[Any]], str]] = {
    "op_kv_get": _get,
    "op_kv_get_with_metadata": _get_with_metadata,
    "op_kv_set": _set,
    "op_kv_set_if": _set_if,
    "op_kv_increment": _increment,
    "op_kv_update_metadata": _update_metadata,
    "op_kv_delete": _delete,
    "op_kv_list_keys": _list_keys,
}
"""Every key-value operation of scripts by name."""
WRITES = frozenset({"op_kv_set", "op_kv_set_if", "op_kv_increment", "op_kv_update_metadata"})


# Arguments


def as_value(given: Any) -> KvValue:
    """A string as it is, anything else as JSON."""
    return KvValue(given) if isinstance(given, str) else KvValue(orjson.dumps(given).decode(), True)


def _value(args: Sequence[Any], at: int) -> KvValue:
    if len(args) <= at:
        raise BadRequest("value is missing")
    return as_value(args[at])


def _text(args: Sequence[Any], at: int, what: str) -> str:
    given = args[at] if len(args) > at else None
    if not isinstance(given, str):
        raise BadRequest(f"{what} is not a string")
    return given


def _object(args: Sequence[Any], at: int, what: str) -> dict[str, Any]:
    given = args[at] if len(args) > at else None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadRequest(f"{what} is not an object")
    return given


def _optional_text(given: dict[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{key} is not a string")
    return value


def _number(given: dict[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{key} is not a number")
    return value


def _whole(given: dict[str, Any], key: str) -> int | None:
    value = _number(given, key)
    return None if value is None else math.trunc(value)


def _options(args: Sequence[Any], at: int, *, metadata: bool) -> dict[str, Any]:
    given = _object(args, at, "options")
    if not given:
        return {}
    found: dict[str, Any] = {"expiration": _whole(given, "expiration"), "ttl_s": _number(given, "ttl")}
    if metadata:
        found["metadata"] = given.get("metadata")
    return found


# Answers


def _json(value: KvValue) -> str:
    return value.text if value.is_json else orjson.dumps(value.text).decode()


def _about(entry: KvEntry) -> str:
    if entry.expiration is None and entry.metadata is None:
        return NOTHING
    return orjson.dumps({"expiration": entry.expiration, "metadata": entry.metadata}).decode()


def _line(key: KvKey) -> dict[str, Any]:
    found: dict[str, Any] = {"name": key.name}
    if key.expiration is not None:
        found["expiration"] = key.expiration
    if key.metadata is not None:
        found["metadata"] = key.metadata
    return found
