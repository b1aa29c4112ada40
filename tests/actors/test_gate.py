"""The gate before a guild that moves."""

from __future__ import annotations

import pytest

from flora.actors.gate import MAX_CALLS, Call, Gates, State
from flora.messages.errors import Conflict, MailboxFull
from flora.messages.ids import GuildId, ReqId

G, H = GuildId("1"), GuildId("2")


def call(name: str, *, asker: str = "somebody", is_barrier: bool = True) -> Call:
    return Call(ReqId(name), asker, lambda: None, lambda error: None, is_barrier)


def steps(gates: Gates) -> list[tuple[int, str]]:
    """What a replay does until it has to wait, or the gate opens: (events up to, call)."""
    found = []
    while (step := gates.next(G)) is not None:
        found.append((step.mark, step.call.req_id if step.call is not None else "open"))
    return found


def test_given_an_open_gate_then_nothing_waits():
    gates = Gates()

    assert not gates.wait(G, call("a"), 0)
    assert (gates.state_of(G), G in gates, len(gates)) == (State.OPEN, False, 0)


@pytest.mark.scenario("T45")
def test_given_a_closed_gate_when_it_is_to_be_closed_again_then_that_is_refused_and_changes_nothing():
    gates = Gates()
    epoch = gates.close(G)

    with pytest.raises(Conflict, match="guild migration already in progress"):
        gates.close(G)

    assert gates.is_current(G, epoch)
    assert gates.close(H) > epoch


def test_given_calls_between_events_when_replayed_then_each_has_its_place_and_a_barrier_holds_back_what_follows():
    gates = Gates()
    epoch = gates.close(G)
    gates.wait(G, call("question", is_barrier=False), 3)
    gates.wait(G, call("deploy"), 5)
    gates.wait(G, call("secrets"), 5)
    gates.leaves(G, epoch)
    assert steps(gates) == [], "not before it serves"

    gates.replays(G, epoch)
    first = steps(gates)
    gates.wait(G, call("late", is_barrier=False), 9)
    nothing = gates.answered(ReqId("secrets"))
    second = (gates.answered(ReqId("deploy")), steps(gates))
    third = (gates.answered(ReqId("secrets")), steps(gates))

    assert first == [(3, "question"), (5, "deploy")]
    assert nothing is None, "it has not been asked for yet"
    assert second == (G, [(5, "secrets")])
    assert third == (G, [(9, "late"), (0, "open")])
    assert gates.state_of(G) is State.OPEN


def test_given_an_earlier_epoch_when_something_of_it_comes_late_then_nothing_changes():
    gates = Gates()
    old = gates.close(G)
    gates.abandon(G)
    new = gates.close(G)

    assert not gates.leaves(G, old)
    assert not gates.replays(G, old)
    assert (gates.state_of(G), gates.is_current(G, old), gates.is_current(G, new)) == (State.DRAINING, False, True)


def test_given_states_when_left_in_another_order_then_that_is_refused():
    gates = Gates()
    epoch = gates.close(G)

    assert gates.replays(G, epoch), "it stays where it was"
    assert not gates.leaves(G, epoch)
    assert not gates.replays(G, epoch)


def test_given_a_full_line_then_the_next_call_is_refused_and_those_that_wait_are_kept():
    gates = Gates()
    gates.close(G)
    for number in range(MAX_CALLS):
        gates.wait(G, call(str(number)), 0)

    with pytest.raises(MailboxFull):
        gates.wait(G, call("one more"), 0)

    assert [waiting.req_id for waiting in gates.abandon(G)] == [str(number) for number in range(MAX_CALLS)]
    assert G not in gates


def test_given_a_call_whose_time_is_up_or_whose_asker_is_dead_then_it_is_not_carried_out():
    gates = Gates()
    epoch = gates.close(G)
    impatient = call("impatient")
    for each in (impatient, call("deploy", asker="deployer"), call("kept")):
        gates.wait(G, each, 0)

    assert gates.withdraw(G, impatient)
    assert gates.forget_asker("deployer") == 1
    gates.replays(G, epoch)
    assert steps(gates) == [(0, "kept")]
    assert not gates.withdraw(G, impatient)
