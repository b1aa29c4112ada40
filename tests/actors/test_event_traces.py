"""The hops of events, written by gateway, router and worker without anything but numbers between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flora.actors import op_tracing, worker_tracing
from flora.actors.event_stamps import Arrival, EventHop, FrameStamps, event_span
from flora.actors.gateway_tracing import SENT_AGAIN, GatewayHops
from flora.actors.lanes import DROP_THRESHOLD, Lanes
from flora.actors.op_notes import MAX_NOTES, MAX_OWNERS, IsolateOps
from flora.actors.router_state import RouterState
from flora.actors.router_tracing import RouterHops
from flora.actors.tracing import TRACES_FOLDER, Tracer, now_us
from flora.actors.worker_tracing import EventHops
from flora.messages.base import TraceContext
from flora.messages.dispatch import DispatchFrame, Outcome, TracedEnd
from flora.messages.gateway import GatewayFrame
from flora.messages.ids import GuildId, WorkerId
from flora.messages.isolate import IsolateReport, RunJob
from flora.messages.settings import Settings, TraceSettings
from flora.storage.trace_files import TraceReader
from flora.storage.trace_record import TraceRecord

G, W = GuildId("7"), WorkerId(0)
SLOW_MS = 100


class Written:
    """A tracer, and what it has written."""

    def __init__(self, folder: Path, events_per_second: int = 0) -> None:
        trace = TraceSettings(events_per_second=events_per_second, slow_ms=SLOW_MS)
        self._folder = folder
        self.tracer = Tracer(Settings(data_dir=folder, run_id="ab" * 8, trace=trace), "test")

    def records(self) -> list[TraceRecord]:
        self.tracer.flush()
        return list(TraceReader(self._folder / TRACES_FOLDER).records())

    def names(self, seq: int | None = None) -> list[str]:
        trace = None if seq is None else self.tracer.event_trace(seq)
        return [record.name for record in self.records() if trace in (None, record.trace)]

    def one(self, name: str) -> TraceRecord:
        (found,) = [record for record in self.records() if record.name == name]
        return found


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


# The worker


class Worker:
    """A worker's hops; what an isolate would say is said by the test."""

    def __init__(self, written: Written) -> None:
        self.told: list[TracedEnd] = []
        self.hops = EventHops(written.tracer, self.told.append)

    def takes(self, *seqs: int, traced: tuple[int, ...] = (), age_ms: int = 0) -> Arrival:
        at_us = now_us()
        frame = DispatchFrame(
            number=1, ack=0, epoch="r", seqs=seqs, guild_ids=(G,) * len(seqs), names=("messageCreate",) * len(seqs),
            payloads=("{}",) * len(seqs), traced=traced, received_us=at_us - age_ms * 1000, sent_us=at_us - 5,
        )  # fmt: skip
        return self.hops.arrived(frame)

    def ends(self, seq: int, arrival: Arrival | None, outcome: str = Outcome.OK, **said: Any) -> None:
        self.hops.reported(1, IsolateReport(key=1, **said))
        self.hops.done(1, seq, G, outcome, 0, arrival)


@pytest.fixture
def worker(written: Written) -> Worker:
    return Worker(written)


def test_given_an_event_that_is_neither_sampled_nor_slow_nor_failed_when_it_ends_then_nothing_is_written(
    worker, written
):
    worker.ends(5, worker.takes(5), op_owners=(1, 5), calls=((1, "GET", "/guilds/7"),))
    worker.hops.ops.answered(1, [(1, True, "{}")])

    assert written.records() == []
    assert worker.told == []


@pytest.mark.parametrize(("outcome", "age_ms"), [(Outcome.OK, SLOW_MS), (Outcome.THREW, 0), (Outcome.TIMED_OUT, 0)])
def test_given_an_event_that_was_slow_or_failed_when_it_ends_then_it_and_what_it_asked_for_are_written(
    worker, written, outcome, age_ms
):
    arrival = worker.takes(4, 5, age_ms=age_ms)
    worker.hops.reported(
        1,
        IsolateReport(
            key=1, op_owners=(1, 4, 2, 5), calls=((1, "GET", "/users/1"), (2, "POST", "/channels/9/messages"))
        ),
    )
    worker.hops.ops.answered(1, [(2, False, '{"code": "DISCORD_HTTP_ERROR", "message": "no", "status": 403}')])

    worker.ends(5, arrival, outcome)

    assert written.names(5) == ["worker.receive", "isolate.run", "rest POST /channels/{id}/messages"]
    assert written.names(4) == []
    receive, run, rest = written.records()
    assert (receive.parent, run.parent, rest.parent) == (event_span(EventHop.ROUTE, 5), receive.span, run.span)
    assert (run.outcome, run.event, run.guild_id) == (outcome, "messageCreate", G)
    assert (rest.outcome, rest.why, rest.attrs) == ("DISCORD_HTTP_ERROR", "no", {"status": 403})
    assert worker.told == [
        TracedEnd(5, G, "messageCreate", outcome, False, arrival.received_us, arrival.sent_us, suppressed=0)
    ]


