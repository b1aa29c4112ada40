"""Stores that a database names and that have no folder yet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flora.messages.ids import GuildId
from flora.messages.kv import KvStoreInfo, KvValue
from flora.storage.kv import KvFiles
from flora.storage.kv.adopt import adopt

MADE_AT = datetime(2025, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def row(guild: str, name: str) -> tuple[GuildId, KvStoreInfo]:
    return GuildId(guild), KvStoreInfo(store_id=f"id of {guild} {name}", name=name, created_at=MADE_AT)


def test_given_rows_of_guilds_without_folders_when_adopted_then_their_stores_are_there_with_their_ids(
    tmp_path: Path,
) -> None:
    rows = [row("1", "a"), row("1", "B / not a name"), row("1", "B"), row("2", "a"), row("no/guild", "a")]

    made = adopt(tmp_path, rows)

    assert made == 3
    files = KvFiles(tmp_path)
    first = files.open_guild(GuildId("1"))
    assert list(first.stores()) == [rows[2][1], rows[0][1]]
    first.set("a", "k", KvValue("v"))
    assert list(files.open_guild(GuildId("2")).stores()) == [rows[3][1]]
    files.close()


def test_given_a_guild_that_has_a_folder_when_adopted_then_it_knows_its_stores_itself(tmp_path: Path) -> None:
    files = KvFiles(tmp_path)
    files.open_guild(GuildId("1")).create("mine")
    files.close()

    made = adopt(tmp_path, [row("1", "dropped, and the table does not know it yet")])

    again = KvFiles(tmp_path)
    assert made == 0
    assert [info.name for info in again.open_guild(GuildId("1")).stores()] == ["mine"]
    again.close()


def test_given_a_crash_in_the_middle_when_adopted_again_then_no_store_is_missing(tmp_path: Path) -> None:
    (tmp_path / ".adopting" / "g-1" / "s-a").mkdir(parents=True)

    assert adopt(tmp_path, [row("1", "a"), row("1", "b")]) == 2

    assert [path.name for path in tmp_path.iterdir()] == ["g-1"]
