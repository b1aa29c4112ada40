"""Whose limits a worker's sweep looks at."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from flora.actors.isolate.memory_watch import MemoryGuard
from flora.actors.metrics import WorkerCounters
from flora.actors.worker_watch import Watch
from flora.messages.isolate import CheckDeadlines


def test_given_isolates_at_rest_and_at_work_when_swept_then_only_those_that_can_be_over_a_limit_are_asked() -> None:
    soon_s = time.monotonic() + 60
    residents = {
        1: SimpleNamespace(quiet_until_s=soon_s),  # waits for Discord
        2: SimpleNamespace(quiet_until_s=soon_s),  # V8 is inside it
        3: SimpleNamespace(quiet_until_s=0.0),
        4: SimpleNamespace(quiet_until_s=time.monotonic() - 1),
    }
    asked: list[int] = []

    def tell(resident: Any, message: object) -> None:
        assert isinstance(message, CheckDeadlines)
        asked.extend(key for key, each in residents.items() if each is resident)

    host: Any = SimpleNamespace(memory_uses=list, is_idle=lambda key: key != 2)
    isolates: Any = SimpleNamespace(residents=residents, active={1, 2, 3, 4, 5}, tell=tell)
    sweeps: list[Any] = []
    watch = Watch(
        lambda delay_s, function: sweeps.append(function) or 0, isolates, host, MemoryGuard(0, 1), WorkerCounters()
    )

    watch.keep_sweeping()
    sweeps.pop()()

    assert sorted(asked) == [2, 3, 4]
    assert isolates.active == {1, 2, 3, 4}, "one that is gone is not swept again"
