"""`/api/kv` over HTTP, with real stores in memory behind it."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from flora.actors.kv.client_ops import carry_out
from flora.messages.errors import FloraError, KvQuotaExceeded, KvRateLimited, StorageError, WorkerGone
from flora.messages.ids import GuildId
from flora.messages.kv import KvCall, KvValue
from flora.storage.kv import MemoryKv

pytestmark = pytest.mark.service

GUILD = "1000"
STORE = "/api/kv/1000/notes"


@pytest.fixture
def kv(host: Any) -> MemoryKv:
    """The guild's stores: `notes`, empty."""
    kv = MemoryKv(GuildId(GUILD))
    kv.create("notes")
    host.system.answers[KvCall] = lambda call: carry_out(kv, call.operation)
    return kv


async def put(host: Any, key: str, body: Any) -> Any:
    return await host.call("PUT", f"{STORE}/{quote(key, safe='')}", json=body)


async def refusal_of(response: Any) -> tuple[int, str, str]:
    body = await response.json()
    return response.status, body["code"], body["message"]


async def test_given_a_new_store_when_listed_then_it_has_the_fields_clients_know(host: Any, kv: MemoryKv) -> None:
    made = await host.call("POST", "/api/kv/stores", json={"guild_id": GUILD, "store_name": "a b"})
    listed = await (await host.get(f"/api/kv/stores?guild_id={GUILD}")).json()

    store = (await made.json())["store"]
    assert made.status == 200
    assert set(store) == {"id", "guild_id", "store_name", "created_at", "updated_at"}
    assert (store["guild_id"], store["store_name"], store["updated_at"]) == (GUILD, "a b", store["created_at"])
    assert store["created_at"].endswith("Z")
    assert [row["store_name"] for row in listed] == ["a b", "notes"]
    assert listed[0] == store


async def test_given_a_store_when_made_again_then_409_and_when_dropped_twice_then_404(host: Any, kv: MemoryKv) -> None:
    again = await host.call("POST", "/api/kv/stores", json={"guild_id": GUILD, "store_name": "notes"})
    dropped = await host.call("DELETE", f"/api/kv/stores/{GUILD}/notes")
    gone = await host.call("DELETE", f"/api/kv/stores/{GUILD}/notes")

    assert (await refusal_of(again))[:2] == (409, "CONFLICT")
    assert (dropped.status, await dropped.read()) == (200, b"")
    assert await refusal_of(gone) == (404, "NOT_FOUND", "Resource not found: store not found")


async def test_given_keys_when_the_store_is_described_then_it_says_how_full_it_is(host: Any, kv: MemoryKv) -> None:
    kv.set("notes", "abc", KvValue("12345"))

    told = await (await host.get(f"/api/kv/stores/{GUILD}/notes")).json()

    assert told["store"]["store_name"] == "notes"
    assert told["usage"] == {"keys": 1, "stored_bytes": 8}


@pytest.mark.parametrize("key", ["plain", "a/b", "ü %2F + &?#", ".a.", "100%", "metadata", "\U0001f338"])
async def test_given_any_key_when_set_over_http_then_it_comes_back_and_is_that_key(
    host: Any, kv: MemoryKv, key: str
) -> None:
    set_ = await put(host, key, {"value": "v"})
    got = await host.get(f"{STORE}/{quote(key, safe='')}/")  # both forms, with and without slash
    deleted = await host.call("DELETE", f"{STORE}/{quote(key, safe='')}")

    assert (set_.status, await set_.json()) == (200, {"success": True})
    assert [call.operation.key for call in host.system.of(KvCall)] == [key] * 3
    assert await got.json() == {"value": "v"}
    assert (deleted.status, await deleted.read()) == (200, b"")
    assert kv.get("notes", key) is None


