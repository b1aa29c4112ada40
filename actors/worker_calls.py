"""A worker's REST calls: their way to the gateway and what becomes of their results. Pure, but for one timer."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

import orjson

from flora.actors.link import WINDOW, Batch, Link
from flora.messages.gateway import RestFrame

BUSY_CALLS = 32  # so many REST calls under way are a queue already
HOLD_S_PER_CALL, MAX_HOLD_S = 0.000_15, 0.02
MAX_FRAME_CALLS = 1024

CallResult = tuple[int, bool, str]
"""(call id, or op id for the isolate that asked; whether it succeeded; JSON)"""


class RestCalls:
    """Calls under way: who asked, what has gone to the gateway, what was cancelled."""

    def __init__(self, epoch: str, after: Callable[[float, Callable[[], None]], int]) -> None:
        """Makes an empty set of calls.

        Args:
            epoch: Of the worker's links.
            after: Calls a function after a delay in seconds, on the worker's thread.
        """
        self.link: Link[tuple[Any, ...]] = Link(epoch, MAX_FRAME_CALLS, window=WINDOW)
        self._after = after
        self._calls: dict[int, tuple[int, int]] = {}  # call id → (isolate, op id)
        self._next_call = 1
        self._traced: set[int] = set()  # calls that have not left
        self._cancelled: list[int] = []
        self._timer = 0
        self._must_call = False

    def take(
        self, key: int, guild_id: str, calls: Iterable[tuple[Any, ...]], traced: Container[int] = frozenset()
    ) -> None:
        """Queues calls of one isolate, as its report has them. traced: operations whose times are wanted."""
        for op_id, method, route, scope, body, query, reason, retry in calls:
            self._calls[self._next_call] = (key, op_id)
            self.link.offer((self._next_call, guild_id, method, route, scope, body, query, reason, retry))
            if op_id in traced:
                self._traced.add(self._next_call)
            self._next_call += 1

    def owner(self, call_id: int) -> tuple[int, int] | None:
        """Who asked for a call that is under way: (isolate, op id)."""
        return self._calls.get(call_id)

    def cancel(self, key: int, op_ids: set[int]) -> None:
        """Nobody waits for these operations any more: calls that have not left never do, the gateway is told of the others."""
        calls = {call_id for call_id, (owner, op_id) in self._calls.items() if owner == key and op_id in op_ids}
        for call_id in calls:
            del self._calls[call_id]
        self._traced -= calls
        withdrawn = {row[0] for row in self.link.withdraw(lambda row: row[0] in calls)}
        self._cancelled.extend(calls - withdrawn)

    def settle(self, results: Iterable[CallResult]) -> dict[int, list[CallResult]]:
        """Isolate → results of its operations. Those of calls that are not under way any more are left out."""
        by_isolate: dict[int, list[CallResult]] = {}
        for call_id, ok, text in results:
            owner = self._calls.pop(call_id, None)
            if owner is not None:
                by_isolate.setdefault(owner[0], []).append((owner[1], ok, text))
        return by_isolate

    def gateway_gone(self) -> dict[int, list[CallResult]]:
        """Settles what the dead gateway had as failed; what was not sent to it goes to the next."""
        why = "the gateway was restarted; whether the call took effect is not known"
        answer = orjson.dumps({"code": "DISCORD_HTTP_ERROR", "message": why, "discord_code": 0}).decode()
        self.link.forget_sent()
        unsent = {call[0] for call in self.link.unsent()}
        return self.settle([(call_id, False, answer) for call_id in self._calls if call_id not in unsent])

    def poll(self) -> RestFrame | None:
        """The frame to send to the gateway now, if any; with many calls under way already they wait a little for company."""
        if len(self._calls) >= BUSY_CALLS and not (self._must_call or self.link.owes_ack):
            if self.link.waiting and not self._timer:
                hold_s = min(MAX_HOLD_S, len(self._calls) * HOLD_S_PER_CALL)
                self._timer = self._after(hold_s, self._calls_are_due)
            return None
        batch = self.link.poll(even_empty=bool(self._cancelled))
        if batch is None:
            return None
        self._must_call = False
        return self._frame(batch)

    def _calls_are_due(self) -> None:
        self._timer = 0
        self._must_call = True

    def _frame(self, batch: Batch[tuple[Any, ...]]) -> RestFrame:
        cancelled: tuple[int, ...] = ()
        if batch.number:
            cancelled, self._cancelled = tuple(self._cancelled), []
        return RestFrame(
            number=batch.number,
            ack=batch.ack,
            after=batch.after,
            wants_ack=batch.wants_ack,
            epoch=self.link.epoch,
            calls=tuple(batch.rows),
            traced=self._traced_of(batch) if self._traced else (),
            cancelled=cancelled,
        )

    def _traced_of(self, batch: Batch[tuple[Any, ...]]) -> tuple[int, ...]:
        traced = tuple(row[0] for row in batch.rows if row[0] in self._traced)
        self._traced.difference_update(traced)
        return traced
