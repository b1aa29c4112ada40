from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flora.messages.ids import GuildId
from flora.messages.placement import Placement
from flora.storage.ports import PlacementStore

G, H = GuildId("1"), GuildId("2")


async def test_given_nothing_when_read_then_it_is_empty_and_forgetting_is_fine(placements: PlacementStore) -> None:
    await placements.delete(G)

    assert list(await placements.all()) == []


async def test_given_placements_when_read_then_they_come_back_by_guild(placements: PlacementStore) -> None:
    before = datetime.now(UTC)
    await placements.put(H, Placement.QUARANTINED, "V8 aborted — 🙂")
    await placements.put(G, Placement.DEDICATED, "")

    stored = await placements.all()

    assert [(row.guild_id, row.placement, row.reason) for row in stored] == [
        (G, Placement.DEDICATED, ""),
        (H, Placement.QUARANTINED, "V8 aborted — 🙂"),
    ]
    assert all(timedelta(seconds=-5) < row.updated_at - before < timedelta(seconds=5) for row in stored)
    assert all(row.updated_at.utcoffset() == timedelta(0) for row in stored)


async def test_given_a_placement_when_replaced_and_forgotten_then_the_last_word_counts(
    placements: PlacementStore,
) -> None:
    await placements.put(G, Placement.QUARANTINED, "first")
    first = (await placements.all())[0].updated_at

    await placements.put(G, Placement.DEDICATED, "second")
    (stored,) = await placements.all()
    await placements.delete(G)

    assert (stored.placement, stored.reason) == (Placement.DEDICATED, "second")
    assert stored.updated_at > first
    assert list(await placements.all()) == []
