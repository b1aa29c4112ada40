"""Where the stores of a worker's guilds are, and which threads may use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flora.messages.errors import ConfigError
from flora.messages.ids import GuildId
from flora.messages.settings import KvBackendKind, Settings
from flora.storage.kv import Durability, KvFiles, KvLimits
from flora.storage.kv.durability import Syncer
from flora.storage.ports import KvGuild
from flora.storage.postgres import PostgresKv

POSTGRES_THREADS = 8  # each guild has a connection of its own; so many wait for the server at once
STORES_FOLDER = "kv"


@dataclass(frozen=True, slots=True)
class KvFigures:
    """What is open now, and what was done since the start."""

    stores: int = 0
    stored_bytes: int = 0
    compactions: int = 0


class KvBackend(Protocol):
    """Takes guilds' stores.

    Attributes:
        threads: How many helper threads use them; 0: the worker's own does, because nothing there waits.
        has_index: The table `kv_stores` is its own, and needs no telling.
    """

    threads: int
    has_index: bool

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        """Takes a guild's stores. Raises Conflict while another owner has them."""

    def figures(self) -> KvFigures:
        """For the metrics. On the worker's thread."""

    def close(self) -> None:
        """Makes everything durable."""


class FilesBackend:
    """semidbm files. With `always` each batch waits for the disk, so all calls are made on one helper thread."""

    has_index = False

    def __init__(self, settings: Settings) -> None:
        kv = settings.kv
        durability = Durability(kv.durability)
        self.threads = 1 if durability is Durability.ALWAYS else 0
        self._files = KvFiles(
            settings.data_dir / STORES_FOLDER,
            durability=durability,
            limits=kv_limits(settings),
            syncer=Syncer(kv.sync_interval_ms / 1000),
        )

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        return self._files.open_guild(guild_id)

    def figures(self) -> KvFigures:
        return KvFigures(*self._files.figures())

    def close(self) -> None:
        self._files.close()


class PostgresBackend:
    """Tables in Postgres, for guilds that may run on any of several hosts."""

    threads = POSTGRES_THREADS
    has_index = True

    def __init__(self, settings: Settings) -> None:
        if settings.database.url is None:
            raise ConfigError("database.url (DATABASE_URL) is not set", key="database.url", env="DATABASE_URL")
        self._url = settings.database.url
        self._limits = kv_limits(settings)

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        return PostgresKv(self._url, guild_id, limits=self._limits)

    def figures(self) -> KvFigures:
        return KvFigures()

    def close(self) -> None:
        """The server has everything."""


def kv_limits(settings: Settings) -> KvLimits:
    """What the operator allows a guild."""
    kv = settings.kv
    return KvLimits(
        max_store_bytes=kv.max_store_bytes,
        max_guild_bytes=kv.max_guild_bytes,
        max_store_keys=kv.max_store_keys,
        max_stores=kv.max_stores,
        writes_per_minute=kv.writes_per_minute,
    )


def backend_of(settings: Settings) -> KvBackend:
    """The one that `kv.backend` names."""
    return PostgresBackend(settings) if settings.kv.backend is KvBackendKind.POSTGRES else FilesBackend(settings)
