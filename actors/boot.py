"""Boot steps that wait for the outside world, in the caller's thread; see `preparer.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flora.messages.errors import ConfigError
from flora.messages.settings import CacheSettings, DatabaseSettings
from flora.storage.postgres import migrate
from flora.storage.redis import connect_with_backoff

Progress = Callable[[str], None]


def migrate_database(database: DatabaseSettings, progress: Progress) -> None:
    """Brings the database to this version's schema.

    Raises:
        FloraError: it cannot be reached, or refuses.
    """
    if database.url is None:
        raise ConfigError("database.url (DATABASE_URL) is not set and no embedded server was started")
    migrate(database.url, progress)


def wait_for_cache(cache: CacheSettings, progress: Progress) -> None:
    """Waits until the cache answers, trying with growing delay, as long as it takes.

    Raises:
        ConfigError: the URL is missing or malformed.
    """
    if cache.url is None:
        raise ConfigError("cache.url (CACHE_URL) is not set and no embedded server was started")
    asyncio.run(_connect_once(cache.url, progress))


async def _connect_once(url: str, progress: Progress) -> None:
    client = await connect_with_backoff(url, progress=progress)
    await client.aclose()
