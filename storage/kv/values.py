"""What values mean where a store must understand them: metadata, numbers, equality, times."""

from __future__ import annotations

import math
from typing import Any

import orjson

from flora.messages.errors import BadRequest, Conflict
from flora.messages.kv import KvValue

LARGEST_EXACT = 2**53 - 1  # of the integers that a script's numbers hold exactly
LONGEST_NUMBER = 400  # digits; a number a script can hold has at most 309
LATEST_EXPIRATION = 2**63 - 1  # 8 bytes in a record


def metadata_bytes(metadata: Any) -> bytes:
    """Metadata as JSON text; empty when there is none."""
    if metadata is None:
        return b""
    try:
        return orjson.dumps(metadata)
    except TypeError as exc:
        raise BadRequest(f"metadata is no JSON value: {exc}") from None


def parse_metadata(text: bytes) -> Any:
    """The other way round."""
    return orjson.loads(text) if text else None


def resolve_expiration(expiration: int | None, ttl_s: float | None, now: float) -> int | None:
    """When an entry ends, in Unix seconds; None: never. A time to live is never cut short by rounding."""
    if ttl_s is not None:
        if expiration is not None:
            raise BadRequest("expiration and ttl cannot both be given")
        if not math.isfinite(ttl_s) or abs(ttl_s) > LARGEST_EXACT:
            raise BadRequest("ttl is out of range")
        return math.ceil(now + ttl_s)
    if expiration is not None and abs(expiration) > LATEST_EXPIRATION:
        raise BadRequest("expiration is out of range")
    return expiration


def add(value: KvValue | None, by: float) -> tuple[KvValue, int | float]:
    """The value after an increment, and the sum as a number."""
    if isinstance(by, bool) or (abs(by) > LARGEST_EXACT if isinstance(by, int) else not math.isfinite(by)):
        raise BadRequest("increment is not a number that a script can hold exactly")
    total = (0 if value is None else _number(value)) + by
    if isinstance(total, float) and math.isfinite(total) and total.is_integer() and abs(total) <= LARGEST_EXACT:
        total = int(total)  # a script writes 3, never 3.0
    too_large = abs(total) > LARGEST_EXACT if isinstance(total, int) else not math.isfinite(total)
    if too_large:
        raise Conflict("the sum is out of the range of exact numbers")
    return KvValue(orjson.dumps(total).decode(), True if value is None else value.is_json), total


def _number(value: KvValue) -> int | float:
    try:
        parsed = orjson.loads(value.text) if len(value.text) <= LONGEST_NUMBER else None
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, bool) or not isinstance(parsed, int | float):
        raise Conflict("the value is not a number")
    return parsed


def are_equal(first: KvValue | None, second: KvValue | None) -> bool:
    """Whether two values mean the same; None: no value."""
    if first is None or second is None:
        return first is second
    if first.is_json != second.is_json:
        return False
    return first.text == second.text or (first.is_json and _canonical(first.text) == _canonical(second.text))


def _canonical(text: str) -> bytes:
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return text.encode()  # two texts that are no JSON are equal when they are the same
