"""Where a guild's exports are kept.

<root>/g-<guild id>/<backup id>/stores.jsonl.gz     see export_file.py
                                about.json          when, and how many keys each store has
                    .<backup id>/                   one that is being written, locked by its writer; or left over by one that was killed

A folder of its own beside that of the stores, so that no store's name meets an export. An export appears whole, by one rename.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from flora.messages.errors import NotFound, StorageError
from flora.messages.ids import GuildId
from flora.messages.kv_exports import EXPORTS_KEPT, KvExport
from flora.storage.kv import export_file, limits
from flora.storage.kv.durability import sync_folder
from flora.storage.kv.export_file import Contents, ExportReader
from flora.storage.kv.folder import guild_path

FILE = "stores.jsonl.gz"
ABOUT = "about.json"


class ExportFolder:
    """Exports of one guild. No method keeps anything open but `write` and `reader`; use on any thread."""

    def __init__(self, root: Path, guild_id: GuildId, *, kept: int = EXPORTS_KEPT) -> None:
        limits.check_guild_id(guild_id)
        self._guild_id = guild_id
        self._kept = kept
        self.path = guild_path(root, guild_id)

    def write(self, created_at: datetime, contents: Contents) -> KvExport:
        """Writes an export and removes the oldest ones beyond those that are kept.

        Args:
            created_at: Aware UTC; the moment that `contents` show.
        Raises:
            StorageError: the disk refused; nothing is left of it.
        """
        backup_id = str(uuid.uuid4())
        hidden = self.path / f".{backup_id}"
        with _translated("written"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.remove_left_overs()
            try:
                hidden.mkdir(mode=0o700)
                export = self._fill(hidden, backup_id, created_at, contents)
                hidden.rename(self.path / backup_id)
            except BaseException:
                shutil.rmtree(hidden, ignore_errors=True)
                raise
            sync_folder(self.path)
        self._prune(export)
        return export

    def all(self) -> tuple[KvExport, ...]:
        """Those that are kept, newest first."""
        with _translated("read"):
            names = [path.name for path in self.path.glob("[!.]*")] if self.path.is_dir() else []
        found = [export for name in names if (export := self._about(name)) is not None]
        return tuple(sorted(found, key=lambda export: (export.created_at, export.backup_id), reverse=True))

    def read_part(self, backup_id: str, offset: int, most: int) -> bytes:
        """Up to so many bytes of an export's file.

        Raises:
            NotFound: there is no such export.
        """
        with _translated("read"), self._place(backup_id).open("rb") as file:
            return os.pread(file.fileno(), most, offset)

    @contextmanager
    def reader(self, backup_id: str) -> Iterator[ExportReader]:
        """A whole export, to be read from front to back.

        Raises:
            NotFound: there is no such export.
            StorageError: it is damaged.
        """
        with _translated("read"), self._place(backup_id).open("rb") as file:
            export_file.check(file)
            file.seek(0)
            yield ExportReader(file)

    def delete(self, backup_id: str) -> None:
        """Deletes an export: at once for whoever looks, then file by file.

        Raises:
            NotFound: there is no such export.
        """
        place = self._place(backup_id).parent
        doomed = self.path / f".{uuid.uuid4()}"
        with _translated("deleted"):
            place.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def remove_left_overs(self) -> None:
        """Deletes what a killed writer has left."""
        for hidden in self.path.glob(".*"):
            with suppress(OSError), _locked(hidden / FILE):
                shutil.rmtree(hidden, ignore_errors=True)
            if not (hidden / FILE).exists():
                with suppress(OSError):
                    hidden.rmdir()

    def _fill(self, hidden: Path, backup_id: str, created_at: datetime, contents: Contents) -> KvExport:
        with (hidden / FILE).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            counts = export_file.write(file, self._guild_id, backup_id, created_at, contents)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            about = {"created_at": export_file.rfc3339(created_at), "stores": counts}
            with (hidden / ABOUT).open("wb") as out:
                out.write(orjson.dumps(about))
                out.flush()
                os.fsync(out.fileno())
            sync_folder(hidden)
        return _export(backup_id, about, size)

    def _prune(self, newest: KvExport) -> None:
        """Whatever the times say: a clock may have gone back."""
        for export in [export for export in self.all() if export != newest][self._kept - 1 :]:
            with suppress(NotFound):  # somebody else was faster
                self.delete(export.backup_id)

    def _place(self, backup_id: str) -> Path:
        """The file of an export; the id comes from outside and must not lead out of the folder."""
        try:
            known = str(uuid.UUID(backup_id)) == backup_id
        except ValueError:
            known = False
        place = self.path / backup_id / FILE if known else None
        if place is None or not place.is_file():
            raise NotFound("export not found", backup_id=backup_id[:100])
        return place

    def _about(self, backup_id: str) -> KvExport | None:
        """None: it was deleted meanwhile, or is no export of ours."""
        try:
            place = self._place(backup_id)
            about = orjson.loads((place.parent / ABOUT).read_bytes())
            return _export(backup_id, about, place.stat().st_size)
        except (NotFound, OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None


def _export(backup_id: str, about: dict[str, Any], file_bytes: int) -> KvExport:
    return KvExport(
        backup_id=backup_id,
        created_at=datetime.fromisoformat(about["created_at"]).astimezone(UTC),
        stores=tuple((str(name), int(keys)) for name, keys in about["stores"].items()),
        file_bytes=file_bytes,
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises OSError where it is missing or somebody has it locked."""
    fileno = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fileno)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"an export of key-value stores cannot be {what}: {exc.strerror or exc}") from exc
