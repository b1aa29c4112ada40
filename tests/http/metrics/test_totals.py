"""Counters that never fall, whoever dies."""

from __future__ import annotations

from typing import Any

import pytest

from flora.http.metrics.totals import MAX_ABSENT, Totals, nearest_rank


def answer(incarnation: str = "a", dropped: int = 0, **numbers: Any) -> dict[str, Any]:
    histogram = ((dropped, 0), 10 * dropped)
    series = {"dropped": {("shed",): dropped}, "rest_waiting": {(): dropped}, "router_wait": {(): histogram}}
    return {"incarnation": incarnation, "series": series, **numbers}


def read(totals: Totals, **answers: Any) -> dict[str, Any]:
    totals.begin()
    for actor, said in answers.items():
        totals.note(actor.replace("_", " "), said)
    return totals.numbers()


@pytest.mark.scenario("T70")
def test_given_samples_one_to_a_hundred_when_ranked_then_the_percentiles_are_exact() -> None:
    samples = list(range(1, 101))

    assert [nearest_rank(samples, p) for p in (50, 95, 99)] == [50, 95, 99]
    assert nearest_rank([], 50) == 0


def test_given_two_workers_when_added_up_then_latencies_are_one_sample() -> None:
    found = read(
        Totals(),
        router=answer(guild_routes=3),
        worker_0=answer(dispatch_total=5, isolate_count=1, latencies_us=(10,)),
        worker_1=answer(dispatch_total=7, isolate_count=2, latencies_us=(30, 50)),
    )

    assert (found["dispatch_total"], found["isolate_count"], found["guild_routes"]) == (12, 3, 3)
    assert (found["avg_latency_us"], found["p50_latency_us"], found["p99_latency_us"]) == (30, 30, 50)


def test_given_a_worker_that_died_when_its_successor_counts_from_nought_then_the_total_goes_on() -> None:
    totals = Totals()
    read(totals, worker_0=answer("a", 4, dispatch_total=100, isolate_count=9, runtime_restarts=1))

    found = read(totals, worker_0=answer("b", 1, dispatch_total=3, isolate_count=2, runtime_restarts=1))

    assert (found["dispatch_total"], found["isolate_count"], found["runtime_restarts"]) == (103, 2, 2)
    assert totals.series()["dropped"] == {("shed",): 5}
    assert totals.series()["router_wait"] == {(): ((5, 0), 50)}
    assert totals.series()["rest_waiting"] == {(): 1}


def test_given_an_actor_that_does_not_answer_when_read_then_counters_stay_and_gauges_are_left_out() -> None:
    totals = Totals()
    read(totals, router=answer(events_done=1), worker_0=answer("a", 4, dispatch_total=100, isolate_count=9))

    found = read(totals, router=answer(events_done=2))

    assert found == {"events_done": 2, "dispatch_total": 100}
    assert totals.series()["dropped"] == {("shed",): 4}
    assert totals.series()["rest_waiting"] == {(): 0}


def test_given_the_same_life_read_twice_when_added_up_then_it_counts_once() -> None:
    totals = Totals()
    read(totals, worker_0=answer("a", 4, dispatch_total=100))

    assert read(totals, worker_0=answer("a", 6, dispatch_total=110)) == {"dispatch_total": 110}
    assert totals.series()["dropped"] == {("shed",): 6}


def test_given_workers_that_come_and_go_for_ever_when_read_then_memory_is_bounded_and_nothing_is_forgotten() -> None:
    totals = Totals()
    for number in range(3 * MAX_ABSENT):
        read(totals, **{f"worker_{number}": answer("a", 1, dispatch_total=1)})

    assert totals.numbers() == {"dispatch_total": 3 * MAX_ABSENT}
    assert totals.series()["dropped"] == {("shed",): 3 * MAX_ABSENT}
    assert len(totals._lives) <= MAX_ABSENT + 1


def test_given_numbers_of_actors_that_have_none_when_added_up_then_only_router_and_workers_count() -> None:
    assert read(Totals(), router=answer(isolate_count=4), gateway=answer(isolate_count=4)) == {"isolate_count": 4}


def test_given_a_count_of_the_whole_system_when_the_router_is_replaced_then_it_is_not_counted_twice() -> None:
    totals = Totals()
    read(totals, router=answer("a", packets_refused=7))

    assert read(totals, router=answer("b", packets_refused=8)) == {"packets_refused": 8}
