"""What a soak of moves asks for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from flora.scripts.soak_orders import KILLS_APART_S, MOST_DRAINED, SIZES, Act, Order, Orders

GUILDS = ["7", "8"]
PROCESSES = {10: "router", 11: "worker 0", 12: "worker 1", 13: "gateway"}


def drawn(count: int, seed: int = 1, drained: tuple[int, ...] = ()) -> list[Order | None]:
    orders = Orders(GUILDS, ("worker", "router"), 2, seed)
    return [orders.draw((0, 1), drained, PROCESSES, 10.0 * number) for number in range(count)]


def test_given_one_seed_when_drawn_twice_then_the_orders_are_the_same():
    assert drawn(200) == drawn(200)
    assert drawn(200) != drawn(200, seed=2)


def test_given_many_orders_then_every_kind_is_among_them_and_moves_are_most():
    acts = Counter(order.act for order in drawn(1000, drained=(1,)) + drawn(1000) if order is not None)

    assert set(acts) == set(Act)
    assert acts.most_common(1)[0][0] is Act.MIGRATE


def test_given_orders_then_each_names_what_there_is():
    for order in drawn(1000):
        match order:
            case None:
                pass
            case Order(act=Act.MIGRATE):
                assert order.guild_id in GUILDS
                assert order.number in {None, 0, 1}
            case Order(act=Act.DEPLOY):
                assert order.guild_id in GUILDS
            case Order(act=Act.SCALE):
                assert order.number in SIZES
            case Order(act=Act.KILL):
                assert PROCESSES[order.number or 0] == order.title != "gateway"
            case _:
                assert order.number in {0, 1}


def test_given_scale_orders_then_each_asks_for_another_size():
    sizes = [2] + [order.number for order in drawn(2000) if order is not None and order.act is Act.SCALE]

    assert len(sizes) > 10
    assert all(one != following for one, following in pairwise(sizes))


def test_given_a_drained_worker_then_no_other_is_drained_and_only_it_comes_back():
    orders = [order for order in drawn(1000, drained=(1,)) if order is not None]

    assert MOST_DRAINED == 1
    assert not any(order.act is Act.DRAIN for order in orders)
    assert {order.number for order in orders if order.act is Act.UNDRAIN} == {1}
    assert {order.number for order in orders if order.act is Act.RECYCLE} == {0}


def test_given_processes_that_were_killed_often_then_nobody_is_killed_until_a_while_later():
    orders = Orders(GUILDS, ("worker",), 2, 1)
    drawn_at = [(at_s / 100, orders.draw((0, 1), (), {11: "worker 0"}, at_s / 100)) for at_s in range(5900)]
    kills = [at_s for at_s, order in drawn_at if order is not None and order.act is Act.KILL]

    assert len(kills) == 3
    assert all(following - one >= KILLS_APART_S for one, following in pairwise(kills))
