"""What a store keeps under a key: value, expiration and metadata in one record, so that no crash parts them.

    flags (1 byte)  1: the value is JSON text  2: has an expiration  4: has metadata
    expiration      if any: 8 bytes, signed, Unix seconds
    metadata        if any: length (4 bytes), JSON text
    value           the rest

Numbers are big-endian. Metadata stands before the value, so that a listing need not read values.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from flora.messages.errors import StorageError
from flora.messages.kv import KvEntry, KvValue
from flora.storage.kv import limits, values

IS_JSON, HAS_EXPIRATION, HAS_METADATA = 1, 2, 4
EXTRAS = HAS_EXPIRATION | HAS_METADATA
_KNOWN = IS_JSON | EXTRAS
_EXPIRATION = struct.Struct("!q")
_LENGTH = struct.Struct("!I")
EXTRAS_BYTES = 1 + _EXPIRATION.size + _LENGTH.size  # the longest possible part before the metadata
MAX_RECORD_BYTES = EXTRAS_BYTES + limits.MAX_ENTRY_BYTES


class Extras(NamedTuple):
    """What the beginning of a record says. `metadata` is where its text stands in the record."""

    expiration: int | None
    metadata: slice
    value_from: int

    @property
    def metadata_bytes(self) -> int:
        return int(self.metadata.stop - self.metadata.start)


class Record(NamedTuple):
    """A record in parts; `metadata` is JSON text, empty when there is none."""

    value: bytes
    is_json: bool = False
    expiration: int | None = None
    metadata: bytes = b""

    def counted_bytes(self, key: bytes) -> int:
        """What it counts for under this key."""
        return limits.counted_bytes(len(key), len(self.value), self.expiration, len(self.metadata))

    def entry(self) -> KvEntry:
        """As callers see it."""
        value = KvValue(self.value.decode(), self.is_json)
        return KvEntry(value, self.expiration, values.parse_metadata(self.metadata))


def encode(record: Record) -> bytes:
    """The record's bytes."""
    flags = IS_JSON if record.is_json else 0
    if record.expiration is None and not record.metadata:
        return bytes((flags,)) + record.value
    parts = [b"", b"", b"", record.metadata, record.value]
    if record.expiration is not None:
        flags |= HAS_EXPIRATION
        parts[1] = _EXPIRATION.pack(record.expiration)
    if record.metadata:
        flags |= HAS_METADATA
        parts[2] = _LENGTH.pack(len(record.metadata))
    parts[0] = bytes((flags,))
    return b"".join(parts)


def read_extras(head: bytes, record_bytes: int) -> Extras:
    """Expiration and the place of the metadata.

    Args:
        head: The record's first bytes, EXTRAS_BYTES at least if it has as many.
        record_bytes: How long the whole record is.
    Raises:
        StorageError: this is no record of ours, or one of a newer version.
    """
    try:
        flags = head[0]
        at = 1
        expiration: int | None = None
        if flags & HAS_EXPIRATION:
            (expiration,) = _EXPIRATION.unpack_from(head, at)
            at += _EXPIRATION.size
        length = 0
        if flags & HAS_METADATA:
            (length,) = _LENGTH.unpack_from(head, at)
            at += _LENGTH.size
    except (struct.error, IndexError):
        raise StorageError("a record of the store is too short") from None
    if flags & ~_KNOWN or at + length > record_bytes:
        raise StorageError("a record of the store has a form that this version of flora does not know")
    return Extras(expiration, slice(at, at + length), at + length)


def decode(blob: bytes) -> Record:
    """The record of these bytes.

    Raises:
        StorageError: as `read_extras`.
    """
    if blob and not blob[0] & ~IS_JSON:
        return Record(blob[1:], bool(blob[0]))
    extras = read_extras(blob, len(blob))
    return Record(blob[extras.value_from :], bool(blob[0] & IS_JSON), extras.expiration, blob[extras.metadata])
