"""The shell of every actor, in a local system: replies, questions, timers, and that nothing escapes a handler."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from flora.actors.base import DEFERRED, FloraActor
from flora.messages.base import Address, Failed, Message, Ok, Request
from flora.messages.errors import BugError, NotFound, TimedOut, WorkerGone
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, PeersChanged, Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Explode(Request):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Request):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Message):
    what: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFor(Message):
    """Ask somebody something with a limit, and note the answer."""

    whom: Address
    limit_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp(Message):
    on: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Remind(Message):
    after_s: float
    cancel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Request):
    """Ok.value: everything noted so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard(Message):
    pass


class Subject(FloraActor):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def on_start(self, msg: Start) -> Any:
        if msg.name == "late":
            self.after(0.01, lambda: self.reply_ok(msg, None, "started late"))
            return DEFERRED
        if msg.name == "never":
            raise NotFound("nothing to start")
        return {"name": msg.name}

    def on_peers(self, peers: Peers) -> None:
        self.notes.append(("peers", self.peers.router, peers.router))

    def on_drain(self, msg: Drain) -> Any:
        return {"limit_s": msg.limit_s}

    def flush(self) -> None:
        if self.notes and self.notes[-1] == "burst flush":
            raise RuntimeError("flush burst")

    def receiveMsg_Explode(self, msg: Explode, sender: Address) -> None:
        self.notes.append("exploded")
        raise ValueError("secret detail")

    def receiveMsg_Refuse(self, msg: Refuse, sender: Address) -> None:
        raise NotFound("no such thing", thing=7)

    def receiveMsg_Note(self, msg: Note, sender: Address) -> None:
        self.notes.append(msg.what)
        if msg.what == "explode":
            raise ValueError("not a request")

    def receiveMsg_AskFor(self, msg: AskFor, sender: Address) -> None:
        self.ask(msg.whom, Refuse(req_id=ReqId("")), self.notes.append, msg.limit_s)

    def receiveMsg_GiveUp(self, msg: GiveUp, sender: Address) -> None:
        self.give_up_on(msg.on, WorkerGone("gone"))

    def receiveMsg_Remind(self, msg: Remind, sender: Address) -> None:
        number = self.after(msg.after_s, lambda: self.notes.append(f"after {msg.after_s}"))
        if msg.cancel:
            self.cancel_timer(number)

    def receiveMsg_Report(self, msg: Report, sender: Address) -> None:
        self.reply_ok(msg, sender, [*self.notes, ("unknown", self.unknown_messages)])


def start(settings, name: str = "subject") -> Start:
    return Start(req_id=ReqId("start"), settings=settings, peers=Peers(), name=name)


@pytest.fixture
def subject(stage, settings):
    address = stage.create(Subject)
    assert stage.ask(address, start(settings)).value["name"] == "subject"
    return address


def notes(stage, subject) -> list[Any]:
    reply = stage.ask(subject, Report(req_id=ReqId("report")))
    assert reply.req_id == "report"
    return list(reply.value)


def test_given_a_handler_that_raises_when_asked_then_the_answer_is_a_failure_and_it_ran_once(stage, subject):
    reply = stage.ask(subject, Explode(req_id=ReqId("x")))

    assert isinstance(reply, Failed)
    assert (reply.req_id, reply.code) == ("x", BugError.code)
    assert "secret detail" not in reply.message
    assert notes(stage, subject).count("exploded") == 1


def test_given_a_handler_that_refuses_when_asked_then_the_answer_has_code_and_details(stage, subject):
    reply = stage.ask(subject, Refuse(req_id=ReqId("x")))

    assert (reply.code, reply.message, dict(reply.details)) == (NotFound.code, "no such thing", {"thing": 7})


def test_given_a_message_that_is_no_request_when_its_handler_raises_then_it_runs_once_and_the_next_is_handled(
    stage, subject
):
    stage.tell(subject, Note(what="explode"))
    stage.tell(subject, Note(what="next"))

    assert notes(stage, subject)[:2] == ["explode", "next"]


