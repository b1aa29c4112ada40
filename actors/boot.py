"""Boot steps that wait for the outside world, in the caller's thread; see `preparer.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flora.actors.kv.backends import STORES_FOLDER
from flora.messages.errors import ConfigError
from flora.messages.settings import CacheSettings, DatabaseSettings, KvBackendKind, Settings
from flora.storage.kv.adopt import adopt
from flora.storage.postgres import all_kv_stores, migrate
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


def adopt_kv_stores(settings: Settings, progress: Progress) -> None:
    """Makes the key-value stores that the database names and that have no folder yet.

    Raises:
        FloraError: the database or the disk refuses.
    """
    if settings.kv.backend is not KvBackendKind.FILES or settings.database.url is None:
        return
    made = adopt(settings.data_dir / STORES_FOLDER, all_kv_stores(settings.database.url))
    if made:
        progress(f"{made} key-value stores that the database names were made, empty")


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
