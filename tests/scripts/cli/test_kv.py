"""`flora kv`, against the real API with real stores in memory behind it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flora.actors.kv.client_ops import carry_out
from flora.messages import kv_exports as messages
from flora.messages.errors import KvQuotaExceeded, KvRateLimited
from flora.messages.ids import GuildId
from flora.messages.kv import KvCall, KvValue
from flora.messages.kv_exports import KvExport
from flora.storage.kv import MemoryKv

pytestmark = pytest.mark.service

AT = ("--guild", "1000", "--store", "notes")


@pytest.fixture
def kv(flora: Any, api: Any) -> MemoryKv:
    """The guild's stores: `notes`, empty."""
    kv = MemoryKv(GuildId("1000"))
    kv.create("notes")

    api.system.answers[KvCall] = lambda call: carry_out(kv, call.operation)
    flora.environment["FLORA_API_URL"] = api.url
    return kv


async def test_given_a_value_when_set_and_got_then_it_is_the_same_and_was_not_echoed(flora: Any, kv: MemoryKv) -> None:
    done = await flora.run("kv", "set", "-", *AT, "--key", "a/b ü", "--ttl", "60", stdin="line\nprivate")
    got = await flora.run("kv", "get", "a/b ü", *AT)
    as_json = await flora.run("kv", "get", "a/b ü", *AT, "--json")

    assert (done.code, done.out) == (0, "Set a/b ü\n")
    assert (got.code, got.out) == (0, "line\nprivate\n")
    assert set(json.loads(as_json.out)) == {"value", "expiration"}


async def test_given_no_such_key_when_got_then_exit_code_1_and_nothing_on_stdout(flora: Any, kv: MemoryKv) -> None:
    done = await flora.run("kv", "get", "nothing", *AT)

    assert (done.code, done.out, done.err) == (1, "", "Key 'nothing' not found\n")


async def test_given_json_when_set_then_a_script_gets_that_value(flora: Any, kv: MemoryKv) -> None:
    done = await flora.run("kv", "set", '{"n": 1}', *AT, "-k", "k", "--type", "json", "--metadata", '{"by": "me"}')
    wrong = await flora.run("kv", "set", "{", *AT, "-k", "k", "--type", "json")

    entry = kv.get("notes", "k")
    assert done.code == 0, done.err
    assert entry is not None
    assert (entry.value, entry.metadata) == (KvValue('{"n": 1}', True), {"by": "me"})
    assert (wrong.code, wrong.err.startswith("error: VALUE is not valid JSON: ")) == (2, True)


async def test_given_keys_when_listed_then_one_line_each_and_a_hint_where_it_goes_on(flora: Any, kv: MemoryKv) -> None:
    kv.set("notes", "a", KvValue("v"), expiration=4_000_000_000, metadata={"x": 1})
    kv.set("notes", "b c", KvValue("v"))
    kv.set("notes", "d", KvValue("v"))

    done = await flora.run("kv", "list-keys", *AT, "--limit", "2")
    rest = await flora.run("kv", "list", *AT, "--cursor", "b c")

    assert done.out.splitlines() == ['a (expires: 4000000000) [metadata: {"x": 1}]', "b c"]
    assert done.err == "(there are more; go on with --cursor 'b c')\n"
    assert rest.out.splitlines() == ["d"]


async def test_given_stores_when_made_listed_and_dropped_then_both_names_of_the_commands_work(
    flora: Any, kv: MemoryKv
) -> None:
    made = await flora.run("kv", "create-store", "--guild", "1000", "--name", "x")
    listed = await flora.run("kv", "stores", "--guild", "1000")
    usage = await flora.run("kv", "usage", "x", "--guild", "1000")
    dropped = await flora.run("kv", "drop", "x", "--guild", "1000")
    as_json = await flora.run("kv", "list-stores", "--guild", "1000", "--json")

    assert (made.code, made.out) == (0, "Created store x\n")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["notes", "x"]
    assert usage.out == "0 keys, 0 B\n"
    assert (dropped.code, dropped.out) == (0, "Deleted store x\n")
    assert [row["store_name"] for row in json.loads(as_json.out)] == ["notes"]