async def test_given_no_such_key_then_its_value_is_null_and_deleting_it_is_fine(host: Any, kv: MemoryKv) -> None:
    got = await host.get(f"{STORE}/nothing")
    deleted = await host.call("DELETE", f"{STORE}/nothing")

    assert (got.status, await got.json()) == (200, {"value": None})
    assert deleted.status == 200


async def test_given_metadata_and_an_end_when_got_then_both_are_told(host: Any, kv: MemoryKv) -> None:
    await put(host, "k", {"value": "", "expiration": 4_000_000_000, "metadata": {"by": ["me"]}})
    before = await (await host.get(f"{STORE}/k")).json()
    changed = await host.call("PUT", f"{STORE}/k/metadata", json={"metadata": 5})
    listed = await (await host.get(STORE)).json()

    assert before == {"value": "", "expiration": 4_000_000_000, "metadata": {"by": ["me"]}}
    assert changed.status == 200
    assert listed == {"keys": [{"name": "k", "expiration": 4_000_000_000, "metadata": 5}], "listComplete": True}


async def test_given_a_time_to_live_when_set_then_it_ends_so_many_seconds_from_now(host: Any, kv: MemoryKv) -> None:
    await put(host, "k", {"value": "v", "ttl": 1_000})

    entry = kv.get("notes", "k")
    assert entry is not None
    assert entry.expiration is not None
    two = await put(host, "k", {"value": "v", "ttl": 5, "expiration": 1})
    assert (await refusal_of(two))[:2] == (400, "BAD_REQUEST")


async def test_given_json_of_a_script_when_read_and_written_back_then_nothing_of_it_changes(
    host: Any, kv: MemoryKv
) -> None:
    kv.set("notes", "k", KvValue('{"a":[1, 2.50]}', True))

    told = await (await host.get(f"{STORE}/k")).json()
    await put(host, "copy", told)

    assert told == {"value": '{"a":[1, 2.50]}', "type": "json"}
    assert kv.get("notes", "copy") == kv.get("notes", "k")


async def test_given_more_keys_than_a_page_when_listed_then_the_cursor_leads_on_to_the_exact_end(
    host: Any, kv: MemoryKv
) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        kv.set("notes", name, KvValue("v"))

    first = await (await host.get(f"{STORE}?prefix=a&limit=2")).json()
    second = await (await host.get(f"{STORE}/?prefix=a&limit=2&cursor={first['cursor']}")).json()
    none = await (await host.get(f"{STORE}?limit=0")).json()

    assert first == {"keys": [{"name": "a1"}, {"name": "a2"}], "listComplete": False, "cursor": "a2"}
    assert second == {"keys": [{"name": "a3"}], "listComplete": True}
    assert none == {"keys": [], "listComplete": True}


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({}, 422, "`value` is required"),
        ({"value": 5}, 422, "`value` must be a string"),
        ({"value": "v", "expiration": "soon"}, 422, "`expiration` must be a whole number of Unix seconds"),
        ({"value": "v", "expiration": 1.5}, 422, "`expiration` must be a whole number of Unix seconds"),
        ({"value": "v", "ttl": True}, 422, "`ttl` must be a number of seconds"),
        ({"value": "v", "ttl": 0}, 400, "`ttl` must be above 0"),
        ({"value": "v", "type": "yaml"}, 400, '`type` must be "string" or "json"'),
        ({"value": "{", "type": "json"}, 400, "`value` is not valid JSON: "),
    ],
)
async def test_given_what_cannot_be_stored_when_set_then_it_is_refused_and_says_why(
    host: Any, kv: MemoryKv, body: Any, status: int, detail: str
) -> None:
    response = await put(host, "k", body)

    code = {400: "BAD_REQUEST", 422: "UNPROCESSABLE_BODY"}[status]
    found = await refusal_of(response)
    assert found[:2] == (status, code)
    assert found[2].startswith(f"Bad request: {detail}")
    assert kv.get("notes", "k") is None