def test_given_a_flush_that_raises_then_the_message_is_not_handled_twice(stage, subject):
    stage.tell(subject, Note(what="burst flush"))

    assert notes(stage, subject).count("burst flush") == 1


def test_given_a_message_without_a_handler_then_it_is_counted_and_told(stage, subject, caplog):
    with caplog.at_level(logging.ERROR):
        stage.tell(subject, Unheard())
        assert notes(stage, subject)[-1] == ("unknown", 1)

    assert "Unheard undeliverable: subject has no handler for it" in caplog.text


def test_given_a_peer_that_never_answers_when_asked_then_the_limit_ends_it_once(stage, subject):
    silent = stage.puppet()

    stage.tell(subject, AskFor(whom=silent, limit_s=0.05))
    failed = stage.until(lambda: [n for n in notes(stage, subject) if isinstance(n, Failed)])

    asked = stage.seen_by(silent, Refuse)
    assert len(asked) == 1
    assert [f.code for f in failed] == [TimedOut.code]
    stage.say(silent, subject, Ok(req_id=asked[0].req_id))  # too late: nobody hears it
    assert [n for n in notes(stage, subject) if isinstance(n, Ok | Failed)] == failed


def test_given_nobody_to_ask_when_asked_then_the_limit_ends_it(stage, subject):
    stage.tell(subject, AskFor(whom=None, limit_s=0.02))

    failed = stage.until(lambda: [n for n in notes(stage, subject) if isinstance(n, Failed)])

    assert failed[0].code == TimedOut.code


def test_given_two_peers_when_one_is_given_up_then_only_its_question_fails_and_at_once(stage, subject):
    gone, slow = stage.puppet(), stage.puppet()
    stage.tell(subject, AskFor(whom=gone))
    stage.tell(subject, AskFor(whom=slow))

    stage.tell(subject, GiveUp(on=gone))

    failed = [n for n in notes(stage, subject) if isinstance(n, Failed)]
    assert [f.code for f in failed] == [WorkerGone.code]
    stage.say(slow, subject, Ok(req_id=stage.seen_by(slow, Refuse)[0].req_id, value="there"))
    assert [n.value for n in notes(stage, subject) if isinstance(n, Ok)] == ["there"]


def test_given_timers_when_due_then_each_is_called_once_in_order_and_a_cancelled_one_never(stage, subject):
    stage.tell(subject, Remind(after_s=0.06))
    stage.tell(subject, Remind(after_s=0.02))
    stage.tell(subject, Remind(after_s=0.04, cancel=True))

    due = stage.until(lambda: [n for n in notes(stage, subject) if n == "after 0.06"] and notes(stage, subject))

    assert due[:-1] == ["after 0.02", "after 0.06"]


def test_given_a_deferred_start_then_the_reply_goes_to_whoever_started_it(stage, settings):
    reply = stage.ask(stage.create(Subject), start(settings, "late"))

    assert reply == Ok(req_id=ReqId("start"), value="started late")


def test_given_a_start_that_fails_then_the_reply_says_why(stage, settings):
    reply = stage.ask(stage.create(Subject), start(settings, "never"))

    assert (reply.code, reply.message) == (NotFound.code, "nothing to start")


def test_given_new_peers_then_the_hook_sees_the_old_ones_still(stage, subject):
    stage.tell(subject, PeersChanged(peers=Peers(router="first")))
    stage.tell(subject, PeersChanged(peers=Peers(router="second")))

    assert notes(stage, subject)[:2] == [("peers", None, "first"), ("peers", "first", "second")]


def test_given_a_drain_then_it_is_answered_with_what_the_hook_gives(stage, subject):
    assert stage.ask(subject, Drain(req_id=ReqId("d"), limit_s=1.5)) == Ok(req_id=ReqId("d"), value={"limit_s": 1.5})