def test_given_a_sampled_event_when_things_happen_then_each_is_written_as_it_ends(worker, written):
    arrival = worker.takes(5, traced=(5,))
    assert written.names() == ["worker.receive"]

    worker.hops.reported(1, IsolateReport(key=1, op_owners=(1, 5), kv_ops=((1, "op_kv_get", ()), (2, "op_kv_set", ()))))
    worker.hops.ops.answered(1, [(1, True, "null"), (2, True, "null")])
    assert written.one("kv").attrs == {"first": "get", "operations": 2}

    worker.ends(5, arrival, op_owners=(), calls=((3, "GET", "/users/1"),))
    assert written.names() == ["worker.receive", "kv", "isolate.run"]
    worker.hops.ops.cancelled(1, [3])

    assert written.one("rest GET /users/{id}").outcome == op_tracing.CANCELLED
    assert worker.told[0].was_traced


def test_given_an_event_that_waited_for_its_guilds_processor_budget_when_it_ends_then_its_run_says_so(worker, written):
    arrival = replace(worker.takes(5, 6, age_ms=SLOW_MS), at_us=now_us() - 200_000)

    worker.hops.reported(1, IsolateReport(key=1, counted=(("guild_throttled", 1),)))
    worker.ends(5, arrival)
    worker.hops.isolate_gone(1)
    worker.ends(6, arrival)

    told = [record.why for record in written.records() if record.name == "isolate.run"]
    assert told == ["it waited because the guild's processor budget was used up", ""]


def test_given_a_script_with_its_own_dispatcher_when_it_returns_a_plain_value_then_that_is_no_failure(worker, written):
    worker.ends(5, worker.takes(5), Outcome.NOT_A_PROMISE)

    assert written.records() == []


def test_given_a_run_that_ends_with_its_isolate_when_another_waited_for_the_next_one_then_both_say_so(worker, written):
    arrival = worker.takes(5, 6)
    worker.ends(5, arrival, Outcome.TIMED_OUT)
    worker.hops.rebuilt(1)
    long_ago = replace(arrival, at_us=arrival.at_us - 2 * worker_tracing.WORTH_A_REASON_US)
    worker.ends(6, long_ago, Outcome.THREW)

    rebuild, timed_out = written.one("isolate.rebuild"), written.records()[1]
    assert (rebuild.trace, rebuild.parent) == (timed_out.trace, timed_out.span)
    assert timed_out.why == worker_tracing.REASONS[Outcome.TIMED_OUT]
    assert "made anew" in written.records()[-1].why


def test_given_a_guild_that_fails_5000_times_when_another_fails_once_then_both_are_seen_and_the_rest_is_counted(
    worker, written
):
    arrival = worker.takes(*range(1, 5001))
    for seq in range(1, 5001):
        worker.ends(seq, arrival, Outcome.THREW)

    worker.hops.done(2, 9000, "8", Outcome.THREW, 0, None)

    guilds = [record.guild_id for record in written.records() if record.name == "isolate.run"]
    assert 50 <= guilds.count(G) <= 60
    assert guilds.count("8") == 1


def test_given_an_isolate_that_was_made_anew_when_it_asks_again_then_its_operations_are_not_taken_for_earlier_ones():
    ops = IsolateOps()
    ops.owned((1, 5, 7, 6))
    assert [ops.owner(op_id) for op_id in (1, 6, 7, 8)] == [5, 5, 6, 6]

    ops.owned((1, 9))

    assert ops.owner(7) == 9


def test_given_an_event_that_asks_for_thousands_of_things_when_noted_then_only_the_first_are_kept():
    ops = IsolateOps()
    for op_id in range(1, 2000):
        ops.owned((op_id, 5))
        ops.ask(op_id, 5, "kv", 0, None)

    assert len(ops.take(5)) == MAX_NOTES
    assert len(ops._owners) <= 2 * MAX_OWNERS


