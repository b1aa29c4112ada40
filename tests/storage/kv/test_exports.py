"""Files of exports, and the folder they are kept in."""

from __future__ import annotations

import fcntl
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.messages.errors import NotFound, StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvStoreInfo, KvValue
from flora.storage.kv import export_file
from flora.storage.kv.export_file import ExportReader
from flora.storage.kv.export_folder import FILE, ExportFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
V = KvEntry(KvValue("v"))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ENTRIES = st.builds(
    KvEntry,
    st.builds(KvValue, TEXTS) | st.builds(KvValue, st.sampled_from(["1.50", '{"b":1, "a":[]}']), st.just(True)),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | TEXTS | st.dictionaries(TEXTS, st.integers(0, 9), max_size=2),
)


def info(name: str) -> KvStoreInfo:
    return KvStoreInfo(store_id=f"id of {name}", name=name, created_at=NOW)


def contents(stores: dict[str, dict[str, KvEntry]]) -> Iterator[Any]:
    return ((info(name), entries.items()) for name, entries in stores.items())


def exported(stores: dict[str, dict[str, KvEntry]]) -> bytes:
    file = io.BytesIO()
    export_file.write(file, "1", "b", NOW, contents(stores))
    return file.getvalue()


def read(blob: bytes) -> dict[str, dict[str, KvEntry]]:
    return {name: dict(entries) for name, entries in ExportReader(io.BytesIO(blob)).stores()}


@given(stores=st.dictionaries(TEXTS, st.dictionaries(TEXTS, ENTRIES, max_size=4), max_size=3))
def test_given_any_stores_when_exported_and_read_then_they_are_the_same(stores: Any) -> None:
    assert read(exported(stores)) == stores


def test_given_an_export_then_every_line_is_json_that_others_can_read() -> None:
    entry = KvEntry(KvValue("[1]", True), 5, {"by": "me"})

    lines = [orjson.loads(line) for line in gzip.decompress(exported({"a": {"k": entry, "l": V}})).splitlines()]

    assert lines == [
        {
            "format": "flora-kv-export",
            "version": 1,
            "guild_id": "1",
            "backup_id": "b",
            "created_at": "2026-01-02T03:04:05Z",
        },
        {"store": "a", "id": "id of a", "created_at": "2026-01-02T03:04:05Z"},
        {"key": "k", "value": "[1]", "type": "json", "expiration": 5, "metadata": {"by": "me"}},
        {"key": "l", "value": "v"},
        {"end": True, "stores": 1, "entries": 2},
    ]


def test_given_stores_that_are_not_wanted_when_read_then_they_are_skipped() -> None:
    stores = {"a": {"1": V, "2": V}, "b": {"3": V}, "c": {"4": V}}

    wanted = {
        name: dict(entries) for name, entries in ExportReader(io.BytesIO(exported(stores))).stores() if name == "b"
    }

    assert wanted == {"b": {"3": V}}


def test_given_a_file_cut_off_anywhere_when_read_then_it_is_never_taken_for_whole() -> None:
    blob = exported({"a": {str(number): V for number in range(50)}, "b": {}})

    for end in range(len(blob)):
        with pytest.raises(StorageError):
            read(blob[:end])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"format": "another"}],
        [{"format": "flora-kv-export", "version": 2}],
        [{"format": "flora-kv-export", "version": 1}, {"store": "a"}],
        [{"format": "flora-kv-export", "version": 1}, {"store": "a"}, {"key": "k"}],
        [{"format": "flora-kv-export", "version": 1}, {"store": "a"}, []],
    ],
)
def test_given_lines_that_are_no_export_when_read_then_they_are_refused(lines: list[Any]) -> None:
    with pytest.raises(StorageError):
        read(gzip.compress(b"\n".join(map(orjson.dumps, lines))))


@pytest.fixture
def folder(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path, GuildId("1"), kept=2)


def test_given_an_export_when_written_then_it_is_listed_and_its_file_comes_in_parts(folder: ExportFolder) -> None:
    made = folder.write(NOW, contents({"a": {"k": V}, "backups": {}}))

    parts = [folder.read_part(made.backup_id, offset, 40) for offset in range(0, made.file_bytes + 40, 40)]
    assert folder.all() == (made,)
    assert made.stores == (("a", 1), ("backups", 0))
    assert read(b"".join(parts)) == {"a": {"k": V}, "backups": {}}
    assert parts[-1] == b""
    with folder.reader(made.backup_id) as reader:
        assert [name for name, _ in reader.stores()] == ["a", "backups"]


def test_given_more_exports_than_are_kept_then_the_oldest_goes(folder: ExportFolder) -> None:
    made = [folder.write(NOW + timedelta(minutes=minute), contents({"a": {}})) for minute in range(3)]

    assert folder.all() == (made[2], made[1])


def test_given_a_clock_that_went_back_when_more_are_made_than_are_kept_then_the_new_one_stays(
    folder: ExportFolder,
) -> None:
    for hour in range(2):
        folder.write(NOW + timedelta(hours=hour), contents({"a": {}}))

    made = folder.write(NOW - timedelta(hours=1), contents({"a": {}}))

    assert made in folder.all()
    assert len(folder.all()) == 2


def test_given_an_export_that_fails_in_the_middle_then_nothing_is_left_of_it(folder: ExportFolder) -> None:
    def fails() -> Iterator[Any]:
        yield info("a"), [("k", V)]
        raise StorageError("a record is damaged")

    with pytest.raises(StorageError):
        folder.write(NOW, fails())

    assert folder.all() == ()
    assert list(folder.path.iterdir()) == []


def test_given_what_a_killed_writer_left_when_the_next_export_is_written_then_it_goes_but_not_a_running_one(
    folder: ExportFolder,
) -> None:
    left, empty, running = (folder.path / name for name in (".left", ".empty", ".running"))
    for place in (left, empty, running):
        place.mkdir(parents=True)
    (left / FILE).write_bytes(b"half")
    with (running / FILE).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        made = folder.write(NOW, contents({}))

        assert {path.name for path in folder.path.iterdir()} == {".running", made.backup_id}


@pytest.mark.parametrize("backup_id", ["", ".", "..", "../1", "x" * 300, "00000000-0000-0000-0000-000000000000"])
def test_given_an_id_of_no_export_then_it_is_not_found(folder: ExportFolder, backup_id: str) -> None:
    folder.write(NOW, contents({"a": {}}))

    for call in (folder.delete, lambda found: folder.read_part(found, 0, 1)):
        with pytest.raises(NotFound):
            call(backup_id)
    with pytest.raises(NotFound), folder.reader(backup_id):
        pass


def test_given_an_export_when_deleted_then_it_is_gone(folder: ExportFolder) -> None:
    made = folder.write(NOW, contents({"a": {}}))

    folder.delete(made.backup_id)

    assert folder.all() == ()
    assert list(folder.path.iterdir()) == []
