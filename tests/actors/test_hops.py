"""Traced messages on their way through actors: what each hop leaves behind, and what travels on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from thespian.actors import PoisonMessage

from flora.actors.base import FloraActor
from flora.actors.hops import Hops
from flora.actors.tracing import TRACES_FOLDER
from flora.messages.base import Address, Failed, Frame, Message, Ok, Request, TraceContext
from flora.messages.errors import NotFound
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Drain, Peers, Start
from flora.messages.trace import current_trace, new_span_id, new_trace_id
from flora.storage.trace_files import TraceReader
from flora.storage.trace_record import TraceRecord

GUILD = GuildId("7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Request):
    """Do this, and answer. `via`: ask this one first."""

    guild_id: GuildId = GUILD
    does: str = "answer"
    via: Address = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidings(Message):
    does: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle(Frame):
    pass


class Clerk(FloraActor):
    """Carries orders out; keeps under which trace each part of its code ran."""

    ran_under: list[tuple[str, TraceContext | None]]

    def __init__(self) -> None:
        super().__init__()
        self.ran_under = []
        self._waiting: list[tuple[Order, Address]] = []

    def _note(self, where: str) -> None:
        self.ran_under.append((where, current_trace.get()))

    def receiveMsg_Order(self, msg: Order, sender: Address) -> None:
        self._note("order")
        match msg.does:
            case "answer":
                self.reply_ok(msg, sender, self.ran_under)
            case "refuse":
                raise NotFound("no such thing\nwith a second line")
            case "explode":
                raise ValueError("secret detail")
            case "ask":
                asked = Order(req_id=ReqId(""))
                self.ask(msg.via, asked, lambda reply: self._told(msg, sender, reply), limit_s=0.1)
            case "later":
                self.after(0.01, lambda: self._later(msg, sender))
            case "spread":
                self.tell(msg.via, Tidings())
                self.tell(msg.via, Bundle(number=1, ack=0, epoch="e"))
                self.tell(msg.via, Drain(req_id=ReqId("d"), limit_s=1))
                self.reply_ok(msg, sender)
            case "keep":
                self._waiting.append((msg, sender))

    def _told(self, msg: Order, sender: Address, reply: Ok | Failed) -> None:
        self._note("told")
        self.reply_ok(msg, sender, reply)

    def _later(self, msg: Order, sender: Address) -> None:
        self._note("later")
        self.after(0.0, lambda: self._much_later(msg, sender))

    def _much_later(self, msg: Order, sender: Address) -> None:
        self._note("much later")
        self.reply_ok(msg, sender, self.ran_under)

    def receiveMsg_Tidings(self, msg: Tidings, sender: Address) -> None:
        if msg.does == "explode":
            raise ValueError("secret detail")
        for order, asker in self._waiting:
            self.reply_ok(order, asker, self.ran_under)


@pytest.fixture
def clerk(stage, settings) -> Address:
    address = stage.create(Clerk)
    stage.ask(address, Start(req_id=ReqId("start"), settings=settings, peers=Peers(), name="clerk"))
    return address


@pytest.fixture
def records(settings) -> Callable[[], list[TraceRecord]]:
    return lambda: list(TraceReader(settings.data_dir / TRACES_FOLDER).records())


def sampled(**more: Any) -> TraceContext:
    return TraceContext(trace_id=new_trace_id(), span_id=new_span_id(), sampled=True, **more)


def order(trace: TraceContext | None, does: str = "answer", via: Address = None) -> Order:
    return Order(req_id=ReqId("order"), trace=trace, does=does, via=via)


def test_given_a_traced_request_when_answered_then_its_hop_says_where_how_long_and_how_it_ended(stage, clerk, records):
    trace = sampled(sent_us=1_000_000)

    reply = stage.ask(clerk, order(trace))

    (hop,) = records()
    assert (hop.trace, hop.parent, hop.process, hop.name) == (trace.trace_id, trace.span_id, "clerk", "Order")
    assert (hop.outcome, hop.guild_id, hop.kind) == ("ok", "7", "message")
    assert hop.queued_us == hop.at_us - 1_000_000
    assert (reply.trace.trace_id, reply.trace.span_id) == (trace.trace_id, hop.span)
    assert reply.trace.sent_us >= hop.at_us
    ((_, while_handling),) = reply.value
    assert while_handling == replace(trace, span_id=hop.span, sent_us=0)
    assert current_trace.get() is None


def test_given_a_request_that_is_answered_later_then_its_hop_lasts_until_then(stage, clerk, records):
    asker = stage.puppet()
    stage.say(asker, clerk, order(sampled(), "keep"))
    stage.pump()
    before = records()

    stage.tell(clerk, Tidings())

    stage.until(lambda: stage.seen_by(asker, Ok))
    assert before == []
    assert [hop.name for hop in records()] == ["Order"]


@pytest.mark.parametrize(
    ("does", "code", "why"), [("refuse", "NOT_FOUND", "no such thing"), ("explode", "INTERNAL", "")]
)
def test_given_a_handler_that_fails_when_not_sampled_then_its_hop_is_kept_with_its_reason(
    stage, clerk, records, does: str, code: str, why: str
):
    trace = replace(sampled(), sampled=False)

    stage.ask(clerk, order(trace, does))

    (hop,) = records()
    assert (hop.trace, hop.outcome) == (trace.trace_id, code)
    assert hop.why.startswith(why)
    assert "second line" not in hop.why
    assert "secret" not in hop.why


def test_given_a_trace_that_is_not_sampled_when_all_goes_well_then_nothing_is_kept_and_the_trace_goes_on(
    stage, clerk, records
):
    trace = replace(sampled(), sampled=False)

    reply = stage.ask(clerk, order(trace))

    assert records() == []
    assert reply.trace.trace_id == trace.trace_id


def test_given_a_question_to_another_when_its_answer_comes_then_both_belong_to_the_trace(stage, clerk, records):
    other, asker = stage.puppet(), stage.puppet()
    trace = sampled()
    stage.say(asker, clerk, order(trace, "ask", via=other))
    (asked,) = stage.until(lambda: stage.seen_by(other, Order))
    stage.say(other, clerk, Ok(req_id=asked.req_id))

    stage.until(lambda: stage.seen_by(asker, Ok))

    (hop,) = records()
    assert asked.trace.trace_id == trace.trace_id
    assert asked.trace.span_id == hop.span
    assert asked.trace.sent_us >= hop.at_us


def test_given_a_question_that_nobody_answers_then_the_trace_says_which(stage, clerk, records):
    stage.ask(clerk, order(sampled(), "ask", via=stage.puppet()))

    by_name = {hop.name: hop for hop in records()}
    assert by_name["ask Order"].outcome == "TIMED_OUT"
    assert by_name["ask Order"].parent == by_name["Order"].span
    assert by_name["ask Order"].took_us >= 90_000


def test_given_a_timer_when_it_is_due_then_it_belongs_to_the_trace_but_timers_of_its_own_do_not(stage, clerk):
    trace = sampled()

    ran = dict(stage.ask(clerk, order(trace, "later")).value)

    assert ran["later"].trace_id == trace.trace_id
    assert ran["much later"] is None


def test_given_a_traced_handler_when_it_sends_then_messages_carry_the_trace_and_frames_do_not(stage, clerk):
    other = stage.puppet()

    stage.ask(clerk, order(sampled(), "spread", via=other))

    carried = {type(message).__name__: message.trace is not None for message in stage.seen_by(other)}
    assert carried == {"Tidings": True, "Bundle": False, "Drain": False}


def test_given_a_message_without_trace_then_nothing_is_kept_of_it_and_nothing_travels(stage, clerk, records):
    other = stage.puppet()

    stage.ask(clerk, order(None, "spread", via=other))

    assert [message.trace for message in stage.seen_by(other)] == [None, None, None]
    assert records() == []


def test_given_nobody_to_send_to_then_the_message_leaves_a_record_in_its_trace(stage, clerk, records, caplog):
    trace = sampled()
    with caplog.at_level("INFO"):
        stage.ask(clerk, order(trace, "spread", via=None))

    lost = {hop.name: hop for hop in records() if hop.outcome == "undeliverable"}
    assert lost.keys() == {"Tidings", "Bundle", "Drain"}
    assert lost["Tidings"].trace == trace.trace_id
    assert lost["Tidings"].why == "its receiver is not there now"
    assert caplog.records[0].trace_id == trace.trace_id


def test_given_a_message_that_comes_back_then_it_leaves_a_record_in_its_trace(stage, clerk, records):
    trace = sampled()

    stage.tell(clerk, PoisonMessage(Tidings(trace=trace)))
    stage.until(records)

    (hop,) = records()
    assert (hop.trace, hop.name, hop.outcome) == (trace.trace_id, "Tidings", "poisoned")
    assert hop.why == "its receiver could not handle it, or is gone"


def test_given_requests_that_never_get_a_reply_then_the_oldest_is_written_down_and_the_rest_is_bounded():
    kept: list[TraceRecord] = []
    hops = Hops("clerk", kept.append, slow_us=0)

    for number in range(1_200):
        hops.begin(Order(req_id=ReqId(str(number))), sampled())

    assert len(hops.open) == 1_000
    assert {hop.outcome for hop in kept} == {"unanswered"}
    assert len(kept) == 200


def test_given_slow_hops_of_no_sampled_trace_then_they_are_kept_a_few_a_second():
    kept: list[TraceRecord] = []
    hops = Hops("clerk", kept.append, slow_us=1, clock=lambda: 5.0)
    trace = replace(sampled(), sampled=False, sent_us=1)

    for _ in range(1_000):
        message = Tidings(trace=trace)
        hops.handled(hops.begin(message, trace), message, None)

    assert 0 < len(kept) <= 200
