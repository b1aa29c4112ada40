"""Which stores stay open: the ones used last, up to a number of stores and of keys in memory."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from flora.messages.errors import FloraError

log = logging.getLogger("flora.kv")

MAX_OPEN = 64  # file descriptors
MAX_KEYS = 1_000_000  # at about 250 bytes each; as many again while a store of that size is opened


class Closable(Protocol):
    """Something open. `references` counts those who need it to stay so; `weight` is its number of keys."""

    references: int

    @property
    def weight(self) -> int:
        """How much memory it takes, in keys."""

    def close(self) -> None:
        """Closes it for good."""


OpenT = TypeVar("OpenT", bound=Closable)


class HandleCache(Generic[OpenT]):
    """Open stores of all guilds of a process, by guild and name. Used on one thread."""

    def __init__(self, max_open: int = MAX_OPEN, max_keys: int = MAX_KEYS) -> None:
        self._max_open = max_open
        self._max_keys = max_keys
        self._open: OrderedDict[tuple[str, str], OpenT] = OrderedDict()

    def get(self, key: tuple[str, str], opener: Callable[[], OpenT]) -> OpenT:
        """The open one, or a new one, for which others may be closed. Good until the next `get` of another one."""
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
            return found
        self._make_room(self._max_open - 1, self._max_keys)
        found = self._open[key] = opener()
        self._make_room(self._max_open, self._max_keys, keep=key)
        return found

    def peek(self, key: tuple[str, str]) -> OpenT | None:
        """The open one, if it is."""
        return self._open.get(key)

    def opened(self) -> list[OpenT]:
        """All open ones."""
        return list(self._open.values())

    def of_guild(self, guild: str) -> list[OpenT]:
        """All open ones of a guild."""
        return [found for (owner, _), found in self._open.items() if owner == guild]

    def close(self, key: tuple[str, str]) -> None:
        """Closes one, whoever needs it, if it is open."""
        found = self._open.pop(key, None)
        if found is not None:
            found.close()

    def _make_room(self, most: int, most_keys: int, keep: tuple[str, str] | None = None) -> None:
        weight = sum(found.weight for found in self._open.values())
        for key, found in list(self._open.items()):
            if len(self._open) <= most and weight <= most_keys:
                return
            if found.references or key == keep:
                continue
            weight -= found.weight
            del self._open[key]
            try:
                found.close()
            except FloraError as exc:
                # Somebody else's call; the owner of this one learns it from the next sync that fails.
                log.error("a store was not closed well: %s", exc, extra={"action": "kv_close_failed", "store": key})
