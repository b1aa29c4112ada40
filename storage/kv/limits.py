"""How large and how frequent things in a store may be. The texts are those that clients know; sizes are UTF-8 bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flora.messages.errors import BadRequest, KvQuotaExceeded, KvRateLimited, TooLarge

MAX_GUILD_ID_BYTES = 32
MAX_STORE_NAME_BYTES = 64
MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 1024 * 1024
MAX_ENTRY_BYTES = 2 * 1024 * 1024
DEFAULT_PAGE = 100
MAX_PAGE = 1_000
RATE_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLimits:
    """Totals of a guild's stores; an operator may change them."""

    max_store_bytes: int = 100 * 1024 * 1024
    max_guild_bytes: int = 500 * 1024 * 1024
    max_stores: int = 100  # scripts make stores by writing to them; each is a folder
    max_store_keys: int = 1_000_000  # per store; each takes about 250 bytes of memory while the store is open
    writes_per_minute: int = 120  # per store; 0: as many as it can take

    def check_totals(self, store_bytes: int, guild_bytes: int) -> None:
        """Refuses a write after which there would be so much."""
        if store_bytes > self.max_store_bytes:
            raise KvQuotaExceeded("kv store storage quota exceeded", limit_bytes=self.max_store_bytes)
        if guild_bytes > self.max_guild_bytes:
            raise KvQuotaExceeded("kv guild storage quota exceeded", limit_bytes=self.max_guild_bytes)

    def check_key_count(self, count: int) -> None:
        """Refuses a write after which a store would have so many keys."""
        if count > self.max_store_keys:
            raise KvQuotaExceeded("kv store has as many keys as it may", limit_keys=self.max_store_keys)

    def check_store_count(self, count: int) -> None:
        """Refuses a store beside so many."""
        if count >= self.max_stores:
            raise KvQuotaExceeded("kv guild has as many stores as it may", limit_stores=self.max_stores)


def check_guild_id(guild_id: str) -> None:
    """Refuses what cannot be a guild id."""
    _check_name("guild_id", guild_id, MAX_GUILD_ID_BYTES)


def check_store_name(name: str) -> None:
    """Refuses what cannot be a store's name."""
    _check_name("store_name", name, MAX_STORE_NAME_BYTES)


def _check_name(what: str, name: str, most: int) -> None:
    if not name:
        raise BadRequest(f"{what} cannot be empty")
    if len(_utf8(name, what)) > most:
        raise BadRequest(f"{what} exceeds maximum size of {most} characters")
    if "/" in name or "." in name or "\0" in name:
        raise BadRequest(f"{what} contains invalid characters")


def key_bytes(key: str) -> bytes:
    """A key, or a cursor, as it is stored."""
    encoded = _utf8(key, "key")
    if not encoded:
        raise BadRequest("key cannot be empty")
    if len(encoded) > MAX_KEY_BYTES:
        raise TooLarge("key exceeds maximum size of 512 characters")
    if b"\0" in encoded:
        raise BadRequest("key contains null character")
    return encoded


def prefix_bytes(prefix: str) -> bytes:
    """A prefix of keys; it may be longer than any key."""
    encoded = _utf8(prefix, "prefix")
    if b"\0" in encoded:
        raise BadRequest("prefix contains null character")
    return encoded


def value_bytes(text: str) -> bytes:
    """A value as it is stored."""
    encoded = _utf8(text, "value")
    if len(encoded) > MAX_VALUE_BYTES:
        raise TooLarge("value exceeds maximum size of 1MB")
    return encoded


def page_size(limit: int | None) -> int:
    """How many keys a page may have."""
    if limit is None:
        return DEFAULT_PAGE
    return MAX_PAGE if limit < 0 else min(limit, MAX_PAGE)


def counted_bytes(key: int, value: int, expiration: int | None, metadata: int) -> int:
    """What an entry counts for, from the lengths of its parts.

    Where there is an expiration or metadata the key counts twice, with `{"expiration":…,"metadata":…}`: so counted the
    runtime that clients come from.
    """
    if expiration is None and not metadata:
        return key + value
    row = len('{"expiration":,"metadata":}') + len(str(expiration)) * (expiration is not None)
    row += 4 * (expiration is None) + (metadata or 4)
    return key + value + key + row


def check_entry(counted: int) -> None:
    """Refuses an entry that counts for too much."""
    if counted > MAX_ENTRY_BYTES:
        raise TooLarge("kv entry exceeds maximum size of 2MB")


class WriteWindows:
    """Writes of each store within the last minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._written_at: dict[str, deque[float]] = {}

    def take(self, store: str, now: float) -> None:
        """Counts a write.

        Args:
            now: Seconds of a clock that never goes back.
        Raises:
            KvRateLimited: there were too many already; this one is not counted.
        """
        if not self._most:
            return
        window = self._written_at.setdefault(store, deque())
        while window and window[0] <= now - RATE_WINDOW_S:
            window.popleft()
        if len(window) >= self._most:
            retry_after_s = window[0] + RATE_WINDOW_S - now
            raise KvRateLimited("kv write rate limit exceeded; retry later", retry_after_s=retry_after_s)
        window.append(now)

    def forget_idle(self, now: float) -> None:
        """Drops the windows of stores that nobody writes to."""
        idle = [store for store, times in self._written_at.items() if not times or times[-1] <= now - RATE_WINDOW_S]
        for store in idle:
            del self._written_at[store]


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{what} is not valid Unicode") from None
