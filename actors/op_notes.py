"""What scripts asked for while they handled an event: kept until the event ends, and then mostly forgotten. Pure.

Operation ids rise within an isolate, and an isolate says from which one on they belong to another event. All of this happens for every
call of every event, so it is plain: a microsecond here would be a percent of all there is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NOTES = 50  # of one event; more are not kept
MAX_OWNERS = (
    128  # changes of owner that are remembered: what is asked for is told at once, but for what waits for a moment
)


@dataclass(frozen=True, slots=True)
class Cause:
    """A run that is written down: what a script asks for in it hangs below it."""

    trace: str
    span: str
    parent: str
    kind: str  # event | cron
    guild_id: str
    event: str


class OpNote:
    """One REST call, fetch or batch of key-value operations."""

    __slots__ = ("asked_us", "attrs", "cause", "ended_us", "error", "name", "seq")

    def __init__(self, seq: int, name: Any, asked_us: int, cause: Cause | None) -> None:
        """Begins it.

        Args:
            seq: Of the event it belongs to.
            name: Made into a text by whoever writes it down.
            asked_us: When.
            cause: It is written down as soon as it has ended, below this; None: perhaps with its event.
        """
        self.seq = seq
        self.name = name
        self.asked_us = asked_us
        self.cause = cause
        self.ended_us = 0  # 0: not yet
        self.error: str | None = None  # JSON; "": nobody waits for it any more
        self.attrs: dict[str, Any] | None = None

    def tell(self, attrs: Mapping[str, Any]) -> None:
        """Adds facts."""
        self.attrs = {**(self.attrs or {}), **attrs}


class IsolateOps:
    """Of one isolate."""

    __slots__ = ("_by_event", "_first_ops", "_owners", "open")

    def __init__(self) -> None:
        self.open: dict[int, OpNote] = {}  # by op id
        self._by_event: dict[int, list[OpNote]] = {}
        self._first_ops: list[int] = []
        self._owners: list[int] = []  # of the operations from the one at the same place on

    def owned(self, pairs: Sequence[int]) -> None:
        """Whose operations come from here on: op id, seq, op id, seq …, as in `IsolateReport.op_owners`."""
        if self._first_ops and pairs[0] <= self._first_ops[-1]:  # it was made anew: ids begin again
            self._first_ops, self._owners = [], []
        self._first_ops += pairs[::2]
        self._owners += pairs[1::2]
        if len(self._owners) > 2 * MAX_OWNERS:
            del self._first_ops[:-MAX_OWNERS], self._owners[:-MAX_OWNERS]

    def owner(self, op_id: int) -> int:
        """The event that asked for this one; 0: none."""
        first_ops = self._first_ops
        if first_ops and op_id >= first_ops[-1]:
            return self._owners[-1]
        at = bisect_right(first_ops, op_id) - 1
        return self._owners[at] if at >= 0 else 0

    def ask(self, op_id: int, seq: int, name: Any, now_us: int, cause: Cause | None) -> OpNote | None:
        """An operation of an event begins. None: the event has too many already, or there is none."""
        if seq == 0:
            return None
        note = OpNote(seq, name, now_us, cause)
        notes = self._by_event.get(seq)
        if notes is None:
            self._by_event[seq] = [note]
        elif len(notes) < MAX_NOTES:
            notes.append(note)
        else:
            return None
        self.open[op_id] = note
        return note

    def take(self, seq: int) -> list[OpNote] | None:
        """The event has ended: what it asked for, in order. What has not ended stays open."""
        return self._by_event.pop(seq, None)
