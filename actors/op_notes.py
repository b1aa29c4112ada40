"""What scripts asked for while they handled an event: kept until the event ends, and then mostly forgotten. Pure.

Operation ids rise within an isolate, and an isolate says from which one on they belong to another event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_NOTES = 50  # of one event; more are not kept
MAX_OWNERS = 4096  # changes of owner that are remembered per isolate


@dataclass(frozen=True, slots=True)
class Cause:
    """A run that is written down: what a script asks for in it hangs below it."""

    trace: str
    span: str
    parent: str
    kind: str  # event | cron
    guild_id: str
    event: str


@dataclass(slots=True)
class OpNote:
    """One REST call, fetch or batch of key-value operations."""

    name: Any  # made into a text by whoever writes it down
    asked_us: int
    seq: int  # of the event it belongs to; 0: to none
    cause: Cause | None  # it is written down as soon as it has ended
    ended_us: int = 0  # 0: not yet
    ok: bool = True
    text: str = ""  # of an answer that is an error: JSON
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Isolate:
    first_ops: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  # of the operations from the one at the same place on
    open: dict[int, OpNote] = field(default_factory=dict)
    by_event: dict[int, list[OpNote]] = field(default_factory=dict)

    def owner(self, op_id: int) -> int:
        if not self.first_ops:
            return 0
        if op_id >= self.first_ops[-1]:
            return self.owners[-1]
        at = bisect_right(self.first_ops, op_id) - 1
        return self.owners[at] if at >= 0 else 0


class OpNotes:
    """Of all isolates of a worker, by their keys."""

    def __init__(self) -> None:
        self._isolates: dict[int, _Isolate] = {}

    def owners(self, key: int, pairs: Sequence[int]) -> None:
        """Whose operations come from here on: op id, seq, op id, seq …, as in `IsolateReport.op_owners`."""
        isolate = self._isolates.get(key)
        if isolate is None:
            isolate = self._isolates[key] = _Isolate()
        if isolate.first_ops and pairs[0] <= isolate.first_ops[-1]:  # it was made anew: ids begin again
            isolate.first_ops, isolate.owners = [], []
        isolate.first_ops += pairs[::2]
        isolate.owners += pairs[1::2]
        if len(isolate.owners) > MAX_OWNERS:
            del isolate.first_ops[: MAX_OWNERS // 2], isolate.owners[: MAX_OWNERS // 2]

    def owner(self, key: int, op_id: int) -> int:
        """The event that asked for this one; 0: none."""
        isolate = self._isolates.get(key)
        return 0 if isolate is None else isolate.owner(op_id)

    def asked(self, key: int, op_id: int, seq: int, name: Any, now_us: int, cause: Cause | None) -> OpNote | None:
        """An operation begins. None: the event has too many already, or there is none."""
        isolate = self._isolates.get(key)
        if isolate is None or seq == 0:
            return None
        notes = isolate.by_event.get(seq)
        if notes is None:
            notes = isolate.by_event[seq] = []
        elif len(notes) >= MAX_NOTES:
            return None
        note = OpNote(name, now_us, seq, cause)
        notes.append(note)
        isolate.open[op_id] = note
        return note

    def find(self, key: int, op_id: int) -> OpNote | None:
        """An operation that has not ended."""
        isolate = self._isolates.get(key)
        return None if isolate is None else isolate.open.get(op_id)

    def answered(self, key: int, op_id: int, now_us: int, *, ok: bool, text: str) -> OpNote | None:
        """An operation has ended, in one way or another."""
        isolate = self._isolates.get(key)
        note = None if isolate is None else isolate.open.pop(op_id, None)
        if note is not None:
            note.ended_us = now_us
            if not ok:
                note.ok, note.text = False, text
        return note

    def take(self, key: int, seq: int) -> list[OpNote]:
        """The event has ended: what it asked for, in order. What has not ended stays open."""
        isolate = self._isolates.get(key)
        return [] if isolate is None else isolate.by_event.pop(seq, [])

    def forget(self, key: int) -> None:
        """The isolate is gone."""
        self._isolates.pop(key, None)
