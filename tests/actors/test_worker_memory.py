"""A worker whose memory is used up: what it leaves behind when it gives itself up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flora.actors import worker as worker_module
from flora.actors.isolate.memory_watch import GiveUp, MemoryGuard, Use
from flora.actors.worker import Worker
from flora.actors.worker_exits import GAVE_UP, WorkerEnd, end_of

MB = 1 << 20


class Left(BaseException):
    """Stands for the end of the process."""


def test_given_memory_that_does_not_come_back_when_looked_at_again_then_the_worker_leaves_and_says_who_was_guilty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(worker_module.os, "_exit", leave)
    monkeypatch.setattr("flora.actors.isolate.memory_watch.resident_bytes", lambda: 200 * MB)
    worker = Worker()
    worker._memory = MemoryGuard(configured_mb=100, workers=1)
    uses = [Use(1, "55", 90 * MB, None, 1)]
    worker._host = SimpleNamespace(  # type: ignore[assignment]
        memory_uses=lambda: uses, key_of=lambda number: None, recorder_path=tmp_path / "recorder"
    )

    worker._watch_memory(10.0)
    uses.clear()
    with pytest.raises(Left, match=str(GAVE_UP)):
        worker._watch_memory(12.1)

    why = "200 MB resident, the limit is 100 MB"
    assert end_of(GAVE_UP, str(tmp_path / "recorder")) == WorkerEnd(cause=why, guilty=("55",))
    assert worker._memory.why_give_up(GiveUp(200 * MB, ())) == why
