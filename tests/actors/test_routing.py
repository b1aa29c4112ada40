"""Golden vectors of the routing hash and the rules of explicit routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.routing import GuildRoutes, default_worker, guild_hash
from flora.messages.ids import GuildId, WorkerId

GOLDEN = [
    ("", 0x30406EA523C53DEF, {2: 1, 3: 1, 4: 3, 8: 7}),
    ("1", 0xE5F32291F16AD397, {2: 1, 3: 1, 4: 3, 8: 7}),
    ("123", 0xAEAEB6346D324D62, {2: 0, 3: 1, 4: 2, 8: 2}),
    ("guild-redeploy", 0x5485AC604CC70A99, {2: 1, 3: 2, 4: 1, 8: 1}),
    ("80351110224678912", 0xB2531DAAC15C028A, {2: 0, 3: 0, 4: 2, 8: 2}),
    ("197038439483310086", 0x350E15150F42FB66, {2: 0, 3: 0, 4: 2, 8: 6}),
    ("613425648685547541", 0x51DCE66AF9417801, {2: 1, 3: 1, 4: 1, 8: 1}),
    ("1234567890123456789", 0x8CC9BE7B0901238A, {2: 0, 3: 0, 4: 2, 8: 2}),
]


@pytest.mark.scenario("T09")
@pytest.mark.parametrize(("guild_id", "expected", "workers"), GOLDEN)
def test_given_the_published_ids_when_routed_then_hash_and_worker_match(guild_id, expected, workers):
    assert guild_hash(GuildId(guild_id)) == expected
    for count, worker in workers.items():
        assert default_worker(GuildId(guild_id), count) == worker


@given(st.text(), st.integers(1, 64))
def test_given_any_id_when_routed_then_the_worker_is_in_range_and_stable(guild_id, workers):
    worker = default_worker(GuildId(guild_id), workers)

    assert 0 <= worker < workers
    assert default_worker(GuildId(guild_id), workers) == worker


def test_given_no_workers_when_routed_then_it_is_refused():
    with pytest.raises(ValueError, match="at least one worker"):
        default_worker(GuildId("1"), 0)


@pytest.mark.scenario("T11")
def test_given_a_guild_moved_to_another_worker_when_claimed_again_then_it_stays_there():
    routes = GuildRoutes(4)
    routes.assign(GuildId("123"), WorkerId(0))

    assert routes.claim(GuildId("123")) == (0, False)
    assert routes.lookup(GuildId("123")) == 0


@pytest.mark.scenario("T12")
def test_given_an_undeployed_guild_when_claimed_again_then_it_is_on_its_default_worker():
    routes = GuildRoutes(4)
    routes.assign(GuildId("123"), WorkerId(0))

    routes.forget(GuildId("123"))
    routes.forget(GuildId("never seen"))

    assert GuildId("123") not in routes
    assert routes.claim(GuildId("123")) == (2, True)
    assert routes.on_worker(WorkerId(2)) == ["123"]
