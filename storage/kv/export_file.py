"""The file of an export: JSON Lines (UTF-8, one object per line) in one gzip stream.

    {"format": "flora-kv-export", "version": 1, "guild_id": "…", "backup_id": "…", "created_at": "…Z"}
    {"store": "name", "id": "…", "created_at": "…Z"}                   followed by its entries, keys bytewise ascending
    {"key": "…", "value": "…", "type"?: "json", "expiration"?: 1700000000, "metadata"?: …}
    {"end": true, "stores": 2, "entries": 10}

`value` is the text that is stored; with `"type": "json"` it is the text of a JSON value. A file without its last line is not whole.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

from flora.messages.errors import StorageError
from flora.messages.kv import KvEntry, KvStoreInfo, KvValue

FORMAT = "flora-kv-export"
VERSION = 1
LEVEL = 1  # of compression: a tenth more than 6 leaves of a text, in less than half of its time
BLOCK_BYTES = 64 * 1024  # compressed at once; other threads run meanwhile
LONGEST_LINE = 16 * 1024 * 1024  # an entry has 2 MiB, each byte of which JSON writes as six at most

Contents = Iterable[tuple[KvStoreInfo, Iterable[tuple[str, KvEntry]]]]


def write(file: BinaryIO, guild_id: str, backup_id: str, created_at: datetime, contents: Contents) -> dict[str, int]:
    """Writes a whole export.

    Args:
        created_at: Aware UTC.
        contents: Every store with its entries, which are read one after the other.
    Returns:
        How many entries each store has.
    """
    counts: dict[str, int] = {}
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=LEVEL, mtime=created_at.timestamp()) as out:
        lines = _Lines(out)
        head = {"format": FORMAT, "version": VERSION, "guild_id": guild_id, "backup_id": backup_id}
        lines.add(head | {"created_at": rfc3339(created_at)})
        for info, entries in contents:
            lines.add({"store": info.name, "id": info.store_id, "created_at": rfc3339(info.created_at)})
            counts[info.name] = 0
            for key, entry in entries:
                lines.add(_line(key, entry))
                counts[info.name] += 1
        lines.add({"end": True, "stores": len(counts), "entries": sum(counts.values())})
        lines.flush()
    return counts


class ExportReader:
    """Reads an export once, from front to back. Every method may raise StorageError: the file is not whole, or not one of ours."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _read_lines(file)
        head = next(self._lines, {})
        if head.get("format") != FORMAT or head.get("version") != VERSION:
            raise StorageError("the export is of a kind that this version of flora does not know")
        self._next: dict[str, Any] = next(self._lines, {})

    def stores(self) -> Iterator[tuple[str, Iterator[tuple[str, KvEntry]]]]:
        """Every store with its entries; those not read until the next store is asked for are skipped."""
        while "store" in self._next:
            name = self._next["store"]
            entries = self._entries()
            yield name, entries
            for _ in entries:
                pass
        if "end" not in self._next or next(self._lines, None) is not None:  # the checksum stands after the last line
            raise StorageError("the export is not whole")

    def _entries(self) -> Iterator[tuple[str, KvEntry]]:
        for line in self._lines:
            if "key" not in line:
                self._next = line
                return
            try:
                value = KvValue(line["value"], line.get("type") == "json")
                entry = KvEntry(value, line.get("expiration"), line.get("metadata"))
            except KeyError:
                raise StorageError("a line of the export is not an entry") from None
            yield line["key"], entry
        raise StorageError("the export is not whole")


def check(file: BinaryIO) -> None:
    """Reads an export for its checksum alone, so that nothing is done with a part of one.

    Raises:
        StorageError: it is not whole.
    """
    with _translated(), gzip.GzipFile(fileobj=file, mode="rb") as source:
        while source.read(BLOCK_BYTES):
            pass


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as exc:
        raise StorageError(f"the export cannot be read: {exc}") from exc


class _Lines:
    """Collects lines into blocks."""

    def __init__(self, out: gzip.GzipFile) -> None:
        self._out = out
        self._waiting: list[bytes] = []
        self._bytes = 0

    def add(self, value: dict[str, Any]) -> None:
        line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
        self._waiting.append(line)
        self._bytes += len(line)
        if self._bytes >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        self._out.write(b"".join(self._waiting))
        self._waiting.clear()
        self._bytes = 0


def _line(key: str, entry: KvEntry) -> dict[str, Any]:
    line: dict[str, Any] = {"key": key, "value": entry.value.text}
    if entry.value.is_json:
        line["type"] = "json"
    if entry.expiration is not None:
        line["expiration"] = entry.expiration
    if entry.metadata is not None:
        line["metadata"] = entry.metadata
    return line


def _read_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    with _translated(), gzip.GzipFile(fileobj=file, mode="rb") as source:
        while text := source.readline(LONGEST_LINE):
            line = orjson.loads(text)
            if not isinstance(line, dict):
                raise StorageError("a line of the export is not an object")
            yield line


def rfc3339(moment: datetime) -> str:
    """A moment as it stands in the file."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
