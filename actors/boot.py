"""Boot steps that touch the outside world: one attempt each, in the caller's thread, with a limit.

Runtime has no threads (it forks), so it calls these directly; nothing else runs yet that could be held up.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import redis
from redis.exceptions import RedisError

from flora.messages.errors import ConfigError
from flora.messages.settings import CacheSettings, DatabaseSettings
from flora.storage.backoff import Backoff
from flora.storage.postgres import migrate

CACHE_BACKOFF = Backoff(first_s=0.1, cap_s=30.0)


def migrate_database(database: DatabaseSettings, progress: Callable[[str], None]) -> None:
    """Brings the database to this version's schema.

    Raises:
        FloraError: it cannot be reached, or refuses.
    """
    if database.url is None:
        raise ConfigError("database.url (DATABASE_URL) is not set and no embedded server was started")
    migrate(database.url, progress)


def connect_cache(cache: CacheSettings, failures: int, limit_s: float) -> float | None:
    """Asks the cache for a sign of life.

    Args:
        cache: Where it is.
        failures: How many tries failed before this one.
        limit_s: Longest time to wait for an answer.
    Returns:
        None when it answered, else how many seconds to wait before the next try.
    """
    if cache.url is None:
        raise ConfigError("cache.url (CACHE_URL) is not set and no embedded server was started")
    client = redis.Redis.from_url(cache.url, socket_connect_timeout=limit_s, socket_timeout=limit_s)
    try:
        client.ping()
    except (RedisError, OSError):
        return CACHE_BACKOFF.delay_s(failures + 1, random.Random())
    finally:
        client.close()
    return None