async def test_given_a_refusal_when_set_then_its_words_are_shown(flora: Any, kv: MemoryKv, api: Any) -> None:
    def refuse(_: KvCall) -> None:
        raise KvRateLimited("kv write rate limit exceeded; retry later", retry_after_s=9)

    api.system.answers[KvCall] = refuse

    done = await flora.run("kv", "set", "v", *AT, "-k", "k")

    assert (done.code, done.out) == (1, "")
    assert done.err == "error: Too many requests: kv write rate limit exceeded; retry later\n"


FILE = gzip.compress(b"lines" * 100_000)
EXPORT = KvExport(
    backup_id="0b7ad3a5-7d0b-4c39-9f0a-5f1a7f7b2d10",
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    stores=(("a", 1), ("notes", 2)),
    file_bytes=len(FILE),
)
OLDER = KvExport(
    backup_id="7c9e6679-7425-40de-944b-e07fc1f90ae7",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    stores=(("a", 1),),
    file_bytes=10,
)


@pytest.fixture
def exports(flora: Any, api: Any) -> list[Any]:
    """A guild with two exports; what else was asked for."""
    asked: list[Any] = []

    def answer(call: KvCall) -> Any:
        match call.operation:
            case messages.KvMakeExport():
                return EXPORT
            case messages.KvListExports():
                return (EXPORT, OLDER)
            case messages.KvReadExportPart(offset=offset):
                return FILE[offset : offset + 300]
            case messages.KvRestoreExport() as op:
                asked.append(op)
                return (("notes", 2),)
            case op:
                asked.append(op)
                return None

    api.system.answers[KvCall] = answer
    flora.environment["FLORA_API_URL"] = api.url
    return asked


async def test_given_an_export_when_made_and_listed_then_sizes_are_for_people(flora: Any, exports: list[Any]) -> None:
    made = await flora.run("kv", "export", "--guild", "1000")
    listed = await flora.run("kv", "exports", "--guild", "1000")
    as_json = await flora.run("kv", "exports", "--guild", "1000", "--json")

    assert made.out.splitlines()[0] == f"Exported {EXPORT.backup_id}"
    assert "2 stores, 3 keys, " in made.out
    assert made.err == "Exporting the key-value stores of guild 1000 …\n"
    assert listed.out.splitlines()[0].endswith("a (1 key), notes (2 keys)")
    assert [row["backup_id"] for row in json.loads(as_json.out)] == [EXPORT.backup_id, OLDER.backup_id]


async def test_given_an_export_when_downloaded_then_the_file_is_whole(flora: Any, exports: list[Any]) -> None:
    done = await flora.run("kv", "download", "--guild", "1000")

    (file,) = flora.project.iterdir()
    assert (done.code, file.name) == (0, f"kv-1000-{EXPORT.backup_id}.jsonl.gz")
    assert file.read_bytes() == FILE


async def test_given_an_export_when_restored_or_deleted_then_that_one_is_named(flora: Any, exports: list[Any]) -> None:
    restored = await flora.run("kv", "restore", "--guild", "1000", "--store", "notes", "--yes")
    deleted = await flora.run("kv", "delete-export", OLDER.backup_id, "--guild", "1000", "-y")
    unknown = await flora.run("kv", "restore", "nothing", "--guild", "1000")
    unsure = await flora.run("kv", "restore", "--guild", "1000")

    assert restored.out.splitlines()[0] == "Restored notes: 2 keys"
    assert deleted.out == f"Deleted export {OLDER.backup_id}\n"
    assert exports == [
        messages.KvRestoreExport(backup_id=EXPORT.backup_id, store="notes"),
        messages.KvDeleteExport(backup_id=OLDER.backup_id),
    ]
    said = "error: guild 1000 has no export nothing; `flora kv exports --guild 1000` lists them\n"
    assert (unknown.code, unknown.err) == (1, said)
    assert (unsure.code, unsure.err) == (2, "error: nobody can be asked here; add --yes\n")


async def test_given_a_restore_over_quota_then_it_is_refused_clearly(flora: Any, exports: list[Any], api: Any) -> None:
    answer = api.system.answers[KvCall]

    def refuse(call: KvCall) -> Any:
        if isinstance(call.operation, messages.KvRestoreExport):
            raise KvQuotaExceeded("kv guild storage quota exceeded", limit_bytes=5)
        return answer(call)

    api.system.answers[KvCall] = refuse

    done = await flora.run("kv", "restore", "--guild", "1000", "--yes")

    assert done.code == 1
    assert done.err.splitlines()[-1] == "error: Bad request: kv guild storage quota exceeded"
