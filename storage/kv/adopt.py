"""Stores that a database names and that have no folder yet: those of the runtime that the database comes from, made empty.

What that runtime kept in them is in files of its own. But the stores are there, with their ids, and whoever writes to one is not told
that there is none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from flora.messages.errors import BadRequest, StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvStoreInfo
from flora.storage.kv import limits
from flora.storage.kv.durability import sync_folder
from flora.storage.kv.folder import GuildFolder, guild_path

_NEW = ".adopting"


def adopt(root: Path, rows: Iterable[tuple[GuildId, KvStoreInfo]]) -> int:
    """Makes the folders of guilds that have none; a guild that has one knows its stores itself. At boot, before anybody opens them.

    Args:
        rows: All stores of each guild together.
    Returns:
        How many stores were made.
    Raises:
        StorageError: the disk refused.
    """
    made = 0
    shutil.rmtree(root / _NEW, ignore_errors=True)
    for guild_id, found in groupby(rows, key=lambda row: row[0]):
        stores = [info for _, info in found if _is_name(info.name)]
        if stores and _is_guild(guild_id) and not guild_path(root, guild_id).exists():
            _make(root, guild_id, stores)
            made += len(stores)
    shutil.rmtree(root / _NEW, ignore_errors=True)
    return made


def _make(root: Path, guild_id: GuildId, stores: list[KvStoreInfo]) -> None:
    folder = GuildFolder(root / _NEW, guild_id)
    try:
        for info in stores:
            folder.create(info.name, info)
    finally:
        folder.close()
    try:
        folder.path.rename(guild_path(root, guild_id))
        sync_folder(root)
    except OSError as exc:
        raise StorageError(f"the folder of a guild's stores cannot be made: {exc.strerror}") from exc


def _is_guild(guild_id: str) -> bool:
    try:
        limits.check_guild_id(guild_id)
    except BadRequest:
        return False
    return True


def _is_name(name: str) -> bool:
    try:
        limits.check_store_name(name)
    except BadRequest:
        return False
    return True
