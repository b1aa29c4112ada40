from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flora.messages.errors import Conflict, KvQuotaExceeded, StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvUsage, KvValue
from flora.storage.kv import Durability, KvLimits, data_file
from flora.storage.kv.durability import Commits, Syncer
from flora.storage.kv.folder import GuildFolder, quoted
from flora.storage.kv.handles import HandleCache
from flora.storage.ports import KvGuild

OpenFiles = Callable[..., Any]
Contents = Callable[[KvGuild, str], dict[str, KvEntry]]
DataOf = Callable[[str], Path]
S = "s"
V = KvValue("v")

OWNER = """
import sys
from pathlib import Path
from flora.storage.kv import KvFiles
kv = KvFiles(Path(sys.argv[1])).open_guild("1")
print("owned", flush=True)
sys.stdin.read()
"""


def test_given_an_owner_when_the_same_process_opens_the_guild_again_then_it_is_refused(
    open_files: OpenFiles, guild: GuildId
) -> None:
    first = open_files()
    kv = first.open_guild(guild)

    for files in (first, open_files()):
        with pytest.raises(Conflict) as refused:
            files.open_guild(guild)
        assert refused.value.details["pid"] == os.getpid()

    kv.close()
    first.open_guild(guild).set(S, "k", V)


@pytest.mark.fault
def test_given_an_owner_in_another_process_then_it_is_refused_until_that_one_is_killed(
    tmp_path: Path, open_files: OpenFiles, guild: GuildId, eventually: Any
) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"owned\n"

        with pytest.raises(Conflict) as refused:
            open_files().open_guild(guild)

        assert refused.value.details["pid"] == owner.pid
        owner.kill()
    open_files().open_guild(guild).set(S, "k", V)


