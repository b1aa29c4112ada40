"""Discord's ids: milliseconds since 2015 in the upper 42 bits, a counter in the lower 22."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

DISCORD_EPOCH_MS = 1_420_070_400_000
_COUNTER_BITS = 22


class SnowflakeFactory:
    """Makes ids that rise strictly, also when the clock steps back."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._last = 0

    def next(self) -> str:
        """A new id, greater than every id made before."""
        by_clock = (int(self._now_s() * 1000) - DISCORD_EPOCH_MS) << _COUNTER_BITS
        self._last = max(by_clock, self._last + 1)
        return str(self._last)

    def never_below(self, snowflake: str) -> None:
        """Makes later ids greater than `snowflake`, which came from outside."""
        self._last = max(self._last, int(snowflake))


def created_at(snowflake: str) -> datetime:
    """When an id was made, in UTC."""
    return datetime.fromtimestamp(((int(snowflake) >> _COUNTER_BITS) + DISCORD_EPOCH_MS) / 1000, UTC)


def age_s(snowflake: str, now_s: float) -> float:
    """How old an id is, in seconds."""
    return now_s - ((int(snowflake) >> _COUNTER_BITS) + DISCORD_EPOCH_MS) / 1000


def is_snowflake(text: object) -> bool:
    """Whether `text` is a decimal id that fits in 64 bits."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and 0 < len(text) <= 20 and int(text) < 2**64
