"""What a worker counts of its key-value stores. Pure. The names are those of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flora.actors.kv.backends import KvFigures
from flora.actors.kv.script_ops import Answer, ScriptOp
from flora.actors.metrics import WorkerCounters
from flora.messages.errors import FloraError, RequestError
from flora.messages.metrics import OTHER

_KINDS = {
    "op_kv_get": "kv_gets",
    "op_kv_get_with_metadata": "kv_gets",
    "op_kv_set": "kv_sets",
    "op_kv_set_if": "kv_sets",
    "op_kv_increment": "kv_sets",
    "op_kv_update_metadata": "kv_sets",
    "op_kv_delete": "kv_deletes",
    "op_kv_list_keys": "kv_lists",
}
_LABELS = {"kv_gets": "get", "kv_sets": "set", "kv_deletes": "delete", "kv_lists": "list"}


class KvTally:
    """Adds to the worker's counters."""

    def __init__(self, counters: WorkerCounters) -> None:
        self._counters = counters

    def answered(self, ops: Sequence[ScriptOp], answers: Sequence[Answer], lasted_us: int) -> None:
        """A batch of a script's operations has been answered."""
        counters, by_kind = self._counters, self._counters.series.kv_ops
        failed = {op_id for op_id, ok, _ in answers if not ok}
        for op in ops:
            kind = _KINDS.get(op[1])
            if kind is not None:
                setattr(counters, kind, getattr(counters, kind) + 1)
            by_kind[_LABELS.get(kind or "", OTHER), "failed" if op[0] in failed else "ok"] += 1
        counters.kv_failed += len(failed)
        counters.kv_batches += 1
        counters.kv_batch_us += lasted_us
        counters.series.kv_of_scripts.add(lasted_us)

    def lasted(self, lasted_us: int) -> None:
        """So long a client waited for an operation."""
        self._counters.series.kv_of_clients.add(lasted_us)

    def note(self, figures: KvFigures, guilds: int) -> None:
        """What is open now."""
        counters = self._counters
        counters.kv_guilds_open, counters.kv_stores_open = guilds, figures.stores
        counters.kv_stored_bytes, counters.kv_compactions = figures.stored_bytes, figures.compactions

    def called(self, result: Any) -> None:
        """A client's call has been answered."""
        self._counters.kv_calls += 1
        self._counters.kv_failed += isinstance(result, FloraError) and not isinstance(result, RequestError)
