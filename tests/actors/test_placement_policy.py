"""Which worker a guild is to run on: at first, when its worker is emptied, when one worker has too much to do."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.actors.placement_policy import (
    GuildLoad,
    PlacementPolicy,
    Thresholds,
    WorkerLoad,
)
from flora.actors.routing import default_worker
from flora.messages.ids import GuildId, WorkerId
from flora.messages.placement import FIRST_DEDICATED_WORKER

LASTING_S = 30.0
LOOK_S = 5.0
EAGER = Thresholds(cool_down_s=0)  # nothing but the rules themselves keeps it from moving guilds to and fro
MB = 1 << 20


def guild(number: int, worker: int, cpu_share: float = 0.0, **more) -> GuildLoad:
    return GuildLoad(guild_id=GuildId(str(number)), worker=WorkerId(worker), cpu_share=cpu_share, **more)


def load(worker: int, cpu_share: float = 0.0, **more) -> WorkerLoad:
    return WorkerLoad(worker=WorkerId(worker), cpu_share=cpu_share, **more)


def loads_of(guilds: list[GuildLoad], workers: int, refusing: frozenset[int] = frozenset()) -> list[WorkerLoad]:
    """What workers have that run just these guilds."""
    found = [load(worker, accepts=worker not in refusing) for worker in range(workers)]
    for each in guilds:
        found[each.worker] = found[each.worker].plus(each)
    return found


def carried_out(guilds: list[GuildLoad], moves: list[tuple[GuildId, WorkerId]], now_s: float) -> list[GuildLoad]:
    targets = dict(moves)
    return [
        replace(each, worker=targets[each.guild_id], moved_at_s=now_s) if each.guild_id in targets else each
        for each in guilds
    ]


def lasted(policy: PlacementPolicy, guilds: list[GuildLoad], workers: int, **more) -> list[tuple[GuildId, WorkerId]]:
    """What is decided when the load has been like this for long."""
    loads = loads_of(guilds, workers, **more)
    assert not policy.rebalance(loads, guilds, 0.0).moves
    return list(policy.rebalance(loads, guilds, LASTING_S).moves)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[GuildLoad], int]:
    """Guilds on workers, of all sizes, some of which may not be moved."""
    workers = draw(st.integers(1, 6))
    sizes = st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9]) | st.floats(0, 1)
    each = st.tuples(st.integers(0, workers - 1), sizes, st.integers(0, 200), st.booleans() | st.just(True))
    rows = draw(st.lists(each, max_size=24))
    return [guild(n, w, cpu, backlog=wait, movable=can) for n, (w, cpu, wait, can) in enumerate(rows)], workers


# The first worker


@pytest.mark.scenario("T09")
@given(guild_id=st.text(), workers=st.integers(1, 64), cpu_share=st.floats(0, 4), guilds=st.integers(0, 900))
def test_given_workers_that_have_the_same_to_do_when_one_is_chosen_then_it_is_the_default(
    guild_id, workers, cpu_share, guilds
):
    pool = [load(worker, cpu_share, guilds=guilds, rss_bytes=300 * MB) for worker in range(workers)]

    assert PlacementPolicy().choose(GuildId(guild_id), pool) == default_worker(GuildId(guild_id), workers)


def test_given_a_fresh_pool_when_a_thousand_guilds_are_loaded_then_all_are_on_their_defaults():
    policy, pool = PlacementPolicy(), [load(worker) for worker in range(4)]

    for number in range(1000):
        chosen = policy.choose(GuildId(str(10**17 + number)), pool)
        assert chosen == default_worker(GuildId(str(10**17 + number)), 4)
        pool[chosen] = pool[chosen].plus(guild(number, chosen))


@pytest.mark.parametrize(
    "burden",
    [{"cpu_share": 0.8}, {"backlog": 1500}, {"rss_bytes": 1200 * MB}, {"guilds": 40}],
)
def test_given_the_default_has_much_more_to_do_when_one_is_chosen_then_it_is_the_least_busy(burden):
    policy = PlacementPolicy(Thresholds(memory_bytes=1000 * MB))
    pool = [load(0, 0.3), load(1, 0.1), load(2, 0.2), load(3, 0.3)]
    pool[2] = replace(pool[2], **burden)  # 123 hashes to it

    assert policy.choose(GuildId("123"), pool) == 1


@given(
    guild_id=st.text(),
    pool=st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=8),
)
def test_given_any_pool_when_one_is_chosen_then_it_accepts_guilds_if_any_does(guild_id, pool):
    loads = [load(worker, cpu, accepts=accepts) for worker, (cpu, accepts) in enumerate(pool)]
    loads.append(load(FIRST_DEDICATED_WORKER))

    chosen = PlacementPolicy().choose(GuildId(guild_id), loads)

    accepting = {each.worker for each in loads[:-1] if each.accepts}
    assert chosen in (accepting or {default_worker(GuildId(guild_id), len(pool))})


def test_given_no_worker_when_one_is_chosen_then_it_is_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        PlacementPolicy().choose(GuildId("1"), [load(FIRST_DEDICATED_WORKER)])


# Emptying a worker


@settings(max_examples=50)
@given(crowd=crowds(), refusing=st.frozensets(st.integers(0, 5)))
def test_given_any_pool_when_guilds_must_leave_then_each_goes_to_another_worker_that_accepts_it(crowd, refusing):
    guilds, workers = crowd
    loads = loads_of(guilds, workers, refusing)

    targets = PlacementPolicy().spread(guilds, loads)

    accepting = {each.worker for each in loads if each.accepts}
    for each in guilds:
        others = accepting - {each.worker}
        assert (targets[each.guild_id] in others) if others else (each.guild_id not in targets)


@settings(max_examples=30)
@given(sizes=st.lists(st.floats(0.01, 0.5), min_size=20, max_size=80))
def test_given_an_emptied_worker_when_its_guilds_are_spread_then_the_others_get_about_the_same(sizes):
    guilds = [guild(number, 3, size) for number, size in enumerate(sizes)]
    loads = loads_of(guilds, 4, refusing=frozenset({3}))

    targets = PlacementPolicy().spread(guilds, loads)

    got = [0.0, 0.0, 0.0]
    for each in guilds:
        got[targets[each.guild_id]] += each.cpu_share
    assert max(got) - min(got) <= max(sizes) + 0.05


def test_given_idle_guilds_when_they_are_spread_then_it_is_by_their_number():
    guilds = [guild(number, 0) for number in range(99)]

    targets = PlacementPolicy().spread(guilds, [load(0, accepts=False), load(1), load(2), load(3)])

    assert sorted(list(targets.values()).count(worker) for worker in (1, 2, 3)) == [33, 33, 33]


# Rebalancing


def test_given_two_busy_guilds_on_one_worker_of_two_when_it_lasts_then_one_of_them_moves():
    guilds = [guild(1, 0, 0.4), guild(2, 0, 0.38), guild(3, 1, 0.02)]

    assert lasted(PlacementPolicy(), guilds, 2) == [("2", 1)]


def test_given_an_imbalance_that_does_not_last_when_looked_at_then_nothing_moves():
    policy, guilds = PlacementPolicy(), [guild(number, 0, 0.1) for number in range(10)]
    hot, calm = loads_of(guilds, 2), [load(0, 0.1), load(1, 0.1)]

    for start_s in range(0, 600, 60):
        assert not policy.rebalance(hot, guilds, start_s).moves
        assert not policy.rebalance(hot, guilds, start_s + LASTING_S - 1).moves
        assert not policy.rebalance(calm, guilds, start_s + LASTING_S).moves


@settings(max_examples=60)
@given(crowd=crowds(), refusing=st.frozensets(st.integers(0, 5)), limit=st.integers(1, 8))
def test_given_any_pool_when_rebalanced_then_few_that_may_move_do_to_workers_that_accept_them(crowd, refusing, limit):
    guilds, workers = crowd
    by_id = {each.guild_id: each for each in guilds}
    policy = PlacementPolicy(Thresholds(max_moves=limit))

    moves = lasted(policy, guilds, workers, refusing=refusing)

    assert len(moves) == len(dict(moves)) <= limit
    assert len({by_id[guild_id].worker for guild_id, _ in moves}) <= 1
    for guild_id, target in moves:
        assert by_id[guild_id].movable
        assert {by_id[guild_id].worker, target}.isdisjoint(refusing)
        assert target in range(workers)
        assert target != by_id[guild_id].worker


@settings(max_examples=60)
@given(crowd=crowds())
def test_given_any_pool_when_rebalanced_then_the_load_is_more_even_and_no_worker_is_busier_than_the_busiest_was(crowd):
    guilds, workers = crowd
    policy = PlacementPolicy(Thresholds(backlog_over_mean=1_000_000))  # only the processor counts

    moves = lasted(policy, guilds, workers)

    before = [each.cpu_share for each in loads_of(guilds, workers)]
    after = [each.cpu_share for each in loads_of(carried_out(guilds, moves, 0.0), workers)]
    assert max(after) <= max(before)
    assert max(after) <= max(before)
    assert sum(x * x for x in after) < sum(x * x for x in before) or not moves


@settings(max_examples=60)
@given(crowd=crowds())
def test_given_a_steady_load_when_rebalanced_again_and_again_then_it_comes_to_rest(crowd):
    guilds, workers = crowd
    policy, moved, quiet_looks = PlacementPolicy(EAGER), 0, 0

    for look in range(1000):
        moves = list(policy.rebalance(loads_of(guilds, workers), guilds, look * LASTING_S).moves)
        moved += len(moves)
        quiet_looks = 0 if moves else quiet_looks + 1
        guilds = carried_out(guilds, moves, look * LASTING_S)
        if quiet_looks > 40:
            break

    assert quiet_looks > 40
    assert moved <= 2 * len(guilds)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(2, 8),
    level=st.floats(0.0, 0.8),
    amplitude=st.floats(0, 0.12),
)
def test_given_a_noisy_balanced_load_when_looked_at_for_long_then_nothing_moves(seed, workers, level, amplitude):
    rng, policy = random.Random(seed), PlacementPolicy(EAGER)
    guilds = [guild(n, n % workers, level / 5) for n in range(5 * workers)]

    for look in range(60):
        loads = [
            replace(
                each,
                cpu_share=max(0.0, each.cpu_share + rng.uniform(-amplitude, amplitude)),
                backlog=rng.randrange(400),
            )
            for each in loads_of(guilds, workers)
        ]
        assert not policy.rebalance(loads, guilds, look * LOOK_S).moves


def test_given_an_imbalance_on_its_way_down_when_it_is_due_then_nothing_moves_and_it_is_when_it_is_back():
    policy, guilds = PlacementPolicy(), [guild(number, 0, 0.1) for number in range(8)]
    hot, milder = loads_of(guilds, 2), [load(0, 0.5), load(1, 0.1)]

    assert not policy.rebalance(hot, guilds, 0).moves
    assert not policy.rebalance(milder, guilds, LASTING_S).moves
    assert policy.rebalance(hot, guilds, LASTING_S + LOOK_S).moves


def test_given_one_guild_hotter_than_all_others_when_rebalanced_then_it_stays():
    guilds = [guild(1, 0, 0.95), guild(2, 1, 0.05), guild(3, 2, 0.05)]

    assert lasted(PlacementPolicy(), guilds, 3) == []


def test_given_a_hot_guild_among_others_when_rebalanced_then_the_others_leave_it():
    guilds = [guild(1, 0, 0.6), *(guild(n, 0, 0.05) for n in range(2, 8)), guild(9, 1, 0.05)]

    moves = lasted(PlacementPolicy(), guilds, 2)

    assert moves
    assert "1" not in dict(moves)


def test_given_a_guild_that_moved_lately_when_rebalanced_then_it_stays_until_it_has_rested():
    policy = PlacementPolicy()
    guilds = [guild(1, 0, 0.5, moved_at_s=0.0), guild(2, 0, 0.5, moved_at_s=0.0), guild(3, 1)]
    loads = loads_of(guilds, 2)

    decided_at_s = [look * LOOK_S for look in range(300) if policy.rebalance(loads, guilds, look * LOOK_S).moves]

    assert decided_at_s
    assert decided_at_s[0] >= policy.thresholds.cool_down_s


def test_given_nothing_that_helps_when_looked_at_for_long_then_it_is_asked_for_less_and_less_often():
    policy, guilds = PlacementPolicy(), [guild(1, 0, 0.9), guild(2, 1)]
    loads, began_s = loads_of(guilds, 2), []

    for look in range(400):
        assert not policy.rebalance(loads, guilds, look * LOOK_S).moves
        (found,) = policy.look(loads, look * LOOK_S)
        began_s.append(found.since_s)

    starts = sorted(set(began_s))
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8 * LASTING_S


def test_given_nothing_has_to_last_when_nothing_helps_then_it_is_not_tried_at_every_look():
    policy, guilds = PlacementPolicy(Thresholds(lasting_s=0)), [guild(1, 0, 0.9), guild(2, 1)]
    loads = loads_of(guilds, 2)

    tried = [look for look in range(13) if policy.rebalance(loads, guilds, look * LOOK_S).in_vain]

    assert tried == [0, 6]


def test_given_events_that_pile_up_in_one_worker_when_rebalanced_then_guilds_with_many_leave_it():
    guilds = [guild(n, 0, 0.01, backlog=200) for n in range(6)] + [guild(9, 1, 0.01), guild(10, 0, 0.02)]

    moves = lasted(PlacementPolicy(), guilds, 2)

    assert 2 <= len(moves) <= 3
    assert all(target == 1 for _, target in moves)
    assert "10" not in dict(moves)


def test_given_a_worker_short_of_memory_when_rebalanced_then_the_largest_guild_that_fits_leaves_it():
    policy = PlacementPolicy(Thresholds(memory_bytes=800 * MB))
    guilds = [guild(1, 0, memory_bytes=300 * MB), guild(2, 0, memory_bytes=60 * MB), guild(3, 1, 0.3)]
    loads = [load(0, 0.1, rss_bytes=900 * MB, guilds=2), load(1, 0.3, rss_bytes=300 * MB, guilds=1)]

    assert not policy.rebalance(loads, guilds, 0.0).moves
    assert policy.rebalance(loads, guilds, LASTING_S).moves == (("1", 1),)


def test_given_the_least_busy_worker_is_short_of_memory_when_rebalanced_then_another_is_the_target():
    policy = PlacementPolicy(Thresholds(memory_bytes=800 * MB))
    guilds = [guild(1, 0, 0.4), guild(2, 0, 0.4)]
    loads = [
        load(0, 0.8, rss_bytes=300 * MB),
        load(1, 0.0, rss_bytes=1500 * MB),
        load(2, 0.1, rss_bytes=300 * MB),
    ]

    assert not policy.rebalance(loads, guilds, 0.0).moves
    assert policy.rebalance(loads, guilds, LASTING_S).moves == (("2", 2),)
