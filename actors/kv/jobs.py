"""What can be done with the stores of a guild."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from flora.actors.kv import client_ops, script_ops
from flora.actors.kv.client_ops import StoreOperation
from flora.actors.kv.script_ops import Answer, ScriptOp
from flora.messages.errors import FloraError
from flora.storage.ports import KvGuild


class Job(Protocol):
    """Something to do with a guild's stores. Jobs of one guild are done one after the other, in order."""

    def stores(self, guild: KvGuild) -> Iterable[str]:
        """Stores that `run` reads or writes. Large ones are opened before, beside the worker's thread."""

    def run(self, guild: KvGuild) -> Any:
        """Does it, on the one thread that may use the stores.

        Raises:
            FloraError: refused, or failed.
        """

    def done(self, result: Any) -> None:
        """It is done. On the worker's thread."""

    def failed(self, error: FloraError) -> None:
        """It is not, or not known to be. On the worker's thread."""


class ScriptBatch:
    """Operations that an isolate asked for at once: answered together, when all are as durable as they will be."""

    def __init__(
        self,
        key: int,
        ops: Sequence[ScriptOp],
        answer: Callable[[int, Sequence[Answer]], None],
        delayed: Callable[[int], None],
    ) -> None:
        """key: of the isolate, for `answer`, for `delayed`, which is called when a large store has to be opened, and for `cancel`."""
        self.key = key
        self._delayed = delayed
        self.worked_s = 0.0  # what it took, without waiting
        self._todo = deque(ops)
        self._answers: list[Answer] = []
        self._answer = answer

    def stores(self, guild: KvGuild) -> Iterable[str]:
        return {script_ops.store_of(op) for op in self._todo}

    def run_for(self, guild: KvGuild, budget_s: float) -> bool:
        """Goes on for about so long; whether it has come to its end."""
        begun_s = time.perf_counter()
        until_s = begun_s + budget_s
        try:
            with guild.batch():
                while self._todo:
                    self._answers.append(script_ops.answer(guild, self._todo.popleft()))
                    if time.perf_counter() >= until_s:
                        break
        finally:
            self.worked_s += time.perf_counter() - begun_s
        return not self._todo

    def run(self, guild: KvGuild) -> list[Answer]:
        self.run_for(guild, math.inf)
        return self._answers

    def done(self, result: list[Answer]) -> None:
        if result:
            self._answer(self.key, result)

    def failed(self, error: FloraError) -> None:
        ids = [answer[0] for answer in self._answers] + [op[0] for op in self._todo]
        self.done([script_ops.refused(op_id, error) for op_id in ids])

    def delay(self) -> None:
        """It begins only when a large store has been opened."""
        self._delayed(self.key)

    def cancel(self, op_ids: set[int]) -> None:
        """The script does not wait for these any more: they are not to happen, unless they have."""
        self._todo = deque(op for op in self._todo if op[0] not in op_ids)


class ClientCall:
    """One operation of a client."""

    def __init__(
        self, operation: StoreOperation, done: Callable[[Any], None], failed: Callable[[FloraError], None]
    ) -> None:
        self._operation = operation
        self.done = done
        self.failed = failed

    def stores(self, guild: KvGuild) -> Iterable[str]:
        wanted = client_ops.stores_of(self._operation)
        return [info.name for info in guild.stores()] if wanted is None else wanted

    def run(self, guild: KvGuild) -> Any:
        return client_ops.carry_out(guild, self._operation)


class Upkeep:
    """Goes on with sweeping and compacting."""

    def __init__(self, budget_s: float, done: Callable[[bool], None]) -> None:
        """done: hears whether there is more to do."""
        self._budget_s = budget_s
        self.done = done

    def stores(self, guild: KvGuild) -> Iterable[str]:
        return ()

    def run(self, guild: KvGuild) -> bool:
        return guild.maintain(self._budget_s)

    def failed(self, error: FloraError) -> None:
        self.done(False)


class Closing:
    """Gives the stores free. The last job before the next opening."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed

    def stores(self, guild: KvGuild) -> Iterable[str]:
        return ()

    def run(self, guild: KvGuild) -> None:
        guild.close()

    def done(self, result: object) -> None:
        self._closed()

    def failed(self, error: FloraError) -> None:
        self._closed()
