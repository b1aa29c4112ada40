"""Entries that come in: checked, and made into records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flora.messages.errors import BadRequest
from flora.messages.kv import KvEntry, KvValue
from flora.storage.kv import limits, values
from flora.storage.kv.limits import KvLimits
from flora.storage.kv.record import Record


def make_record(value: KvValue, expiration: int | None, metadata: Any) -> Record:
    """The record of what a caller gave."""
    return Record(limits.value_bytes(value.text), value.is_json, expiration, values.metadata_bytes(metadata))


class Incoming:
    """Entries to restore, checked one by one as they are taken."""

    def __init__(self, limits: KvLimits) -> None:
        self.count = 0
        self.counted_bytes = 0
        self._limits = limits

    def records(self, entries: Iterable[tuple[str, KvEntry]]) -> Iterator[tuple[bytes, Record]]:
        """Each with its key.

        Raises:
            BadRequest, TooLarge, KvQuotaExceeded: this one cannot be taken.
        """
        before = b""
        for key, entry in entries:
            name = limits.key_bytes(key)
            if name <= before:
                raise BadRequest("the entries to restore are not in the order of their keys, or one comes twice")
            before = name
            record = make_record(entry.value, values.resolve_expiration(entry.expiration, None, 0), entry.metadata)
            limits.check_entry(record.counted_bytes(name))
            self.count += 1
            self.counted_bytes += record.counted_bytes(name)
            self._limits.check_totals(self.counted_bytes, self.counted_bytes)
            yield name, record
