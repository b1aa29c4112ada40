"""A worker whose memory is used up: what it leaves behind when it gives itself up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flora.actors import worker_watch
from flora.actors.isolate.memory_watch import GiveUp, MemoryGuard, Use
from flora.actors.metrics import WorkerCounters
from flora.actors.worker_exits import GAVE_UP, WorkerEnd, end_of
from flora.actors.worker_watch import Watch

MB = 1 << 20


class Left(BaseException):
    """Stands for the end of the process."""


def test_given_memory_that_does_not_come_back_when_looked_at_again_then_the_worker_leaves_and_says_who_was_guilty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(worker_watch.os, "_exit", leave)
    monkeypatch.setattr("flora.actors.isolate.memory_watch.resident_bytes", lambda: 200 * MB)
    guard = MemoryGuard(configured_mb=100, workers=1)
    uses = [Use(1, "55", 90 * MB, None, 1)]
    host: Any = SimpleNamespace(
        memory_uses=lambda: uses, key_of=lambda number: None, recorder_path=tmp_path / "recorder"
    )
    isolates: Any = SimpleNamespace(residents={}, active=set())
    watch = Watch(lambda delay_s, function: 0, isolates, host, guard, WorkerCounters())

    watch.look_at_memory(10.0)
    uses.clear()
    with pytest.raises(Left, match=str(GAVE_UP)):
        watch.look_at_memory(12.1)

    why = "200 MB resident, the limit is 100 MB"
    assert end_of(GAVE_UP, str(tmp_path / "recorder")) == WorkerEnd(cause=why, guilty=("55",))
    assert guard.why_give_up(GiveUp(200 * MB, ())) == why
