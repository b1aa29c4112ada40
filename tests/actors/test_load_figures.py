"""How busy workers and guilds are, from what they said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.load_figures import LoadFigures
from flora.messages.ids import GuildId, WorkerId

W, V = WorkerId(0), WorkerId(1)
G, H = GuildId("1"), GuildId("2")
S = 1_000_000  # µs


def test_given_a_worker_that_was_asked_once_then_nothing_is_known_of_its_share():
    figures = LoadFigures(10)

    figures.said(W, 5 * S, 100, 7 * S)

    assert figures.worker(W).cpu.per_s is None
    assert figures.worker(W).cpu_share == 0.0
    assert figures.worker(W).rss_bytes == 100


@given(share=st.floats(0, 4), looks=st.integers(1, 20), pause_s=st.floats(0.1, 60))
def test_given_a_steady_load_when_it_is_looked_at_then_that_is_the_share(share, looks, pause_s):
    figures = LoadFigures(10)

    for look in range(looks + 1):
        figures.said(W, int(look * pause_s * share * S), 0, int(S + look * pause_s * S))

    assert figures.worker(W).cpu_share == pytest.approx(share, abs=1e-3)


def test_given_a_moment_of_work_then_the_share_hardly_rises_and_lasting_work_is_seen_in_full():
    figures = LoadFigures(10)
    totals = [0, 0, 0, 5, 5]  # seconds of processor time, every five seconds: one look of a whole core

    for look, total_s in enumerate(totals):
        figures.said(W, total_s * S, 0, (1 + 5 * look) * S)
    after_a_moment = figures.worker(W).cpu_share
    for look in range(len(totals), len(totals) + 12):
        figures.said(W, (5 + 5 * (look - 4)) * S, 0, (1 + 5 * look) * S)

    assert after_a_moment < 0.3
    assert figures.worker(W).cpu_share > 0.98


def test_given_a_worker_that_began_anew_then_its_share_is_not_negative_and_goes_on():
    figures = LoadFigures(10)
    for at_s, total_s in ((1, 100), (6, 101), (11, 1), (16, 2)):
        figures.said(W, total_s * S, 0, at_s * S)

    assert figures.worker(W).cpu_share == pytest.approx(0.2)


def test_given_two_readings_at_the_same_time_then_the_second_changes_nothing():
    figures = LoadFigures(10)
    for at_us, total_us in ((1, 0), (S, 0), (S, 50), (S + 1, 60)):
        figures.said(W, total_us, 0, at_us)

    assert figures.worker(W).cpu_share == 0.0


def test_given_a_worker_that_does_not_answer_then_it_is_said_and_over_when_it_does():
    figures = LoadFigures(10)

    figures.silent(W)
    assert not figures.worker(W).answers
    figures.said(W, 0, 0, S)
    assert figures.worker(W).answers


def test_given_what_a_worker_does_around_its_guilds_then_it_is_theirs_by_their_events():
    figures = LoadFigures(10)
    for at_s in (1, 6):
        figures.said(W, at_s * S // 2, 0, at_s * S)  # half a core
        figures.guilds_said(W, {G: (at_s * S // 10, at_s * 300, 0), H: (at_s * S // 10, at_s * 100, 0)}, at_s * S)

    assert figures.guild_shares(W) == pytest.approx({G: 0.1 + 0.3 * 3 / 4, H: 0.1 + 0.3 / 4})


def test_given_a_guild_that_has_moved_then_it_is_counted_anew_where_it_is():
    figures = LoadFigures(10)
    for at_s in (1, 6):
        figures.guilds_said(W, {G: (at_s * S, 0, 0)}, at_s * S)
    figures.guilds_said(V, {G: (10 * S, 0, 0)}, 7 * S)

    assert figures.guild_shares(W) == {}
    assert figures.guild_shares(V) == {}

    figures.guilds_said(V, {G: (10 * S + S // 2, 0, 0)}, 8 * S)
    assert figures.guild_shares(V) == {G: 0.5}


def test_given_what_a_guild_has_in_memory_then_the_last_word_counts():
    figures = LoadFigures(10)

    figures.guilds_said(W, {G: (0, 0, 70)}, S)
    figures.guilds_said(W, {G: (0, 0, 60)}, 2 * S)

    assert figures.guild_memory(G) == 60
    assert figures.guild_memory(H) == 0


def test_given_workers_that_are_gone_then_nothing_of_them_is_kept():
    figures = LoadFigures(10)
    for worker in (W, V):
        figures.said(worker, 0, 100, S)
        figures.guilds_said(worker, {GuildId(str(worker)): (0, 0, 5)}, S)

    figures.keep({V})

    assert figures.worker(W).rss_bytes == 0
    assert figures.guild_memory(GuildId("0")) == 0
    assert figures.guild_memory(GuildId("1")) == 5
