"""What the router keeps of events: order, shedding, and what a worker's death leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.lanes import DROP_THRESHOLD, GUILD_SHARE, HARD_LIMIT, Lanes
from flora.messages.ids import GuildId, WorkerId

G, W, V = GuildId("1"), WorkerId(0), WorkerId(2)


def row(seq: int, name: str = "messageDelete", guild: str = G):
    return (seq, guild, name, "{}")


def open_lanes(held: bool = False) -> Lanes:
    lanes = Lanes()
    lanes.open(G, W, held=held)
    return lanes


@pytest.mark.scenario("T10")
def test_given_no_lane_when_an_event_comes_then_it_is_dropped_and_counted():
    lanes = Lanes()

    assert not lanes.admit(row(1))
    assert lanes.tally.dropped_no_isolate == 1


def test_given_a_held_lane_when_released_then_events_come_out_in_order():
    lanes = open_lanes(held=True)
    for seq in (1, 2, 3):
        assert not lanes.admit(row(seq))

    assert [r[0] for r in lanes.release(G)] == [1, 2, 3]
    assert lanes.admit(row(4))
    assert lanes.backlog_of(W) == 4


@pytest.mark.scenario("T27")
def test_given_a_full_backlog_when_chat_arrives_then_it_is_shed_and_the_rest_is_not():
    lanes = open_lanes()
    for seq in range(DROP_THRESHOLD):
        lanes.admit(row(seq))

    assert not lanes.admit(row(9001, "messageCreate"))
    assert lanes.tally.shed == 1
    assert lanes.admit(row(9002, "messageDelete"))
    assert lanes.admit(row(9003, "interactionCreate"))


@pytest.mark.scenario("T28")
def test_given_one_below_the_threshold_when_chat_arrives_then_it_is_accepted():
    lanes = open_lanes()
    for seq in range(DROP_THRESHOLD - 1):
        lanes.admit(row(seq))

    assert lanes.admit(row(9001, "messageUpdate"))


def test_given_a_worker_full_of_one_other_guild_when_chat_arrives_then_it_is_accepted():
    lanes = open_lanes()
    lanes.open(GuildId("2"), W, held=False)
    for seq in range(DROP_THRESHOLD):
        lanes.admit(row(seq, guild="2"))

    assert lanes.admit(row(9001, "messageCreate"))
    assert not lanes.admit(row(9002, "messageCreate", guild="2"))


@pytest.mark.scenario("T27")
def test_given_a_worker_full_of_many_guilds_when_chat_arrives_then_it_is_shed():
    lanes = open_lanes()
    for guild in range(2, 2 + DROP_THRESHOLD // GUILD_SHARE):
        lanes.open(GuildId(str(guild)), W, held=False)
        for seq in range(GUILD_SHARE):
            lanes.admit(row(seq, guild=str(guild)))

    assert lanes.pressure_on(W) == DROP_THRESHOLD
    assert not lanes.admit(row(9001, "messageCreate"))
    assert lanes.admit(row(9002, "messageCreate"), shed=False)
    assert lanes.admit(row(9003, "interactionCreate"))


@given(
    st.lists(st.sampled_from(["admit", "done", "close", "die", "release", "take back", "move"]), max_size=60),
    st.booleans(),
)
def test_given_any_course_when_counted_then_pressure_is_what_the_lanes_hold(steps, held):
    lanes = Lanes()
    lanes.open(G, W, held=held)
    for seq, step in enumerate(steps, 1):
        match step:
            case "admit":
                lanes.admit(row(seq))
            case "done" if G in lanes and lanes[G].unfinished:
                lanes.done(G, next(iter(lanes[G].unfinished)), W)
            case "close":
                lanes.close(G)
                lanes.open(G, W, held=held)
            case "die":
                lanes.worker_died(W, {G: seq // 2})
            case "release":
                lanes.release(G)
            case "take back":
                lanes.take_back(G)
            case "move" if lanes[G].held and not lanes[G].unfinished:
                lanes.move(G, V)
                lanes.move(G, W)

    assert (lanes.pressure_on(W), lanes.pressure_on(V)) == (lanes[G].backlog, 0)
    assert (lanes.backlog_of(W), lanes.backlog_of(V)) == (len(lanes[G].unfinished), 0)
    waiting, unfinished = [row[0] for row in lanes[G].waiting], list(lanes[G].unfinished)
    assert unfinished + waiting == sorted(unfinished + waiting), "in gateway order, what was sent first"


def test_given_a_guild_past_its_hard_limit_when_anything_arrives_then_it_is_shed():
    lanes = open_lanes(held=True)
    for seq in range(HARD_LIMIT):
        lanes.admit(row(seq))

    assert not lanes.admit(row(9001, "interactionCreate"))
    assert lanes[G].shedding == 1


def test_given_a_late_report_when_done_then_nothing_is_counted_twice():
    lanes = open_lanes()
    lanes.admit(row(1))

    assert lanes.done(G, 1, W)
    assert not lanes.done(G, 1, W)
    assert not lanes.done(GuildId("unknown"), 1, W)
    assert lanes.backlog_of(W) == 0


def test_given_a_closed_lane_when_reopened_then_its_old_events_do_not_count():
    lanes = open_lanes()
    lanes.admit(row(1))
    lanes.close(G)

    lanes.open(G, W, held=False)

    assert lanes.backlog_of(W) == 0
    assert not lanes.done(G, 1, W)


@pytest.mark.scenario("T34")
@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 10))
def test_given_a_dead_worker_when_salvaged_then_started_ones_fail_once_and_the_rest_runs_in_order(sent, started, later):
    lanes = open_lanes()
    for seq in range(1, sent + 1):
        lanes.admit(row(seq))

    (salvage,) = lanes.worker_died(W, {G: started})
    for seq in range(sent + 1, sent + later + 1):
        assert not lanes.admit(row(seq))
    again = [r[0] for r in lanes.release(G)]

    assert [r[0] for r in salvage.failed] == list(range(1, min(started, sent) + 1))
    assert again == list(range(min(started, sent) + 1, sent + later + 1))
    assert lanes.backlog_of(W) == len(again)


def test_given_events_that_did_not_start_when_the_guild_moves_then_they_go_to_its_new_worker_in_order():
    lanes = open_lanes()
    for seq in (1, 2, 3):
        lanes.admit(row(seq))
    lanes.done(G, 1, W)

    assert lanes.take_back(G) == 2
    lanes.admit(row(4))
    lanes.move(G, V)

    assert [found[0] for found in lanes.release(G)] == [2, 3, 4]
    assert not lanes.done(G, 2, W), "a late word of the old worker counts for nothing"
    assert lanes.done(G, 2, V)
    assert (lanes.backlog_of(W), lanes.backlog_of(V)) == (0, 2)


def test_given_events_under_way_when_moved_then_it_is_refused():
    lanes = open_lanes()
    lanes.admit(row(1))
    lanes.hold(G)

    with pytest.raises(ValueError, match="1 events are under way"):
        lanes.move(G, V)