def test_given_runs_of_a_cron_job_when_they_end_then_failed_and_traced_ones_hang_below_what_began_them(worker, written):
    began = TraceContext(trace_id="c" * 32, span_id="d" * 16, sampled=True)
    worker.hops.job_handed(1, G, RunJob(name="tidy", payload="{}"))
    worker.hops.reported(1, IsolateReport(key=1))
    worker.hops.job_done(1, G, "tidy", Outcome.OK, 0)
    assert written.records() == []

    worker.hops.job_handed(1, G, RunJob(name="tidy", payload="{}", trace=began))
    worker.hops.reported(1, IsolateReport(key=1, op_owners=(1, -2), calls=((1, "GET", "/users/1"),)))
    worker.hops.ops.answered(1, [(1, True, "{}")])
    worker.hops.job_done(1, G, "tidy", Outcome.THREW, 0)

    rest, run = written.records()
    assert (run.trace, run.parent, run.kind, run.event) == (began.trace_id, began.span_id, "cron", "tidy")
    assert (rest.trace, rest.parent, run.outcome) == (began.trace_id, run.span, Outcome.THREW)


# The router


class Router:
    """A router's hops beside real lanes."""

    def __init__(self, written: Written) -> None:
        self.lanes = Lanes()
        self.hops = RouterHops(written.tracer, self.lanes, lambda guild_id: "its script is being loaded")

    def frame(self, first_seq: int, count: int, traced: tuple[int, ...] = (), guild_id: str = G) -> None:
        at_us = now_us()
        self.hops.came(
            GatewayFrame(
                number=1, ack=0, epoch="g", first_seq=first_seq, guild_ids=(guild_id,) * count, names=("messageCreate",) * count,
                payloads=("{}",) * count, received_us=tuple(at_us - 100 + n for n in range(count)), traced=traced,
            )
        )  # fmt: skip

    def row(self, seq: int) -> bool:
        row = (seq, G, "messageCreate", "{}")
        admitted = self.lanes.admit(row)
        if not admitted:
            self.hops.not_sent(row)
        return admitted


@pytest.fixture
def router(written: Written) -> Router:
    return Router(written)


def test_given_a_traced_event_when_it_is_sent_then_its_frame_names_it_and_the_way_is_written(router, written):
    router.frame(10, 3, traced=(11,))

    stamps = router.hops.stamps(W, (10, 11, 12))

    assert stamps["traced"] == (11,)
    assert stamps["received_us"] == router.hops._stamps.of(10)[0] > 0
    assert written.names(11) == ["router.wait"]
    assert written.one("router.wait").parent == event_span(EventHop.RECEIVE, 11)
    assert len(written.records()) == 1


def test_given_a_worker_that_tells_of_a_slow_event_when_heard_then_its_first_hops_are_written_too(router, written):
    router.frame(10, 3)
    sent_us = router.hops.stamps(W, (10, 11, 12))["sent_us"]

    router.hops.ended(W, [TracedEnd(11, G, "messageCreate", "ok", False, 1, sent_us, 4)])

    root, wait, done = written.records()
    assert [hop.name for hop in (root, wait, done)] == ["gateway.receive", "router.wait", "router.done"]
    assert (root.process, root.at_us) == ("gateway", router.hops._stamps.of(11)[0])
    assert (wait.parent, wait.ends_us, wait.attrs) == (root.span, sent_us, {"worker": 0, "suppressed": 4})
    assert done.parent == event_span(EventHop.RUN, 11)


def test_given_a_new_router_when_a_worker_tells_of_an_event_it_never_saw_then_the_workers_times_count(router, written):
    router.hops.ended(W, [TracedEnd(11, G, "messageCreate", "threw", False, 70, 90, 0)])

    root, wait, _ = written.records()
    assert (root.at_us, wait.at_us, wait.ends_us) == (70, 90, 90)


def test_given_a_guild_that_loads_when_events_come_then_they_are_held_and_followed_from_there(router, written):
    router.lanes.open(G, W, held=True)
    router.frame(10, 1)

    assert not router.row(10)
    hold = written.one("router.hold")
    assert (hold.outcome, hold.why) == ("held", "its script is being loaded")
    router.lanes.release(G)

    assert router.hops.stamps(W, (10,))["traced"] == (10,)
    assert written.names(10) == ["gateway.receive", "router.hold", "router.wait"]


