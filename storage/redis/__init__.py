"""Sessions and caches on Redis or Valkey."""

from __future__ import annotations

from flora.storage.redis.cache import DegradingCache, RedisCache
from flora.storage.redis.connect import connect_with_backoff, make_client
from flora.storage.redis.guard import GuardedCache

__all__ = ["DegradingCache", "GuardedCache", "RedisCache", "connect_with_backoff", "make_client"]
