"""What is known about the end of a worker."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from flora.actors.worker_exits import GAVE_UP, WorkerEnd, cause_path, end_of, exited, write_cause
from flora.messages.dispatch import WorkerExited


def test_given_a_signal_when_asked_then_it_is_named_and_nobody_is_guilty():
    assert end_of(-signal.SIGABRT, "r") == WorkerEnd(signal=signal.SIGABRT)


@pytest.mark.parametrize("code", [None, 0, 1])
def test_given_an_exit_that_says_nothing_when_asked_then_nothing_is_known(code):
    assert end_of(code, "r") == WorkerEnd()


def test_given_a_worker_that_gave_itself_up_when_asked_then_its_reason_is_read_once(tmp_path: Path):
    recorder = tmp_path / "worker-1.recorder"
    write_cause(recorder, "guild 7 used up the memory", ("7",))

    end = end_of(GAVE_UP, str(recorder))

    assert end == WorkerEnd(cause="guild 7 used up the memory", guilty=("7",))
    assert not cause_path(str(recorder)).exists()
    assert exited(1, str(recorder), end) == WorkerExited(
        worker_id=1, recorder=str(recorder), cause="guild 7 used up the memory", guilty=("7",)
    )


@pytest.mark.parametrize("text", [None, "", "[]", '{"cause": "x"}'])
def test_given_a_reason_that_cannot_be_read_when_asked_then_that_it_gave_up_is_still_told(tmp_path: Path, text):
    recorder = tmp_path / "worker-1.recorder"
    if text is not None:
        cause_path(str(recorder)).write_text(text)

    assert end_of(GAVE_UP, str(recorder)) == WorkerEnd(cause="it gave itself up")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (WorkerEnd(signal=signal.SIGKILL), "SIGKILL"),
        (WorkerEnd(signal=61), "SIG61"),
        (WorkerEnd(cause="its memory was used up"), "gave_up"),
        (WorkerEnd(cause="it does not end", replaced=True), "replaced"),
        (WorkerEnd(), "exit"),
    ],
)
def test_given_how_a_process_ended_then_there_is_one_word_of_a_few_for_it(end, kind):
    assert end.kind == kind