def test_given_events_that_are_dropped_when_looked_for_then_the_way_ends_with_the_reason(router, written):
    router.frame(10, DROP_THRESHOLD + 2)
    router.row(10)
    router.lanes.open(G, W, held=False)
    for seq in range(11, 12 + DROP_THRESHOLD):
        router.row(seq)

    lost, shed = [record for record in written.records() if record.name == "router.wait"]
    assert (lost.outcome, shed.outcome) == (Outcome.NO_ISOLATE, Outcome.SHED)
    assert lost.why
    assert shed.why


def test_given_events_that_wait_when_their_guild_is_forgotten_then_their_way_ends_there(router, written):
    state = RouterState("r", 2)
    router.lanes = router.hops._lanes = state.lanes
    state.on_lost = router.hops.lost
    state.lanes.open(G, W, held=True)
    router.frame(10, 1)
    router.row(10)

    state.forget(G)

    wait = written.one("router.wait")
    assert (wait.outcome, wait.parent) == (Outcome.NO_ISOLATE, event_span(EventHop.RECEIVE, 10))
    assert "while it waited" in wait.why


def test_given_a_worker_that_dies_when_told_then_started_events_end_there_and_the_others_wait_again(router, written):
    router.lanes.open(G, W, held=False)
    router.frame(10, 2, traced=(10,))
    assert router.row(10)
    assert router.row(11)
    router.hops.stamps(W, (10, 11))

    salvages = router.lanes.worker_died(W, {G: 10})
    router.hops.worker_died(W, salvages, lambda guild_id: "its worker died while it was running (SIGKILL)")

    run = written.one("isolate.run")
    assert (run.outcome, run.process, run.span) == (Outcome.DIED, "worker 0", event_span(EventHop.RUN, 10))
    assert "SIGKILL" in run.why
    hold = written.one("router.hold")
    assert hold.trace == written.tracer.event_trace(11)
    assert "worker 0 died" in hold.why
    assert router.hops.stamps(W, (11,))["traced"] == (11,)


def test_given_frames_when_their_times_are_asked_for_then_old_ones_are_forgotten_and_repeated_ones_change_nothing():
    stamps = FrameStamps(max_events=4)
    stamps.took(1, (10, 11), 20)
    stamps.took(3, (12, 13), 21)
    stamps.took(3, (99, 99), 99)
    assert [stamps.of(seq) for seq in (0, 1, 2, 4, 5)] == [(0, 0), (10, 20), (11, 20), (13, 21), (0, 0)]

    stamps.took(5, (14,), 22)

    assert [stamps.of(seq) for seq in (2, 3, 5)] == [(0, 0), (12, 21), (14, 22)]


# The gateway


def rows(count: int, guild_id: str = G) -> list[Any]:
    return [(guild_id, "messageCreate", "{}", now_us(), (0, "s", n)) for n in range(count)]


def test_given_events_when_they_leave_then_some_are_chosen_and_again_named_to_a_new_router(tmp_path: Path):
    written = Written(tmp_path, events_per_second=50)
    hops = GatewayHops(written.tracer)
    sent = rows(30)

    chosen = hops.leaving(100, sent)
    again = hops.leaving(100, [*sent, *rows(1, "8")])

    assert 1 <= len(chosen) <= 6
    assert again == (*chosen, 130)
    assert written.names(chosen[0]) == ["gateway.receive", "gateway.resend"]
    assert written.names(130) == ["gateway.receive"]


def test_given_a_budget_of_nothing_when_events_leave_then_none_is_named(written):
    assert GatewayHops(written.tracer).leaving(1, rows(5)) == ()
    assert written.records() == []


def test_given_a_gateway_that_takes_over_when_discord_sends_again_then_those_events_are_traced_and_say_so(written):
    hops = GatewayHops(written.tracer)
    hops.resumes()

    again = hops.leaving(1, rows(2))
    hops.has_resumed()
    fresh = hops.leaving(3, [(G, "messageCreate", "{}", now_us() + 1, (0, "s", 9))])

    assert (again, fresh) == ((1, 2), ())
    assert {record.why for record in written.records()} == {SENT_AGAIN}


def test_given_an_event_that_the_gateway_sheds_when_looked_for_then_its_only_hop_says_so(written):
    GatewayHops(written.tracer).shed(G, "messageCreate")

    assert written.one("gateway.receive").outcome == Outcome.SHED
