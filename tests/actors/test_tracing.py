"""What an actor writes down of its part in traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flora.actors.tracing import TRACES_FOLDER, Tracer
from flora.messages.settings import Settings, TraceSettings
from flora.storage.trace_files import TraceReader

RUN = "0123456789abcdef"


def read(data_dir: Path):
    return list(TraceReader(data_dir / TRACES_FOLDER).records())


def test_given_hops_when_flushed_then_they_can_be_read_with_their_ids(tmp_path: Path):
    tracer = Tracer(Settings(data_dir=tmp_path, run_id=RUN), "worker 0")
    trace = tracer.event_trace(18)

    first = tracer.hop(trace, "worker.receive", kind="event", at_us=5, queued_us=-2, guild_id="7", attrs={"seq": 18})
    tracer.hop(
        trace, "isolate.run", kind="event", at_us=9, took_us=3, parent=first, outcome="threw", process="worker 1"
    )
    assert not (tmp_path / TRACES_FOLDER).exists()
    tracer.flush()

    received, run = sorted(read(tmp_path), key=lambda record: record.at_us)
    assert received.trace == run.trace == f"{RUN}0000000000000012"
    assert (received.process, received.queued_us, received.guild_id, received.attrs) == (
        "worker 0",
        0,
        "7",
        {"seq": 18},
    )
    assert (run.parent, run.process, run.outcome, run.took_us) == (received.span, "worker 1", "threw", 3)


def test_given_tracing_is_off_when_a_hop_is_written_then_nothing_comes_on_disk(tmp_path: Path):
    settings = Settings(data_dir=tmp_path, run_id=RUN)
    tracer = Tracer(replace(settings, trace=TraceSettings(enabled=False)), "worker 0")

    assert not tracer.enabled
    assert tracer.hop(tracer.event_trace(1), "isolate.run", kind="event", at_us=1)
    tracer.flush()
    tracer.close()

    assert list(tmp_path.iterdir()) == []


def test_given_a_folder_that_cannot_be_made_when_flushed_then_nothing_breaks(tmp_path: Path):
    (tmp_path / TRACES_FOLDER).write_text("in the way")
    tracer = Tracer(Settings(data_dir=tmp_path, run_id=RUN), "worker 0")

    tracer.hop(tracer.event_trace(1), "isolate.run", kind="event", at_us=1)
    tracer.flush()

    assert (tmp_path / TRACES_FOLDER).read_text() == "in the way"
