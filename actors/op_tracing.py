"""What a worker writes down of the operations of scripts: calls to Discord, fetches, key-value stores. Part of worker_tracing.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import orjson

from flora.actors.discord.routes import template_of
from flora.actors.fetch.request import FetchRequest
from flora.actors.fetch.service import FetchDone
from flora.actors.isolate.pending_ops import KV_PREFIX
from flora.actors.op_notes import Cause, IsolateOps, OpNote
from flora.actors.tracing import Tracer
from flora.messages.gateway import CallTiming
from flora.messages.isolate import IsolateReport
from flora.messages.trace import first_sentence
from flora.storage.trace_record import OK

MAX_NOTABLE = 10_000
NOTABLE_WAIT_US = 100_000  # for a rate limit; such a call is written down with its event, however that ends
TIMES = ("worker_wait_us", "queue_us", "rate_limit_wait_us", "discord_us", "status", "refused")
CANCELLED, FAILED = "cancelled", "failed"


class OpHops:
    """Of all isolates of a worker, by their keys."""

    def __init__(self, tracer: Tracer) -> None:
        self.events: dict[int, Cause] = {}  # that are traced and have not ended, by number
        self.jobs: dict[tuple[int, int], Cause] = {}  # likewise runs of cron jobs, by isolate and number
        self.notable: set[int] = set()  # events to be written down whatever becomes of them
        self._tracer = tracer
        self._isolates: dict[int, IsolateOps] = {}

    def reported(self, key: int, report: IsolateReport, now_us: int) -> None:
        """An isolate asks for something. Called before that is begun."""
        isolate = self._isolates.get(key)
        if isolate is None:
            isolate = self._isolates[key] = IsolateOps()
        if report.op_owners:
            isolate.owned(report.op_owners)
        for call in report.calls:
            self._asked(key, isolate, call[0], (call[1], call[2]), now_us)
        for op_id, request in report.fetches:
            self._asked(key, isolate, op_id, request, now_us)
        if report.kv_ops:
            self._asked_kv(key, isolate, report.kv_ops, now_us)

    def _asked(self, key: int, isolate: IsolateOps, op_id: int, name: Any, now_us: int) -> OpNote | None:
        seq = isolate.owner(op_id)
        cause = self.events.get(seq) if seq >= 0 else self.jobs.get((key, seq))
        return isolate.ask(op_id, seq, name, now_us, cause)

    def _asked_kv(self, key: int, isolate: IsolateOps, ops: Iterable[tuple[int, str, Any]], now_us: int) -> None:
        """Operations that go together are answered together: one note for those of an event, under the id of the first."""
        counts: dict[int, int] = {}
        notes: dict[int, OpNote | None] = {}
        for op_id, name, _ in ops:
            seq = isolate.owner(op_id)
            counts[seq] = counts.get(seq, 0) + 1
            if seq not in notes:
                notes[seq] = self._asked(key, isolate, op_id, name, now_us)
        for seq, note in notes.items():
            if note is not None:
                note.attrs = {"operations": counts[seq]}

    def followed(self, key: int, calls: Iterable[tuple[Any, ...]]) -> frozenset[int]:
        """Which of these calls to Discord, as the report has them, will be written down as soon as they have ended: their op ids."""
        if not (self.events or self.jobs):
            return frozenset()
        isolate = self._isolates[key]
        notes = ((call[0], isolate.open.get(call[0])) for call in calls)
        return frozenset(op_id for op_id, note in notes if note is not None and note.cause is not None)

    def timed(self, timings: Iterable[CallTiming], owner: Callable[[int], tuple[int, int] | None]) -> None:
        """Where the gateway says the time of calls went. owner: (isolate, op id) of a call."""
        for timing in timings:
            note = self._find(owner(timing.call_id))
            if note is None:
                continue
            told = timing._asdict() | {"worker_wait_us": max(0, timing.came_us - note.asked_us)}
            note.tell({name: told[name] for name in TIMES if told[name]})
            was_limited = timing.refused or timing.rate_limit_wait_us >= NOTABLE_WAIT_US
            if was_limited and note.cause is None and note.seq > 0 and len(self.notable) < MAX_NOTABLE:
                self.notable.add(note.seq)

    def _find(self, asked: tuple[int, int] | None) -> OpNote | None:
        isolate = None if asked is None else self._isolates.get(asked[0])
        return None if isolate is None or asked is None else isolate.open.get(asked[1])

    def answered(self, key: int, results: Iterable[tuple[int, bool, str]]) -> None:
        """Operations have ended: (op id, ok, JSON)."""
        isolate = self._isolates.get(key)
        if isolate is None:
            return
        at_us, taken = time.time_ns() // 1000, isolate.open.pop
        for op_id, ok, text in results:
            note = taken(op_id, None)
            if note is not None:
                note.ended_us = at_us
                if not ok:
                    note.error = text
                if note.cause is not None:
                    self._write(note, note.cause)

    def fetched(self, key: int, op_id: int, done: FetchDone) -> None:
        """A fetch has ended."""
        note = self._find((key, op_id))
        if note is not None and done.ok:
            note.tell({"status": done.status, "bytes": done.received_bytes})
        self.answered(key, [(op_id, done.ok, "" if done.ok else done.text)])

    def cancelled(self, key: int, op_ids: Iterable[int]) -> None:
        """Nobody waits for these any more."""
        self.answered(key, [(op_id, False, "") for op_id in op_ids])

    def take(self, key: int, seq: int) -> list[OpNote] | None:
        """An event has ended: what it asked for."""
        isolate = self._isolates.get(key)
        return None if isolate is None else isolate.take(seq)

    def write(self, notes: Iterable[OpNote], cause: Cause) -> None:
        """Writes down what an event has asked for, and had not been; what has not ended follows."""
        for note in notes:
            if note.cause is None:
                note.cause = cause
                if note.ended_us:
                    self._write(note, cause)

    def isolate_gone(self, key: int) -> None:
        """Nothing more comes of it."""
        self._isolates.pop(key, None)

    def _write(self, note: OpNote, cause: Cause) -> None:
        outcome, why = _ending(note)
        name, attrs = _shown(note)
        self._tracer.hop(
            cause.trace,
            name,
            kind=cause.kind,
            parent=cause.span,
            at_us=note.asked_us,
            took_us=note.ended_us - note.asked_us,
            outcome=outcome,
            why=why,
            guild_id=cause.guild_id,
            event=cause.event,
            attrs=attrs,
        )


def _shown(note: OpNote) -> tuple[str, dict[str, Any]]:
    """How an operation is called, and what is told of it: never what it carried."""
    attrs = note.attrs or {}
    if isinstance(note.name, FetchRequest):
        return f"fetch {_host(note.name.url)}", {"method": note.name.method, **attrs}
    if isinstance(note.name, tuple):
        return f"rest {template_of(*note.name)}", attrs
    return "kv", {"first": note.name.removeprefix(KV_PREFIX), **attrs}


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _ending(note: OpNote) -> tuple[str, str]:
    """Outcome and why. Only Discord's words are repeated: others may quote what the script had written."""
    if note.error is None:
        return OK, ""
    if not note.error:
        return CANCELLED, "nobody waits for it any more"
    try:
        error = orjson.loads(note.error)
        code, text = str(error.get("code", FAILED)), str(error.get("message", ""))
        note.tell({key: error[key] for key in ("status", "discord_code") if error.get(key)})
    except (ValueError, AttributeError):
        return FAILED, ""
    return code, first_sentence(text) if isinstance(note.name, tuple) else ""
