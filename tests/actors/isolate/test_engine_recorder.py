"""The flight recorder: what is known about a worker that is gone."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flora.actors.isolate.progress import (
    MAX_NAME_BYTES,
    Progress,
    Recorder,
    RecorderEntry,
    busy_for_s,
    last_started,
    read_recorder,
)

HERE = Path(__file__)

WORKER = """
import sys, time
from pathlib import Path
from flora.actors.isolate.engine import Engine
from flora.actors.isolate.opening import IsolateSpec

said = []
engine = Engine(lambda isolate, output: said.append(output), recorder_path=Path(sys.argv[1]))

def hear():
    while not said:
        engine.collect(1.0)
    return said.pop(0)

isolates = {}
for name in ("111", "222", "333"):
    spec = IsolateSpec(name=name, prelude=Path(sys.argv[2]).read_text(), sdk=None, heap_limit_mb=2048, boot_limit_s=5.0)
    isolates[name] = engine.open(spec)
    hear()
    isolates[name].load(Path(sys.argv[3]).read_text(), "file:///a.js")
    hear()
isolates["111"].dispatch(b'{"e":[[41,"messageCreate",{"content":"x"}]]}')
hear()
isolates["333"].close()
hear()
isolates["222"].dispatch(b'{"e":[[51,"messageCreate",{"content":"x"}],[52,"messageCreate",{"content":"go"}]]}')
while isolates["222"].progress().started_seq != 52:
    pass
print("running", flush=True)
time.sleep(60)
"""


def _worker(recorder: Path, guest: str) -> subprocess.Popen[str]:
    prelude, script = HERE.with_name("stand_in_prelude.js"), HERE.parents[2] / "guests" / f"{guest}.js"
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, recorder, prelude, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _entries(recorder: Path) -> dict[str, tuple[int, int, int, int]]:
    return {
        entry.name: (
            entry.progress.started_seq,
            entry.progress.started_count,
            entry.progress.finished_seq,
            entry.progress.running_seq,
        )
        for entry in read_recorder(recorder)
    }


@pytest.mark.fault
@pytest.mark.scenario("T34")
def test_given_a_running_event_when_the_worker_is_killed_then_the_file_says_which(tmp_path: Path) -> None:
    with _worker(tmp_path / "recorder", "spins_forever") as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "running\n"
        before_ms = time.time() * 1000

        worker.send_signal(signal.SIGKILL)
        worker.wait(5)

    # 0 was the load, started before the events; the closed isolate 333 is not there at all.
    assert _entries(tmp_path / "recorder") == {"111": (41, 2, 41, 41), "222": (52, 3, 0, 52)}
    (running,) = (entry for entry in read_recorder(tmp_path / "recorder") if entry.name == "222")
    assert before_ms - 10_000 < running.progress.started_at_ms <= before_ms
    busy = busy_for_s(read_recorder(tmp_path / "recorder"), time.monotonic())
    assert list(busy) == ["222"], "the other one was at rest"
    assert 0 < busy["222"] < 10


@pytest.mark.fault
def test_given_a_guest_that_aborts_v8_when_the_worker_is_gone_then_the_file_says_who_did_it(tmp_path: Path) -> None:
    with _worker(tmp_path / "recorder", "aborts_v8") as worker:
        assert worker.wait(15) < 0  # ended by a signal, not by us

    entries = _entries(tmp_path / "recorder")
    assert entries["222"][0] == 52
    assert entries["222"][2] != 52
    assert entries["111"][0] == entries["111"][2]
    assert list(busy_for_s(read_recorder(tmp_path / "recorder"), time.monotonic())) == ["222"]


def test_given_an_isolate_when_it_starts_and_ends_events_then_progress_follows_without_a_call(engine_host: Any) -> None:
    talk = engine_host.open("123")
    assert talk.isolate.progress().started_count == 0
    talk.load("on('messageCreate', async ({ msg }) => { if (msg.content === 'wait') await new Promise(() => {}) })")

    talk.send("x", "wait")
    talk.answer()

    progress = talk.isolate.progress()
    assert (progress.started_seq, progress.started_count, progress.finished_seq) == (2, 3, 1)
    assert [entry.name for entry in read_recorder(engine_host.recorder_path)] == ["123"]
    assert read_recorder(engine_host.recorder_path)[0].progress == progress


def test_given_a_closed_isolate_when_its_page_is_used_again_then_it_starts_empty(engine_host: Any) -> None:
    first = engine_host.open("1")
    first.load("")
    engine_host.close(first)
    assert read_recorder(engine_host.recorder_path) == []

    engine_host.open("2")

    (entry,) = read_recorder(engine_host.recorder_path)
    assert (entry.name, entry.isolate_number, entry.progress.started_count) == ("2", 2, 0)
    assert engine_host.recorder_path.stat().st_size == mmap.PAGESIZE


def test_given_an_isolate_that_still_writes_when_closed_then_its_memory_is_its_own_again(engine_host: Any) -> None:
    talk = engine_host.open("1")
    talk.load_guest("spins_in_microtasks")
    talk.send("go")

    talk.isolate.close()
    neighbour = engine_host.open("2")
    neighbour.load("")

    assert neighbour.isolate.progress().started_count == 1


def test_given_no_file_when_read_then_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert read_recorder(tmp_path / "none") == []


def test_given_a_torn_or_foreign_file_when_read_then_it_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"FLORAREC" * 100)
    assert read_recorder(tmp_path / "torn") == []
    (tmp_path / "foreign").write_bytes(os.urandom(3 * mmap.PAGESIZE))
    assert read_recorder(tmp_path / "foreign") == []


def test_given_a_buffer_without_a_whole_page_when_mapped_then_the_recorder_stays_silent(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder")
    slot = recorder.claim("1", 1)

    assert slot.map_over(mmap.PAGESIZE + 1, mmap.PAGESIZE) == -1

    assert slot.read().started_count == 0
    slot.unmap()
    slot.release()
    recorder.close()


def test_given_a_name_too_long_when_claimed_then_it_is_refused(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder")
    with pytest.raises(ValueError, match="at most 64 bytes"):
        recorder.claim("x" * (MAX_NAME_BYTES + 1), 1)
    recorder.close()


def test_given_an_old_file_when_a_recorder_starts_then_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "recorder").write_bytes(b"old" * 5000)
    recorder = Recorder(tmp_path / "recorder")
    assert read_recorder(tmp_path / "recorder") == []
    recorder.close()


def test_given_round_trips_when_looked_at_between_them_then_nobody_is_busy(engine_host: Any) -> None:
    talk = engine_host.open("123")
    talk.load("on('messageCreate', async () => {})")
    talk.send("x")
    talk.answer()

    (entry,) = read_recorder(engine_host.recorder_path)

    assert entry.busy_since_s == 0


def test_given_several_isolates_of_a_guild_when_summed_up_then_the_latest_start_and_the_longest_run_count() -> None:
    def entry(name: str, started: int, before: int, busy_since_s: float) -> RecorderEntry:
        return RecorderEntry(name, 1, before, Progress(started, 1, 0.0, 0, 0, 1), busy_since_s)

    entries = [entry("1", 7, 0, 90.0), entry("1", 0, 9, 99.0), entry("2", 0, 0, 0.0), entry("", 3, 0, 50.0)]

    assert last_started(entries) == {"1": 9, "": 3}
    assert busy_for_s(entries, 100.0) == {"1": 10.0}, "the default runtime holds no guest"
