from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flora.messages.errors import StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvValue
from flora.storage.kv import Durability, compaction, files
from flora.storage.kv.durability import Syncer
from flora.storage.ports import KvGuild

OpenFiles = Callable[..., Any]
Contents = Callable[[KvGuild, str], dict[str, KvEntry]]
DataOf = Callable[[str], Path]
S = "s"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any garbage is worth a compaction, and a step copies a record or a few."""
    monkeypatch.setattr(files, "is_worth_it", lambda file: file.garbage_bytes > 0)
    monkeypatch.setattr(compaction, "BLOCK_BYTES", 200)


def compact_folder(data: Path) -> Path:
    return data.parent / "compact"


def steps(kv: KvGuild, data: Path) -> Iterator[None]:
    """Compacts a store to the end; a pause after each step."""
    deadline = time.monotonic() + 10
    kv.maintain(0)
    yield
    while compact_folder(data).exists():
        assert time.monotonic() < deadline
        kv.maintain(0)
        yield


def change_much(kv: KvGuild, rng: random.Random, held: dict[str, KvEntry], times: int) -> None:
    for _ in range(times):
        key = f"k{rng.randrange(20)}"
        if rng.random() < 0.3:
            assert kv.delete(S, key) is (held.pop(key, None) is not None)
        else:
            metadata = rng.choice([None, "m"])
            held[key] = KvEntry(KvValue("v" * rng.choice([1, 50, 500])), None, metadata)
            kv.set(S, key, held[key].value, metadata=metadata)


def test_given_garbage_when_compacted_then_the_file_is_as_short_as_can_be_and_the_contents_are_the_same(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId
) -> None:
    kv = open_files(syncer=Syncer(interval_s=0)).open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(1), held, 300)
    before = data_of(S).stat().st_size

    for _ in steps(kv, data_of(S)):
        pass

    live = sum(8 + 4 + len(key) + 1 + len(entry.value.text) + 7 * bool(entry.metadata) for key, entry in held.items())
    assert data_of(S).stat().st_size == 8 + live < before / 2
    assert contents(kv, S) == held
    assert kv.maintain() is False


@pytest.mark.parametrize("durability", Durability)
def test_given_writes_between_all_steps_when_killed_after_any_then_nothing_is_lost(
    tmp_path: Path, open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, durability: Durability
) -> None:
    rng = random.Random(2)
    kv = open_files(tmp_path / "live", durability=durability, syncer=Syncer(interval_s=0)).open_guild(guild)
    data = tmp_path / "live" / "g-1" / f"s-{S}" / "data"
    held: dict[str, KvEntry] = {}
    change_much(kv, rng, held, 40)
    left_by_crash = []

    for number, _ in enumerate(steps(kv, data)):
        if number < 40:  # then it may come to its end
            change_much(kv, rng, held, 2)
        copy = tmp_path / f"crash-{number}"
        shutil.copytree(tmp_path / "live", copy)
        left_by_crash.append((copy, dict(held)))

    assert len(left_by_crash) > 10
    assert contents(kv, S) == held
    for copy, expected in left_by_crash:
        again = open_files(copy)
        assert contents(again.open_guild(guild), S) == expected
        assert not list(copy.glob("*/*/compact"))
        again.close()


def test_given_a_crash_right_around_the_switch_when_opened_then_nothing_is_lost(
    tmp_path: Path, open_files: OpenFiles, contents: Contents, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tmp_path / "live"
    kv = open_files(live, syncer=Syncer(interval_s=0)).open_guild(guild)
    data = live / "g-1" / f"s-{S}" / "data"
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(4), held, 60)
    copies: list[Path] = []

    def rename(path: Path, target: Path) -> Path:
        for when in ("before", "after"):
            if when == "after":
                replace(path, target)
            copies.append(tmp_path / when)
            shutil.copytree(live, copies[-1])
        return target

    replace = os.replace
    monkeypatch.setattr(Path, "rename", rename)
    for _ in steps(kv, data):
        pass
    monkeypatch.undo()

    assert [copy.name for copy in copies] == ["before", "after"]
    for copy in copies:
        assert contents(open_files(copy).open_guild(guild), S) == held


def test_given_a_store_that_is_closed_in_the_middle_when_opened_then_nothing_is_lost(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId
) -> None:
    opened = open_files()
    kv = opened.open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(5), held, 100)
    kv.maintain(0)
    assert compact_folder(data_of(S)).exists()

    opened.close()

    assert not compact_folder(data_of(S)).exists()
    assert contents(open_files().open_guild(guild), S) == held


@pytest.mark.parametrize("change", ["drop", "restore"])
def test_given_a_store_that_is_replaced_in_the_middle_then_the_compaction_is_forgotten(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, change: str
) -> None:
    kv = open_files().open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(6), held, 100)
    kv.maintain(0)
    if change == "drop":
        kv.drop(S)
        kv.set(S, "new", KvValue("v"))
    else:
        kv.restore(S, [("new", KvEntry(KvValue("v")))])

    kv.maintain(0)

    assert contents(kv, S) == {"new": KvEntry(KvValue("v"))}
    assert not compact_folder(data_of(S)).exists()


def test_given_a_snapshot_when_the_store_is_compacted_then_it_is_as_it_was(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    kv = open_files(syncer=Syncer(interval_s=0)).open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(7), held, 100)
    snapshot = kv.snapshot(S)
    expected = dict(held)
    change_much(kv, random.Random(8), held, 100)

    for _ in steps(kv, data_of(S)):
        pass

    assert dict(snapshot.entries()) == expected
    snapshot.close()


def test_given_a_disk_that_refuses_the_successor_then_the_store_goes_on_as_it_was(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = open_files().open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(9), held, 100)

    def refuse(_: compaction.Successor) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction.Successor, "flush", refuse)
    for _ in steps(kv, data_of(S)):
        pass

    assert contents(kv, S) == held
    change_much(kv, random.Random(10), held, 10)
    assert contents(kv, S) == held


def test_given_a_disk_that_refuses_while_both_files_are_written_then_the_write_holds(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = open_files(syncer=Syncer(interval_s=3600)).open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(11), held, 30)
    while kv.maintain(0):
        pass  # until it waits for the sync
    assert compact_folder(data_of(S)).exists()

    def refuse(_: compaction.Successor) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction.Successor, "flush", refuse)
    change_much(kv, random.Random(12), held, 10)
    monkeypatch.undo()
    kv.maintain(0)

    assert not compact_folder(data_of(S)).exists()
    assert contents(kv, S) == held


def test_given_a_sync_of_the_successor_that_fails_then_it_is_dropped(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, fsyncs: Any
) -> None:
    kv = open_files(durability=Durability.ALWAYS, syncer=Syncer(interval_s=0, fsync=fsyncs)).open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(13), held, 30)
    fsyncs.fail = OSError(5, "Input/output error")

    for _ in steps(kv, data_of(S)):
        pass

    fsyncs.fail = None
    assert contents(kv, S) == held
    change_much(kv, random.Random(14), held, 5)
    assert contents(kv, S) == held


def test_given_little_garbage_then_nothing_is_compacted(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    kv = open_files().open_guild(guild)
    for _ in range(100):
        kv.set(S, "k", KvValue("v" * 1000))

    assert kv.maintain(0) is False

    assert not compact_folder(data_of(S)).exists()
    for _ in range(1_000):
        kv.set(S, "k", KvValue("v" * 1000))
    assert kv.maintain(0) is True
    assert compact_folder(data_of(S)).exists()


def test_given_a_folder_that_takes_no_successor_then_maintenance_goes_on(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId
) -> None:
    kv = open_files().open_guild(guild)
    held: dict[str, KvEntry] = {}
    change_much(kv, random.Random(15), held, 30)
    compact_folder(data_of(S)).write_text("a file where a folder should be")

    kv.maintain(0)

    assert contents(kv, S) == held


def test_given_an_error_of_the_disk_then_it_is_one_of_storage() -> None:
    with pytest.raises(StorageError):
        compaction.Compaction(_NoFolder(), None)  # type: ignore[arg-type]


class _NoFolder:
    folder = Path("/proc/nowhere")
