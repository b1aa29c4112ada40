"""The folder of one guild's stores: who owns it, and what is called how in it.

<root>/g-<guild id>/lock            held by the owner; its first line is the owner's pid
                    s-<name>/       one store
                        store.json  id and time of making
                        data        see data_file.py
                        usage       what the store counts for; only while it is closed
                    x-<uuid>/       a store that is being deleted, or contents in the making

Names are quoted: lower-case letters, digits, `_` and `-` stand for themselves, other bytes as `%` and two digits. So no name
leaves the folder, none meets another file, and none depends on what a file system thinks of case or of accents.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import orjson

from flora.messages.errors import Conflict, StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvStoreInfo, KvUsage
from flora.storage.kv import limits
from flora.storage.kv.data_file import DATA
from flora.storage.kv.durability import sync_folder

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_STORE, _DELETED = "s-", "x-"


def quoted(name: str) -> str:
    """A name as part of a path: at most three times as long."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in name.encode())


def guild_path(root: Path, guild_id: str) -> Path:
    """Where a guild's folder is."""
    return root / f"g-{quoted(guild_id)}"


class GuildFolder:
    """A guild's folder that this object owns until `close`."""

    def __init__(self, root: Path, guild_id: GuildId) -> None:
        """Takes the folder, made if it is missing.

        Raises:
            BadRequest: this cannot be a guild id.
            Conflict: somebody else owns it; `details["pid"]` says who, if that is known.
            StorageError: the disk refused.
        """
        limits.check_guild_id(guild_id)
        self.path = guild_path(root, guild_id)
        self._lock = -1
        with _translated("opened"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(self._lock, guild_id)
            for left_over in self.path.glob(f"{_DELETED}*"):
                shutil.rmtree(left_over, ignore_errors=True)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets somebody else own it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def store_path(self, name: str) -> Path:
        return self.path / f"{_STORE}{quoted(name)}"

    def infos(self) -> dict[str, KvStoreInfo]:
        """All stores."""
        with _translated("read"):
            names = [unquote(path.name[len(_STORE) :]) for path in self.path.glob(f"{_STORE}*")]
            return {name: self._info(name) for name in sorted(names) if self.store_path(name).is_dir()}

    def create(self, name: str, info: KvStoreInfo | None = None) -> KvStoreInfo:
        """Makes the folder of a store; its record is a new one if none is given."""
        with _translated("changed"):
            self.store_path(name).mkdir(mode=0o700)
            sync_folder(self.path)
            return self._info(name) if info is None else self._note_info(info)

    def nameless(self) -> Path:
        """Where a folder may be that the next owner deletes."""
        return self.path / f"{_DELETED}{uuid.uuid4()}"

    def drop(self, name: str) -> None:
        """Deletes the folder of a store: at once for whoever looks, then file by file."""
        doomed = self.nameless()
        with _translated("changed"):
            self.store_path(name).rename(doomed)
            sync_folder(self.path)
        shutil.rmtree(doomed, ignore_errors=True)

    def note_usage(self, name: str, usage: KvUsage) -> None:
        """Writes down what a store counts for that was just closed."""
        note = {"keys": usage.keys, "stored_bytes": usage.stored_bytes, "file_bytes": self.file_bytes(name)}
        with _translated("changed"):
            (self.store_path(name) / "usage").write_bytes(orjson.dumps(note))

    def take_usage_note(self, name: str) -> None:
        """Removes the note, because the store is about to change."""
        with _translated("changed"):
            (self.store_path(name) / "usage").unlink(missing_ok=True)

    def noted_usage(self, name: str) -> KvUsage | None:
        """What was noted, if it is about the file as it is."""
        try:
            note = orjson.loads((self.store_path(name) / "usage").read_bytes())
            if note["file_bytes"] != self.file_bytes(name):
                return None
            return KvUsage(note["keys"], note["stored_bytes"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def file_bytes(self, name: str) -> int:
        """How large a store's file is; 0 if it has none yet."""
        try:
            return (self.store_path(name) / DATA).stat().st_size
        except FileNotFoundError:
            return 0

    def _info(self, name: str) -> KvStoreInfo:
        """The store's record; made anew where a crash came before it was written."""
        file = self.store_path(name) / "store.json"
        try:
            found = orjson.loads(file.read_bytes())
            made_at = datetime.fromisoformat(found["created_at"])
            return KvStoreInfo(store_id=found["id"], name=name, created_at=made_at)
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return self._note_info(KvStoreInfo(store_id=str(uuid.uuid4()), name=name, created_at=datetime.now(UTC)))

    def _note_info(self, info: KvStoreInfo) -> KvStoreInfo:
        file = self.store_path(info.name) / "store.json"
        new = file.with_suffix(".new")
        record = {"id": info.store_id, "name": info.name, "created_at": info.created_at.isoformat()}
        with new.open("wb") as out:
            out.write(orjson.dumps(record))
            out.flush()
            os.fsync(out.fileno())
        new.rename(file)
        sync_folder(file.parent)
        return info


def _take(lock: int, guild_id: GuildId) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
        owner = int(pid) if pid.isdecimal() else None
        raise Conflict(
            f"the key-value stores of guild {guild_id} are in use by another process ({pid or 'unknown'})", pid=owner
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"the folder of a guild's stores cannot be {what}: {exc.strerror}") from exc
