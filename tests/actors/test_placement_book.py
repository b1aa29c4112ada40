"""The deployer's memory of where guilds are to run."""

from __future__ import annotations

import pytest

from flora.actors.placement_book import PlacementBook
from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.placement import NotePlacement, Placement
from flora.storage.memory import MemoryPlacementStore

G, H = GuildId("1"), GuildId("2")


class Shaky(MemoryPlacementStore):
    """A store that fails as often as it is told to."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__()
        self.failures = failures

    async def put(self, guild_id: GuildId, placement: Placement, reason: str) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await super().put(guild_id, placement, reason)


def note(guild_id: GuildId, placement: Placement | None, reason: str = "") -> NotePlacement:
    return NotePlacement(guild_id=guild_id, placement=placement, reason=reason)


async def test_given_notes_when_opened_again_then_they_are_remembered_and_forgotten_ones_are_not():
    store = MemoryPlacementStore()
    book = PlacementBook(store)
    book.note(note(G, Placement.QUARANTINED, "V8 aborted"), 1000.0)
    book.note(note(H, Placement.DEDICATED), 1000.0)
    book.note(note(H, None), 1001.0)
    assert (book.of(G), book.of(H)) == (Placement.QUARANTINED, None)
    await book.written()

    again = PlacementBook(store)
    await again.open()

    assert [entry[:3] for entry in again.all()] == [(G, Placement.QUARANTINED, "V8 aborted")]
    assert (again.of(G), again.of(H)) == (Placement.QUARANTINED, None)


async def test_given_a_store_that_is_away_when_noted_then_it_is_written_later_and_the_newest_note_wins():
    pauses: list[float] = []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        book.note(note(G, Placement.DEDICATED, "newer"), 2.0)

    store = Shaky([Unavailable("away"), Unavailable("away")])
    book = PlacementBook(store, sleep)

    book.note(note(G, Placement.QUARANTINED, "older"), 1.0)
    await book.written()

    assert len(pauses) == 2
    assert [(row.placement, row.reason) for row in await store.all()] == [(Placement.DEDICATED, "newer")]


async def test_given_a_store_that_refuses_when_noted_then_the_others_are_written_all_the_same(
    caplog: pytest.LogCaptureFixture,
):
    store = Shaky([StorageError("no")])
    book = PlacementBook(store)

    book.note(note(G, Placement.QUARANTINED, "a"), 1.0)
    book.note(note(H, Placement.QUARANTINED, "b"), 1.0)
    await book.written()

    assert [row.guild_id for row in await store.all()] == [H]
    assert "placement not stored: no" in caplog.text
