"""Exports and restores, in a worker with real files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flora.actors.kv import exports
from flora.messages.base import Failed, Ok
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvCall, KvCreateStore, KvDropStore, KvGetKey, KvReadUsage, KvSetKey, KvValue, ReleaseKv
from flora.messages.kv_exports import (
    KvDeleteExport,
    KvExport,
    KvListExports,
    KvMakeExport,
    KvReadExportPart,
    KvRestoreExport,
)
from flora.storage.kv.export_file import ExportReader

if TYPE_CHECKING:
    from conftest import KvWorker

pytestmark = pytest.mark.service

GUILD = GuildId("55")
MakeWorker = Callable[..., "KvWorker"]


def value_of(reply: Ok | Failed) -> Any:
    assert isinstance(reply, Ok), reply
    return reply.value


def put(worker: KvWorker, store: str, key: str, text: str, **more: Any) -> None:
    value_of(worker.call(KvSetKey(store=store, key=key, value=KvValue(text), **more)))


def text_of(worker: KvWorker, store: str, key: str) -> str | None:
    found = value_of(worker.call(KvGetKey(store=store, key=key)))
    return found and found.value.text


@pytest.fixture
def worker(kv_worker: MakeWorker) -> KvWorker:
    """Two stores, `a` and `b`, with one key each."""
    worker = kv_worker({"writes_per_minute": 0, "max_store_bytes": 1_000})
    for store in ("a", "b"):
        value_of(worker.call(KvCreateStore(store=store)))
        put(worker, store, "k", f"old {store}")
    return worker


def export(worker: KvWorker, monkeypatch: pytest.MonkeyPatch) -> KvExport:
    monkeypatch.setattr(exports, "EXPORT_EVERY_S", 0.0)
    made: KvExport = value_of(worker.call(KvMakeExport()))
    return made


def test_given_stores_when_exported_then_the_file_has_what_they_had_at_that_moment(
    worker: KvWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export(worker, monkeypatch)
    put(worker, "a", "k", "new")

    blob = value_of(worker.call(KvReadExportPart(backup_id=made.backup_id, offset=0)))
    read = {name: dict(entries) for name, entries in ExportReader(io.BytesIO(blob)).stores()}
    assert made.stores == (("a", 1), ("b", 1))
    assert len(blob) == made.file_bytes
    assert {name: entries["k"].value.text for name, entries in read.items()} == {"a": "old a", "b": "old b"}
    assert value_of(worker.call(KvListExports())) == (made,)
    assert value_of(worker.call(KvDeleteExport(backup_id=made.backup_id))) is None
    assert value_of(worker.call(KvListExports())) == ()


def test_given_an_export_just_made_when_asked_again_then_the_guild_has_to_wait_also_after_a_restart(
    worker: KvWorker, kv_worker: MakeWorker
) -> None:
    made = value_of(worker.call(KvMakeExport()))
    again = worker.call(KvMakeExport())
    worker.receiveMessage(ReleaseKv(req_id=ReqId("release"), guild_id=GUILD), "router")
    elsewhere = kv_worker().call(KvMakeExport())

    for refused in (again, elsewhere):
        assert isinstance(refused, Failed)
        assert refused.code == "KV_RATE_LIMITED"
        assert refused.message.startswith("kv export rate limit exceeded; retry in ")
        assert 50 < refused.details["retry_after_s"] <= 60
    assert value_of(worker.call(KvListExports())) == (made,)


def test_given_no_stores_when_exported_then_it_is_refused_and_does_not_count(kv_worker: MakeWorker) -> None:
    worker = kv_worker()

    refused = [worker.call(KvMakeExport()), worker.call(KvMakeExport())]

    assert [reply.code for reply in refused if isinstance(reply, Failed)] == ["NOT_FOUND", "NOT_FOUND"]


def test_given_an_export_when_restored_then_its_stores_are_as_they_were_and_others_stay(
    worker: KvWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export(worker, monkeypatch)
    put(worker, "a", "k", "new a")
    put(worker, "a", "l", "more")
    value_of(worker.call(KvDropStore(store="b")))
    value_of(worker.call(KvCreateStore(store="c")))

    restored = value_of(worker.call(KvRestoreExport(backup_id=made.backup_id)))

    assert restored == (("a", 1), ("b", 1))
    assert [text_of(worker, store, "k") for store in ("a", "b", "c")] == ["old a", "old b", None]
    assert text_of(worker, "a", "l") is None
    assert set(value_of(worker.call(KvReadUsage()))) == {"a", "b", "c"}


def test_given_one_store_when_restored_then_only_that_changes(
    worker: KvWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export(worker, monkeypatch)
    for store in ("a", "b"):
        put(worker, store, "k", "new")

    restored = value_of(worker.call(KvRestoreExport(backup_id=made.backup_id, store="b")))
    unknown = worker.call(KvRestoreExport(backup_id=made.backup_id, store="c"))

    assert restored == (("b", 1),)
    assert [text_of(worker, store, "k") for store in ("a", "b")] == ["new", "old b"]
    assert isinstance(unknown, Failed)
    assert (unknown.code, unknown.message) == ("NOT_FOUND", "store not found in the export")


def test_given_a_smaller_quota_when_restored_then_it_says_which_store_and_leaves_that_as_it_was(
    worker: KvWorker, kv_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(worker, "b", "large", "x" * 500)
    made = export(worker, monkeypatch)
    put(worker, "a", "k", "new a")
    put(worker, "b", "k", "new b")
    worker.receiveMessage(ReleaseKv(req_id=ReqId("release"), guild_id=GUILD), "router")
    smaller = kv_worker({"max_store_bytes": 100})

    refused = smaller.call(KvRestoreExport(backup_id=made.backup_id))

    assert isinstance(refused, Failed)
    assert refused.code == "KV_QUOTA_EXCEEDED"
    assert refused.details["store"] == "b"
    assert refused.details["restored"] == [{"store_name": "a", "keys": 1}]
    assert [text_of(smaller, store, "k") for store in ("a", "b")] == ["old a", "new b"]


def test_given_a_damaged_export_when_restored_then_nothing_changes(
    worker: KvWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = export(worker, monkeypatch)
    put(worker, "a", "k", "new")
    (file,) = tmp_path.glob("kv-exports/*/*/*.gz")
    file.write_bytes(file.read_bytes()[:-1])

    refused = worker.call(KvRestoreExport(backup_id=made.backup_id))

    assert isinstance(refused, Failed)
    assert refused.code == "STORAGE_ERROR"
    assert text_of(worker, "a", "k") == "new"


def test_given_a_guild_that_leaves_while_it_is_restored_then_the_restore_ends_and_nothing_is_left(
    worker: KvWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = export(worker, monkeypatch)
    put(worker, "a", "k", "new")
    operation = KvRestoreExport(backup_id=made.backup_id)
    first = KvCall(req_id=ReqId("restore"), guild_id=GUILD, operation=operation)
    worker.receiveMessage(first, "router")
    second = worker.call(operation)  # the first one is under way
    worker.receiveMessage(ReleaseKv(req_id=ReqId("release"), guild_id=GUILD), "router")

    ended = worker.until(lambda: worker.answer("restore"))

    assert isinstance(second, Failed)
    assert second.code == "CONFLICT"
    assert isinstance(ended, Failed)
    assert ended.code == "UNAVAILABLE"
    assert not list(tmp_path.glob("kv/*/x-*"))
    assert text_of(worker, "a", "k") == "new"


def test_given_many_exports_at_once_then_they_are_made_one_after_the_other(worker: KvWorker) -> None:
    guilds = [GuildId(str(number)) for number in range(60, 64)]
    for guild in guilds:
        value_of(worker.call(KvCreateStore(store="s"), guild))

    for guild in guilds:
        worker.receiveMessage(KvCall(req_id=ReqId(guild), guild_id=guild, operation=KvMakeExport()), "router")

    for guild in guilds:
        made = value_of(worker.until(lambda guild=guild: worker.answer(guild)))
        assert made.stores == (("s", 0),)
