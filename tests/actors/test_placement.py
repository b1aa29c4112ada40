"""Who is to blame for a worker's death, and how a guild with a worker of its own fares."""

from __future__ import annotations

import random
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.placement import (
    MAX_SUSPECTS,
    REPEAT_WINDOW_S,
    SUSPECT_SHARE,
    Homes,
    Judge,
    Stage,
    Verdict,
    suspects,
)
from flora.messages.dispatch import WorkerExited
from flora.messages.ids import GuildId, WorkerId
from flora.messages.placement import FIRST_DEDICATED_WORKER, GuildState, Placement

G, H, J = GuildId("1"), GuildId("2"), GuildId("3")
ANY = random.Random(1)


def died(signal_number: int | None = None, **more) -> WorkerExited:
    return WorkerExited(worker_id=0, recorder="", signal=signal_number, **more)


def test_given_nobody_inside_v8_when_asked_then_nobody_is_suspected():
    assert suspects({}) == ()


def test_given_several_inside_v8_when_asked_then_those_far_behind_the_longest_are_not_suspected():
    assert suspects({G: 0.9, H: 2.0, J: 1.0}) == (H, J)


@given(st.dictionaries(st.integers(1, 50).map(lambda n: GuildId(str(n))), st.floats(0, 100)))
def test_given_anybody_inside_v8_when_asked_then_the_longest_is_first_and_there_are_few(busy_s):
    found = suspects(busy_s)

    assert len(found) <= MAX_SUSPECTS
    assert bool(found) == bool(busy_s)
    assert [busy_s[guild] for guild in found] == sorted((busy_s[guild] for guild in found), reverse=True)
    assert all(busy_s[guild] >= SUSPECT_SHARE * max(busy_s.values()) for guild in found)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGTRAP, signal.SIGILL, signal.SIGSEGV])
def test_given_a_death_by_v8s_own_hand_when_judged_then_who_was_inside_is_guilty(number):
    assert Judge().judge(died(number), {G: 1.0}, 0.0) == Verdict((G,), f"V8 aborted ({number.name})")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_given_a_death_from_outside_when_judged_then_nobody_is_guilty(number):
    assert Judge().judge(died(number), {G: 1.0}, 0.0).guilty == ()


def test_given_a_guild_inside_v8_at_two_deaths_from_outside_when_judged_then_the_second_makes_it_guilty():
    judge = Judge()
    judge.judge(died(signal.SIGKILL), {G: 1.0, H: 1.0}, 0.0)

    verdict = judge.judge(died(signal.SIGKILL), {G: 1.0, J: 1.0}, REPEAT_WINDOW_S)

    assert verdict == Verdict((G,), "the worker was killed (signal 9) for the second time")


def test_given_guilds_at_work_for_a_moment_at_many_kills_when_judged_then_nobody_is_guilty():
    judge = Judge()

    verdicts = [judge.judge(died(signal.SIGKILL), {G: 0.2, H: 0.01}, now_s) for now_s in range(10)]

    assert {verdict.guilty for verdict in verdicts} == {()}


def test_given_two_deaths_far_apart_when_judged_then_nobody_is_guilty():
    judge = Judge()
    judge.judge(died(signal.SIGKILL), {G: 1.0}, 0.0)

    assert judge.judge(died(signal.SIGKILL), {G: 1.0}, REPEAT_WINDOW_S + 1).guilty == ()


def test_given_a_worker_that_says_why_it_ended_when_judged_then_it_is_believed_and_nobody_else_suspected():
    judge = Judge()

    verdict = judge.judge(died(cause="its memory was used up", guilty=("2",)), {G: 5.0}, 0.0)

    assert verdict == Verdict((H,), "its memory was used up")
    assert judge.judge(died(signal.SIGKILL), {G: 1.0}, 1.0).guilty == ()


def make_home(homes: Homes, guild: GuildId = G):
    return homes.add(guild, Placement.QUARANTINED, "V8 aborted", 1000.0, ())


@pytest.mark.scenario("T35")
def test_given_loads_that_end_their_worker_when_it_goes_on_then_the_fifth_in_a_row_is_the_end_and_a_deploy_a_new_start():
    home = make_home(Homes())

    pauses = []
    while (pause_s := home.ended(len(pauses), ANY)) is not None:
        assert home.state is GuildState.RESTING
        pauses.append(pause_s)
        home.stage = Stage.LOADING

    assert len(pauses) == 4
    assert pauses == sorted(pauses)
    assert home.state is GuildState.FAILED
    home.loaded(10.0, deployed=True)
    assert (home.state, home.ended(11.0, ANY)) == (GuildState.SERVING, 0.0)


def test_given_an_end_while_it_serves_when_on_probation_then_the_probation_is_over():
    home = make_home(Homes())
    home.loaded(0.0, deployed=True)
    home.probation = 7

    home.ended(1.0, ANY)

    assert home.probation == 0


def test_given_homes_when_numbered_then_no_number_is_used_twice_nor_one_that_is_taken():
    homes = Homes()
    first = make_home(homes)
    homes.remove(G)

    second = homes.add(H, Placement.DEDICATED, "", 0.0, [WorkerId(0), WorkerId(FIRST_DEDICATED_WORKER + 7)])

    assert first.worker == FIRST_DEDICATED_WORKER
    assert second.worker == FIRST_DEDICATED_WORKER + 8
    assert homes.of_worker(second.worker) is second
    assert homes.of_worker(first.worker) is None
    assert (homes.count(Placement.DEDICATED), homes.count(Placement.QUARANTINED)) == (1, 0)
