"""Exports of a guild's key-value stores: operations of `KvCall`, carried out by the worker that owns the stores.

The worker takes all stores as they are at one moment and writes, on a thread beside its own, one file into a folder that only it changes.
So entries travel between no actors: an export is read for a client in parts of the file, a restore is named by its id.

    KvMakeExport → KvExport        KvListExports → KvExport, …        KvDeleteExport → None
    Download   KvReadExportPart, offset by offset, until it is as long as `KvExport.file_bytes`
    Restore    KvRestoreExport → what was restored; goes on to its end whoever waits for it
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

EXPORT_EVERY_S = 60.0
"""A guild may be exported once in so long."""
EXPORTS_KEPT = 5
"""Of a guild; the oldest one beyond is removed."""
EXPORT_PART_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KvExport:
    """One export that is kept."""

    backup_id: str  # a uuid
    created_at: datetime  # aware UTC; the moment the stores are shown as of
    stores: tuple[tuple[str, int], ...]  # name and number of keys, by name
    file_bytes: int  # of the compressed file


@dataclass(frozen=True, slots=True, kw_only=True)
class KvMakeExport:
    """Ok.value: a KvExport, once it is complete. Failed: NOT_FOUND (no stores), KV_RATE_LIMITED, STORAGE_ERROR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvListExports:
    """Ok.value: tuple of KvExport, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvReadExportPart:
    """Ok.value: up to `EXPORT_PART_BYTES` bytes of the file from there on; none at its end. Failed: NOT_FOUND."""

    backup_id: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDeleteExport:
    """Ok.value: None. Failed: NOT_FOUND."""

    backup_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvRestoreExport:
    """Gives stores the contents that they had, each all at once or not at all; other stores stay as they are.

    Ok.value: tuple of (store, number of keys), in the order they were restored.
    Failed: NOT_FOUND (no such export, or no such store in it), CONFLICT (another restore of the guild is under way), KV_QUOTA_EXCEEDED;
    `details["restored"]` has the stores that were restored before.
    """

    backup_id: str
    store: str | None = None  # None: all that are in the export


KvExportOperation = KvMakeExport | KvListExports | KvReadExportPart | KvDeleteExport | KvRestoreExport
