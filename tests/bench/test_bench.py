"""That the benchmark runs, on the smallest plan: figures are for people, not for assertions."""

from __future__ import annotations

import pytest

from flora.scripts import bench_chain, bench_deploy, bench_kv, bench_moves, bench_report
from flora.scripts.bench_processes import BenchFailed, Sandbox, processes_under


@pytest.mark.bench
@pytest.mark.timeout(180)
@pytest.mark.parametrize("system", ["flora", "disnake"])
def test_given_the_smallest_plan_when_a_system_is_measured_then_every_message_was_handled(system: str) -> None:
    plan = bench_chain.Plan(
        rounds=1, guilds=(1, 2), replies_s=0.1, events=300, latency_s=0.5, systems=(system,), workers=2
    )

    found = bench_chain.measure(plan, lambda _: None)

    for size in ("1", "2"):
        figures = found["medians"][system]["guilds"][size]
        assert [figures[load]["lost"] for load in ("replies", "events", "latency")] == [0, 0, 0]
        assert figures["replies"]["per_s"] > 0
        assert figures["events"]["per_s"] > 0
        assert figures["latency"]["p50_ms"] > 0
    assert system in bench_report.chain_tables(found)


@pytest.mark.bench
@pytest.mark.timeout(60)
def test_given_a_process_that_never_gets_ready_when_the_block_is_left_then_it_and_its_folder_are_gone() -> None:
    with Sandbox() as sandbox:
        folder = sandbox.folder
        sleeper = sandbox.start("sleeper", ["sleep", "60"], {})
        with pytest.raises(BenchFailed, match="did not get ready"):
            sleeper.line("ready", 0.1)

    assert not folder.exists()
    assert processes_under(folder) == {}


def test_given_rounds_of_two_systems_when_summed_up_then_each_figure_is_the_median_of_its_own() -> None:
    rounds = [
        {"system": "flora", "round": n, "guilds": {"100": {"events": {"per_s": per_s}}}}
        for n, per_s in enumerate((3, 1, 2))
    ] + [{"system": "disnake", "round": 1, "guilds": {"100": {"events": {"per_s": 4}}}, "start_s": None}]

    found = bench_chain.medians(rounds)

    assert found["flora"] == {"guilds": {"100": {"events": {"per_s": 2}}}}
    assert found["disnake"]["guilds"]["100"]["events"]["per_s"] == 4


@pytest.mark.parametrize(("ours", "verdict"), [(60.0, "reached"), (59.0, "NOT reached")])
def test_given_a_goal_of_0_6_when_the_peer_has_100_then_60_reach_it(ours: float, verdict: str) -> None:
    chain = {
        "medians": {
            name: {"guilds": {"100": {"events": {"per_s": per_s}}}}
            for name, per_s in (("flora", ours), ("disnake", 100.0))
        }
    }
    goal = bench_report.Goal("events", "events", "per_s", 0.6, True)

    assert (goal.line(chain) or "").endswith(f"  {verdict}")


@pytest.mark.bench
@pytest.mark.timeout(60)
def test_given_a_small_store_when_measured_then_every_figure_is_there() -> None:
    found = bench_kv.measure(20_000)

    assert all(figure > 0 for figure in found.values())
    assert all(f"{name.replace('_', ' ')} " in bench_kv.table(found) for name in bench_kv.GOALS)


@pytest.mark.parametrize(("all_new", "changed"), [(True, 20), (False, 1)])
def test_given_two_versions_of_the_project_that_is_deployed_then_all_its_files_differ_or_one(
    all_new: bool, changed: int
) -> None:
    first, second = (bench_deploy.project(version, all_new=all_new) for version in (1, 2))

    assert len(first) == bench_deploy.FILES == 20
    assert 50_000 <= sum(len(file["contents"]) for file in first) <= 55_000
    assert sum(one != other for one, other in zip(first, second, strict=True)) == changed


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_given_a_project_when_deploys_are_measured_then_each_version_answered() -> None:
    found = bench_deploy.measure(1)

    assert 0 < found["every file new"]["answered_ms"]["median"] < found["every file new"]["live_ms"]["median"]
    assert "one file new, live" in bench_deploy.table(found)


def test_given_moves_that_lost_an_event_when_shown_then_that_goal_is_not_reached_and_the_others_are() -> None:
    clean = dict.fromkeys(("lost", "doubled", "disordered", "miscounted", "failed", "shed"), 0)
    steps = [{"to": 4, "took_s": 1.0, "guilds_moved": 5, "most_moves_of_one": 1}]
    found = {
        "rate_per_s": 500,
        "pause_ms": {"median": 20.0, "p90": 30.0, "max": 90.0},
        "drain": {"guilds": 500, "left": 0, "idle_s": 1.0, "took_s": 2.0, "sent": 9, **clean, "lost": 1},
        "scale": {"guilds": 10, "steps": steps, "sent": 9, **clean},
    }

    verdicts = [line.rpartition(": ")[2] for line in bench_moves.table(found).splitlines() if "goal" in line]

    assert verdicts == ["reached", "NOT reached", "reached", "reached"]