@pytest.mark.parametrize("name", ["backups", "../x", "A", "é", "\0", ".", "%41", "a b"])
def test_given_a_name_when_quoted_then_it_is_plain_and_no_other_name_is_the_same(name: str) -> None:
    assert set(quoted(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%")
    assert quoted(quoted(name)) != quoted(name) or quoted(name) == name


def test_given_a_guild_then_all_its_files_are_in_its_folder(
    tmp_path: Path, open_files: OpenFiles, guild: GuildId
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    for name in ("backups", "lock", "A", "é", "\\", "x" * 64, "ü" * 32):
        kv.set(name, "k", V)
    files.close()

    assert [path.name for path in tmp_path.iterdir()] == ["g-1"]
    assert {path.name[:2] for path in (tmp_path / "g-1").iterdir()} == {"s-", "lo"}


def test_given_more_stores_than_may_be_open_then_the_oldest_are_closed_and_nothing_is_lost(
    open_files: OpenFiles, guild: GuildId
) -> None:
    cache: HandleCache[Any] = HandleCache(max_open=3)
    files = open_files(cache=cache)
    first, second = files.open_guild(guild), files.open_guild(GuildId("2"))

    for number in range(8):
        for kv in (first, second):
            kv.set(f"s{number}", "k", KvValue(str(number)))

    opened = len(cache.of_guild(str(first._shelf._guild))) + len(cache.of_guild(str(second._shelf._guild)))
    assert opened == 3
    for number in range(8):
        for kv in (first, second):
            assert kv.get(f"s{number}", "k") == KvEntry(KvValue(str(number)))
    assert first.guild_bytes() == second.guild_bytes() == 16


class FakeOpen:
    """Something open."""

    def __init__(self, weight: int = 1) -> None:
        self.references = 0
        self.weight = weight
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_given_open_things_that_somebody_needs_when_room_is_made_then_others_are_closed() -> None:
    cache: HandleCache[FakeOpen] = HandleCache(max_open=2)
    needed = cache.get(("1", "a"), FakeOpen)
    needed.references += 1
    other = cache.get(("1", "b"), FakeOpen)

    third = cache.get(("1", "c"), FakeOpen)

    assert (needed.is_closed, other.is_closed, third.is_closed) == (False, True, False)
    third.references += 1
    assert cache.get(("1", "d"), FakeOpen).is_closed is False  # more than two, as nothing can be closed
    assert cache.peek(("1", "a")) is needed
    needed.references = third.references = 0
    cache.get(("1", "e"), FakeOpen)
    assert len(cache.of_guild("1")) == 2


def test_given_open_things_with_many_keys_when_another_is_opened_then_the_oldest_are_closed() -> None:
    cache: HandleCache[FakeOpen] = HandleCache(max_open=10, max_keys=100)
    first = cache.get(("1", "a"), lambda: FakeOpen(60))
    second = cache.get(("1", "b"), lambda: FakeOpen(30))
    cache.get(("1", "a"), FakeOpen)

    huge = cache.get(("1", "c"), lambda: FakeOpen(200))

    assert (first.is_closed, second.is_closed, huge.is_closed) == (True, True, False)


def test_given_a_clean_end_then_sizes_are_known_without_opening_and_after_a_crash_they_are_found(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    kv.set(S, "k", V, metadata=1)
    used = kv.usage(S)
    files.close()
    note = data_of(S).parent / "usage"
    assert json.loads(note.read_bytes())["stored_bytes"] == used.stored_bytes

    files = open_files()
    kv = files.open_guild(guild)
    assert kv._shelf.total() == (used.stored_bytes, True)
    kv.get(S, "k")
    assert not note.exists()
    files.close()
    note.unlink()

    kv = open_files().open_guild(guild)
    at_most, is_exact = kv._shelf.total()
    assert not is_exact
    assert at_most >= used.stored_bytes
    assert kv.guild_bytes() == used.stored_bytes
    assert kv._shelf.total() == (used.stored_bytes, True)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"keys": 1, "stored_bytes": 5, "file_bytes": 1}'])
def test_given_a_note_of_sizes_that_is_wrong_then_it_is_not_believed(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId, note: bytes
) -> None:
    files = open_files()
    files.open_guild(guild).set(S, "k", V)
    files.close()
    (data_of(S).parent / "usage").write_bytes(note)

    kv = open_files().open_guild(guild)

    assert kv.usage(S) == KvUsage(1, 2)


def test_given_sizes_that_are_only_guessed_when_a_quota_is_near_then_they_are_looked_up(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    limits = KvLimits(max_guild_bytes=100, writes_per_minute=0)
    files = open_files(limits=limits)
    files.open_guild(guild).set("other", "k", KvValue("v" * 49))
    files.close()
    (data_of("other").parent / "usage").unlink()

    kv = open_files(limits=limits).open_guild(guild)
    kv.set(S, "k", KvValue("v" * 49))

    assert kv.guild_bytes() == 100


def test_given_a_drop_that_was_interrupted_when_opened_then_the_rest_is_removed(
    tmp_path: Path, open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    files.open_guild(guild).set(S, "k", V)
    files.close()
    data_of(S).parent.rename(tmp_path / "g-1" / "x-123")

    kv = open_files().open_guild(guild)

    assert list(kv.stores()) == []
    assert [path.name for path in (tmp_path / "g-1").iterdir()] == ["lock"]


def test_given_a_store_that_was_not_quite_made_when_opened_then_it_is_there(
    tmp_path: Path, open_files: OpenFiles, guild: GuildId
) -> None:
    (tmp_path / "g-1" / "s-a%20b").mkdir(parents=True)
    files = open_files()
    kv = files.open_guild(guild)

    assert kv.get("a b", "k") is None
    kv.set("a b", "k", V)
    made = kv.require("a b")
    files.close()

    assert open_files().open_guild(guild).stores() == [made]


def test_given_a_disk_that_is_full_when_written_then_nothing_changes_and_later_writes_work(
    open_files: OpenFiles, contents: Contents, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    kv.set(S, "k", V)
    room = 20
    write = os.write

    def nearly_full(fileno: int, blob: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = write(fileno, blob[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(StorageError, match="No space left"):
        kv.set(S, "k", KvValue("v" * 100))
    with pytest.raises(StorageError):
        kv.set(S, "l", V)
    monkeypatch.undo()

    assert contents(kv, S) == {"k": KvEntry(V)}
    kv.set(S, "l", V)
    assert kv.usage(S) == KvUsage(2, 4)
    files.close()
    assert contents(open_files().open_guild(guild), S) == {"k": KvEntry(V), "l": KvEntry(V)}


def test_given_a_data_file_that_is_closed_when_used_then_every_call_is_refused(tmp_path: Path) -> None:
    syncer = Syncer()
    file, _ = data_file.DataFile.open(tmp_path, Commits(Durability.INTERVAL, syncer))
    file.write(b"k", b"\0v")
    file.close()
    file.close()

    for call in (
        lambda: file.read(b"k"),
        lambda: file.write(b"k", b"\0"),
        lambda: file.delete(b"k"),
        lambda: file.size_of(b"k"),
        lambda: file.read_part(b"k", slice(0, 1)),
        file.sync,
    ):
        with pytest.raises(Unavailable):
            call()
    syncer.close()


def test_given_a_folder_that_cannot_be_used_then_it_is_an_error_of_storage(tmp_path: Path, guild: GuildId) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError):
        GuildFolder(tmp_path / "file", guild)


def test_given_a_snapshot_when_read_on_another_thread_then_it_is_the_same(
    open_files: OpenFiles, guild: GuildId
) -> None:
    kv = open_files().open_guild(guild)
    for number in range(100):
        kv.set(S, f"k{number:03}", V)
    snapshot = kv.snapshot(S)
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.extend(key for key, _ in snapshot.entries()))

    thread.start()
    for number in range(200):
        kv.set(S, f"k{number:03}", KvValue("changed"))
    thread.join()
    snapshot.close()

    assert read == [f"k{number:03}" for number in range(100)]
    with pytest.raises(Unavailable):
        list(snapshot.entries())


def test_given_many_opens_and_closes_then_no_descriptor_is_left(open_files: OpenFiles, guild: GuildId) -> None:
    def opened() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = opened()
    for durability in Durability:
        for _ in range(5):
            files = open_files(durability=durability, syncer=Syncer(interval_s=0))
            kv = files.open_guild(guild)
            kv.set(S, "k", V)
            kv.snapshot(S).close()
            kv.restore(S, [("l", KvEntry(V))])
            kv.set(S, "k", V)
            kv.drop(S)
            files.close()

    assert opened() == before


def test_given_a_store_with_as_many_keys_as_it_may_have_when_written_then_only_another_key_is_refused(
    open_files: OpenFiles, guild: GuildId, contents: Contents
) -> None:
    kv = open_files(limits=KvLimits(writes_per_minute=0, max_store_keys=2)).open_guild(guild)
    kv.set(S, "a", V)
    kv.set(S, "gone", V, ttl_s=-1)

    kv.set(S, "b", V)
    kv.set(S, "b", KvValue("longer than before"))
    with pytest.raises(KvQuotaExceeded, match="as many keys"):
        kv.set(S, "c", V)
    with pytest.raises(KvQuotaExceeded, match="as many keys"):
        kv.restore(S, [(key, KvEntry(V)) for key in "abc"])
    kv.delete(S, "a")
    kv.set(S, "c", V)

    assert list(contents(kv, S)) == ["b", "c"]


def test_given_a_large_store_when_it_is_warmed_then_another_thread_reads_it_and_the_owner_has_it(
    open_files: OpenFiles, guild: GuildId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.storage.kv.files.WARM_BYTES", 10)
    files = open_files()
    kv = files.open_guild(guild)
    kv.set(S, "k", V)
    assert kv.warm(S) is None  # open
    assert kv.warm("none") is None
    kv.close()
    kv = files.open_guild(guild)
    work = kv.warm(S)
    taken: list[Any] = []

    thread = threading.Thread(target=lambda: taken.append(work()))
    thread.start()
    thread.join()
    taken[0]()

    assert kv.warm(S) is None
    assert kv.get(S, "k") == KvEntry(V)
    assert files.figures()[:2] == (1, 2)
