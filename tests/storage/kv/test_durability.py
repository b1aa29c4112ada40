from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flora.messages.errors import StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvValue
from flora.storage.kv import Durability
from flora.storage.kv.durability import Syncer

OpenFiles = Callable[..., Any]
V = KvValue("v")


def always(open_files: OpenFiles, fsyncs: Any) -> Any:
    return open_files(durability=Durability.ALWAYS, syncer=Syncer(fsync=fsyncs))


def test_given_always_when_a_write_returns_then_it_was_synced(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    kv = always(open_files, fsyncs).open_guild(guild)
    kv.create("s")

    for number, call in enumerate(
        [
            lambda: kv.set("s", "k", V),
            lambda: kv.update_metadata("s", "k", 1),
            lambda: kv.increment("s", "n"),
            lambda: kv.delete("s", "k"),
        ],
        start=1,
    ):
        call()
        assert fsyncs.names == ["data"] * number


def test_given_always_when_a_batch_ends_then_each_store_was_synced_once(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    kv = always(open_files, fsyncs).open_guild(guild)

    with kv.batch():
        for number in range(10):
            kv.set("a", f"k{number}", V)
            kv.set("b", f"k{number}", V)
        assert fsyncs.names == []

    assert fsyncs.names == ["data", "data"]


def test_given_a_sync_that_fails_at_the_end_of_a_batch_then_the_batch_says_so(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    kv = always(open_files, fsyncs).open_guild(guild)

    def write_in_a_batch() -> None:
        with kv.batch():
            kv.set("a", "k", V)
            kv.set("b", "k", V)
            fsyncs.fail = OSError(5, "Input/output error")

    with pytest.raises(StorageError):
        write_in_a_batch()

    assert fsyncs.names == ["data", "data"]


def test_given_a_batch_that_raises_then_what_was_written_is_synced(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    kv = always(open_files, fsyncs).open_guild(guild)

    def fail_within_a_batch() -> None:
        with kv.batch():
            kv.set("a", "k", V)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within_a_batch()

    assert fsyncs.names == ["data"]


def test_given_a_store_that_is_dropped_within_a_batch_then_the_batch_ends_well(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    kv = always(open_files, fsyncs).open_guild(guild)

    with kv.batch():
        kv.set("a", "k", V)
        kv.set("b", "k", V)
        kv.drop("a")
        kv.restore("b", [("l", KvEntry(V))])

    assert [line.name for line in kv.list("b").keys] == ["l"]


def test_given_an_interval_when_written_then_one_sync_follows_for_all(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId, eventually: Any
) -> None:
    kv = open_files(syncer=Syncer(interval_s=0.2, fsync=fsyncs)).open_guild(guild)

    for number in range(50):
        kv.set("s", f"k{number}", V)
    assert fsyncs.names == []

    eventually(lambda: fsyncs.names == ["data"])
    kv.set("s", "k", V)
    eventually(lambda: fsyncs.names == ["data", "data"])


def test_given_an_interval_when_a_guild_is_closed_then_its_owner_does_not_wait_and_the_end_syncs_everything(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId
) -> None:
    files = open_files(syncer=Syncer(interval_s=3600, fsync=fsyncs))
    kv = files.open_guild(guild)
    kv.set("s", "k", V)

    kv.close()
    assert fsyncs.names == []
    files.close()  # the helper thread does not wait for its hour

    assert fsyncs.names == ["data"]


@pytest.mark.parametrize("durability", Durability)
def test_given_a_sync_that_fails_then_the_store_says_so_once_and_is_opened_again(
    open_files: OpenFiles, fsyncs: Any, guild: GuildId, eventually: Any, durability: Durability
) -> None:
    kv = open_files(durability=durability, syncer=Syncer(interval_s=0, fsync=fsyncs)).open_guild(guild)
    kv.set("s", "a", V)
    fsyncs.fail = OSError(5, "Input/output error")

    def write_fails() -> bool:
        try:
            kv.set("s", "b", V)
        except StorageError as exc:
            return "Input/output error" in str(exc)
        return False

    eventually(write_fails)
    fsyncs.fail = None

    kv.set("s", "c", V)
    assert {"a", "c"} <= {line.name for line in kv.list("s").keys}


def test_given_many_stores_when_written_then_each_is_synced(
    tmp_path: Path, open_files: OpenFiles, fsyncs: Any, guild: GuildId, eventually: Any
) -> None:
    files = open_files(syncer=Syncer(interval_s=0.05, fsync=fsyncs))
    for name in ("1", "2", "3"):
        kv = files.open_guild(GuildId(name))
        for store in ("a", "b"):
            kv.set(store, "k", V)

    eventually(lambda: len(fsyncs.names) >= 6)
