"""What is found at open: torn tails, damage, left-overs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import semidbm

from flora.messages.errors import StorageError
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvValue
from flora.storage.kv import data_file, scan
from flora.storage.kv.record import Record, encode
from flora.storage.ports import KvGuild

OpenFiles = Callable[..., Any]
Contents = Callable[[KvGuild, str], dict[str, KvEntry]]
DataOf = Callable[[str], Path]
S = "s"
BAD_SIZE = 300 * 4096  # semidbm 0.5.1 cannot open a file of this size


def write_fifty(kv: KvGuild) -> list[dict[str, KvEntry]]:
    """Fifty records of every kind; what the store held after each."""
    held: dict[str, KvEntry] = {}
    after = [dict(held)]
    for number in range(50):
        key = f"k{number % 30}"
        if number % 7 == 6 and key in held:
            kv.delete(S, key)
            del held[key]
        else:
            entry = KvEntry(KvValue("v" * number, number % 2 == 0), 10**10 if number % 3 else None, number or None)
            kv.set(S, key, entry.value, expiration=entry.expiration, metadata=entry.metadata)
            held[key] = entry
        after.append(dict(held))
    return after


def record_ends(blob: bytes) -> list[int]:
    ends, at = [len(scan.HEADING)], len(scan.HEADING)
    while at < len(blob):
        key_length, length = scan.LENGTHS.unpack_from(blob, at)
        at += scan.FRAME_BYTES + key_length + max(0, length)
        ends.append(at)
    return ends


def test_given_a_file_cut_anywhere_when_opened_then_all_whole_records_are_there(
    tmp_path: Path, open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    after = write_fifty(files.open_guild(guild))
    files.close()
    blob = data_of(S).read_bytes()
    ends = record_ends(blob)
    assert len(ends) == 51
    folder = tmp_path / "cut"
    folder.mkdir()

    for size in range(len(blob) + 1):
        (folder / "data").write_bytes(blob[:size])
        found = data_file.read_and_repair(folder)
        whole = max((number for number, end in enumerate(ends) if end <= size), default=0)

        assert {key.decode() for key in found.places} == set(after[whole])
        assert (folder / "data").read_bytes() == blob[: max(ends[whole], ends[0])]


@pytest.mark.parametrize("cut", [1, 5, 13, 40])
def test_given_a_torn_tail_when_opened_then_the_store_works_on_as_before_the_tear(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, cut: int
) -> None:
    files = open_files()
    after = write_fifty(files.open_guild(guild))
    files.close()
    os.truncate(data_of(S), data_of(S).stat().st_size - cut)

    again = open_files()
    kv = again.open_guild(guild)
    assert contents(kv, S) == after[49]
    kv.set(S, "new", KvValue("v"))
    used = kv.usage(S)
    again.close()

    third = open_files().open_guild(guild)
    assert contents(third, S) == after[49] | {"new": KvEntry(KvValue("v"))}
    assert third.usage(S) == used


@pytest.mark.parametrize("junk", [bytes(4096), b"\xff" * 100, b"SEMI" * 50, (5).to_bytes(4, "big") * 8])
def test_given_junk_behind_the_records_when_opened_then_it_is_cut_off(
    open_files: OpenFiles, data_of: DataOf, contents: Contents, guild: GuildId, junk: bytes
) -> None:
    files = open_files()
    after = write_fifty(files.open_guild(guild))
    files.close()
    size = data_of(S).stat().st_size
    with data_of(S).open("ab") as file:
        file.write(junk)

    kv = open_files().open_guild(guild)

    assert contents(kv, S) == after[50]
    assert data_of(S).stat().st_size == size


def test_given_a_damaged_record_between_whole_ones_when_opened_then_only_it_is_missing(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId, caplog: pytest.LogCaptureFixture
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    for number in range(3):
        kv.set(S, f"k{number}", KvValue("v" * 20))
    files.close()
    blob = bytearray(data_of(S).read_bytes())
    blob[record_ends(bytes(blob))[1] + 20] ^= 1
    data_of(S).write_bytes(blob)

    kv = open_files().open_guild(guild)
    with caplog.at_level(logging.ERROR):
        keys = [line.name for line in kv.list(S).keys]

    assert keys == ["k0", "k2"]
    assert "1 records of a store are damaged" in caplog.text


def test_given_much_that_cannot_be_read_when_opened_then_it_is_kept_beside(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    files.open_guild(guild).set(S, "k", KvValue("v"))
    files.close()
    size = data_of(S).stat().st_size
    junk = b"\xff" * (data_file.LONGEST_TORN_WRITE + 1)
    with data_of(S).open("ab") as file:
        file.write(junk)

    open_files().open_guild(guild).get(S, "k")

    assert (data_of(S).parent / f"cut-{size}-{len(junk)}").read_bytes() == junk


def test_given_a_record_damaged_while_the_store_is_open_when_read_then_it_is_an_error_and_others_are_read(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    kv = open_files().open_guild(guild)
    for key in ("a", "b"):
        kv.set(S, key, KvValue("v" * 20))
    with data_of(S).open("r+b") as file:
        file.seek(len(scan.HEADING) + 20)
        file.write(b"X")

    with pytest.raises(StorageError, match="damaged"):
        kv.get(S, "a")

    assert kv.get(S, "b") == KvEntry(KvValue("v" * 20))


def test_given_another_file_in_its_place_when_opened_then_it_is_refused_and_left_alone(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    files.open_guild(guild).set(S, "k", KvValue("v"))
    files.close()
    data_of(S).write_bytes(b"something of somebody else")

    with pytest.raises(StorageError):
        open_files().open_guild(guild).get(S, "k")

    assert data_of(S).read_bytes() == b"something of somebody else"


def test_given_a_left_over_successor_when_opened_then_deleted_keys_stay_deleted(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    kv.set(S, "k", KvValue("v"))
    compact = data_of(S).parent / "compact"
    compact.mkdir()
    (compact / "data").write_bytes(data_of(S).read_bytes())
    kv.delete(S, "k")
    files.close()

    kv = open_files().open_guild(guild)

    assert kv.get(S, "k") is None
    assert not compact.exists()


def test_given_a_file_of_the_size_that_semidbm_cannot_open_then_it_is_opened(
    tmp_path: Path, open_files: OpenFiles, contents: Contents, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    kv.create(S)
    held: dict[str, KvEntry] = {}
    at, number = len(scan.HEADING), 0
    while at < BAD_SIZE:
        key = f"k{number:04}"
        length = min(4_000, BAD_SIZE - at - scan.FRAME_BYTES - len(key) - 1)
        held[key] = KvEntry(KvValue("v" * length))
        kv.set(S, key, held[key].value)
        at, number = at + scan.FRAME_BYTES + len(key) + 1 + length, number + 1
        if 0 < BAD_SIZE - at < 4_000 + 2 * (scan.FRAME_BYTES + len(key) + 1):
            break
    for part in ("y", "z"):  # two more make it exact, whatever is left
        left = BAD_SIZE - at
        length = (left // 2 if part == "y" else left) - scan.FRAME_BYTES - 2
        held[part] = KvEntry(KvValue("v" * length))
        kv.set(S, part, held[part].value)
        at += scan.FRAME_BYTES + 2 + length
    files.close()
    assert data_of(S).stat().st_size == BAD_SIZE
    with pytest.raises(Exception, match=r"empty|offset|map"):  # the sign that this test is still needed
        semidbm.open(str(data_of(S).parent), "r")

    kv = open_files().open_guild(guild)

    assert contents(kv, S) == held


def test_given_a_file_of_ours_when_semidbm_opens_it_then_it_reads_the_records(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId
) -> None:
    files = open_files()
    kv = files.open_guild(guild)
    kv.set(S, "k", KvValue("v"), metadata=1)
    kv.set(S, "l", KvValue("v"))
    kv.delete(S, "l")
    files.close()

    database = semidbm.open(str(data_of(S).parent), "r", verify_checksums=True)
    read = {key: database[key] for key in database}
    database.close()

    assert read == {b"k": encode(Record(b"v", metadata=b"1"))}


@pytest.mark.parametrize("blob", [b"\x02abc", b"\x04\0\0\0\xffx", b"\x80v"])
def test_given_a_record_of_another_form_when_read_then_it_is_an_error(
    open_files: OpenFiles, data_of: DataOf, guild: GuildId, blob: bytes
) -> None:
    files = open_files()
    files.open_guild(guild).set(S, "k", KvValue("v"))
    files.close()
    database = semidbm.open(str(data_of(S).parent), "c")
    database["other"] = blob
    database.close()

    with pytest.raises(StorageError):
        open_files().open_guild(guild).get(S, "other")
