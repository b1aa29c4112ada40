"""Reads a semidbm file into an index, and finds where it stops being whole.

semidbm 0.5.1 itself takes neither a torn tail nor a file of exactly 1,228,800 bytes (300 pages, the size of its window),
and checks nothing at open. The file: 8 bytes of heading, then records, each appended in one write:

    length of key, length of value (4 bytes each, signed; value −1: the key is deleted), key, value, CRC-32 of both
"""

from __future__ import annotations

import gc
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from zlib import crc32

from flora.messages.errors import StorageError
from flora.storage.kv import limits, record

HEADING = b"SEMI" + struct.pack("!HH", 1, 1)
LENGTHS = struct.Struct("!ii")
CHECKSUM = struct.Struct("!I")
_CHECKSUM_AND_LENGTHS = struct.Struct("!Iii")
DELETED = -1
FRAME_BYTES = LENGTHS.size + CHECKSUM.size
WINDOW_BYTES = 16 * 1024 * 1024  # several of the longest records

Place = tuple[int, int]  # where the value of a record begins in the file, and how long it is


@dataclass(slots=True)
class Scan:
    """What is in a file."""

    places: dict[bytes, Place] = field(default_factory=dict)
    extras: dict[bytes, record.Extras] = field(default_factory=dict)  # of the keys that have any
    end: int = len(HEADING)  # of the last whole record; what follows is torn
    damaged: int = 0  # records before a whole one whose checksum is wrong: skipped
    doubtful: int = 0  # the same after the last whole one
    content_bytes: int = 0  # keys and values of the live records


def scan_file(fileno: int, size: int) -> Scan:
    """Reads a file up to `size`.

    Raises:
        StorageError: it is no file of semidbm's, or a record has a form we do not know.
    """
    found = Scan()
    if size < len(HEADING):
        found.end = 0  # even its making was torn
        return found
    if os.pread(fileno, len(HEADING), 0) != HEADING:
        raise StorageError("the store's data file does not begin as one")
    at = found.end
    # The collector would go through all those tuples again and again while they are made: half of the time.
    with _collector_off():
        while at < size:
            window = os.pread(fileno, min(WINDOW_BYTES, size - at), at)
            went = _scan_window(window, at, found) if window else 0
            if not went:
                break
            at += went
        found.content_bytes = sum(map(len, found.places)) + sum([length for _, length in found.places.values()])
    return found


def _scan_window(window: bytes, base: int, found: Scan) -> int:
    """Reads the whole records of a window that begins with one; how many bytes they take.

    The loop is as it is for speed: a store may have a million records. The checksum of one record and the lengths of the
    next are read in one step.
    """
    places, all_extras = found.places, found.extras
    unpack = _CHECKSUM_AND_LENGTHS.unpack_from
    last = len(window) - CHECKSUM.size
    padded = window + bytes(LENGTHS.size)
    at = 0
    key_length, length = LENGTHS.unpack_from(padded)
    while True:
        begin = at + 8
        end = begin + key_length + max(0, length)
        if end > last or not 0 < key_length <= limits.MAX_KEY_BYTES or length < DELETED:
            return at
        blob = padded[begin:end]
        checksum, next_key_length, next_length = unpack(padded, end)
        at = end + 4
        if crc32(blob) != checksum:
            found.doubtful += 1
        else:
            key = blob[:key_length]
            if length > 0:
                places[key] = (base + begin + key_length, length)
                if blob[key_length] & ~record.IS_JSON:
                    head = blob[key_length : key_length + record.EXTRAS_BYTES]
                    all_extras[key] = record.read_extras(head, length)
                elif all_extras:
                    all_extras.pop(key, None)
            else:
                places.pop(key, None)
                all_extras.pop(key, None)
            found.end = base + at
            if found.doubtful:  # only what a whole record follows is damage; the rest is the torn tail
                found.damaged += found.doubtful
                found.doubtful = 0
        key_length, length = next_key_length, next_length


def counted_bytes(found: Scan) -> int:
    """What all entries together count for."""
    plain = found.content_bytes - len(found.places)
    return plain + sum(
        limits.counted_bytes(len(key), 0, extras.expiration, extras.metadata_bytes) - len(key) - extras.value_from + 1
        for key, extras in found.extras.items()
    )


def whole_bytes(found: Scan) -> int:
    """How long a file with nothing but the live records would be."""
    return len(HEADING) + FRAME_BYTES * len(found.places) + found.content_bytes


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