async def test_given_a_value_over_a_megabyte_when_set_then_413(host: Any, kv: MemoryKv) -> None:
    body = io.BytesIO(orjson.dumps({"value": "v" * 1_048_577}))

    response = await host.call("PUT", f"{STORE}/k", data=body, headers={"Content-Type": "application/json"})

    assert await refusal_of(response) == (413, "TOO_LARGE", "Bad request: value exceeds maximum size of 1MB")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{STORE}/{'k' * 513}", 413),
        (f"{STORE}/a%00b", 400),
        (f"{STORE}/%FF", 400),
        ("/api/kv/1000/no.dots/k", 400),
        ("/api/kv/1000/none/k", 404),
        ("/api/kv/1000/none", 404),
        (f"{STORE}?limit=-1", 400),
        (f"{STORE}?cursor=", 400),
        ("/api/kv/stores", 400),
        ("/api/kv/stores?guild_id=me", 400),
        ("/api/kv/stores/1000/none", 404),
    ],
)
async def test_given_a_path_that_names_nothing_when_read_then_it_is_refused_as_json(
    host: Any, kv: MemoryKv, path: str, status: int
) -> None:
    assert (await refusal_of(await host.get(path)))[0] == status


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (KvQuotaExceeded("kv store storage quota exceeded", limit_bytes=1), 413, None),
        (KvRateLimited("kv write rate limit exceeded; retry later", retry_after_s=41.2), 429, "42"),
        (WorkerGone("worker 0 is gone"), 503, "2"),
        (StorageError("a path"), 500, None),
    ],
)
async def test_given_the_owner_refuses_when_set_then_status_and_waiting_time_fit(
    host: Any, error: FloraError, status: int, retry_after: str | None
) -> None:
    def refuse(_: KvCall) -> None:
        raise error

    host.system.answers[KvCall] = refuse

    response = await put(host, "k", {"value": "v"})

    assert (await refusal_of(response))[:2] == (status, error.code)
    assert response.headers.get("Retry-After") == retry_after


async def test_given_anothers_guild_then_nothing_of_it_is_read_or_changed(host: Any, kv: MemoryKv) -> None:
    answers = [
        await host.call("POST", "/api/kv/stores", json={"guild_id": "2000", "store_name": "x"}),
        await host.get("/api/kv/stores?guild_id=2000"),
        await host.get("/api/kv/stores/2000/x"),
        await host.call("DELETE", "/api/kv/stores/2000/x"),
        await host.get("/api/kv/2000/x"),
        await host.get("/api/kv/2000/x/k"),
        await host.call("PUT", "/api/kv/2000/x/k", json={"value": "v"}),
        await host.call("DELETE", "/api/kv/2000/x/k"),
        await host.get("/api/kv/stores?guild_id=1000", token=None),
    ]

    assert [answer.status for answer in answers] == [403] * 8 + [401]
    assert not host.system.of(KvCall)


async def test_given_changes_when_made_then_the_audit_log_hears_who_and_what_but_no_value(
    host: Any, kv: MemoryKv
) -> None:
    await host.call("POST", "/api/kv/stores", json={"guild_id": GUILD, "store_name": "x"})
    await put(host, "k", {"value": "private"})
    await host.call("PUT", f"{STORE}/k/metadata", json={"metadata": "private"})
    await host.call("DELETE", f"{STORE}/k")
    await host.call("DELETE", f"{STORE}/k")
    await host.call("DELETE", f"/api/kv/stores/{GUILD}/x")
    await host.call("DELETE", f"/api/kv/stores/{GUILD}/x")

    assert [line[2:] for line in host.audit.told] == [
        ("kv.create", "x", {}),
        ("kv.put", "notes", {"key": "k"}),
        ("kv.put_metadata", "notes", {"key": "k"}),
        ("kv.delete", "notes", {"key": "k"}),
        ("kv.drop", "x", {}),
    ]
    assert {(line[0], line[1].kind, line[1].user_id) for line in host.audit.told} == {(GUILD, "token", "77")}
