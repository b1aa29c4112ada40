"""Secrets from the API to the worker's door, on the store in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from flora.actors.secret_service import SecretService
from flora.messages.deployment import DeployActor
from flora.messages.errors import BadRequest, Conflict, FloraError, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.messages.secret_changes import DeleteSecret, PutSecret
from flora.messages.secrets import GuildSecrets
from flora.storage.memory_secrets import MemorySecretStore
from flora.storage.ports import StoredSecret
from flora.storage.secret_cipher import KeyRing, Sealed

G, H = GuildId("1"), GuildId("2")
OLD, NEW = b"o" * 32, b"n" * 32
ANN = DeployActor(kind="token", user_id="7")
OPERATOR = DeployActor(kind="operator")
VALUE = "s3cr3t-hunter2"


class Around:
    """Who a service hands sets to, and what it tells the audit log."""

    def __init__(self, store: MemorySecretStore, *keys: bytes) -> None:
        self.store = store
        self.given: list[tuple[GuildId, GuildSecrets]] = []
        self.lines: list[tuple[Any, ...]] = []
        self.failing: FloraError | None = None
        self.slept_s: list[float] = []
        self.may_sleep = asyncio.Event()
        self.service = SecretService(store, KeyRing(*keys[:1], keys[1:]), self.give, self, self.sleep)

    async def give(self, guild_id: GuildId, secrets: GuildSecrets) -> None:
        if self.failing is not None:
            raise self.failing
        self.given.append((guild_id, secrets))

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        await self.may_sleep.wait()

    def record(self, *line: Any) -> None:
        self.lines.append(line)

    async def put(self, name: str = "KEY", value: str = VALUE, guild_id: GuildId = G, hosts: Sequence[str] = ()) -> Any:
        request = PutSecret(
            req_id=ReqId("1"), guild_id=guild_id, name=name, value=value, allowed_hosts=tuple(hosts), actor=ANN
        )
        return await self.service.put(request)

    async def delete(self, name: str = "KEY") -> Any:
        return await self.service.delete(DeleteSecret(req_id=ReqId("1"), guild_id=G, name=name, actor=ANN))

    def values(self) -> list[dict[str, str]]:
        """Of each set that was given."""
        return [{entry.name: entry.value for entry in secrets.entries} for _, secrets in self.given]


@pytest.fixture
def around() -> Around:
    return Around(MemorySecretStore(), NEW)


async def test_given_a_secret_when_put_and_deleted_then_the_script_goes_by_it_and_the_log_tells_who_did_it(
    around: Around,
) -> None:
    hosts = ["https://API.example.com/v1", "api.example.com", "*.example.org"]

    put = await around.put(hosts=hosts)
    deleted = [await around.delete(), await around.delete(), await around.delete("\0")]

    kept = ["api.example.com", "*.example.org"]
    assert put == {"name": "KEY", "allowed_hosts": kept, "delivered": True}
    assert deleted == [{"deleted": True, "delivered": True}] * 3
    assert around.values()[:2] == [{"KEY": VALUE}, {}]
    assert around.lines == [
        (G, ANN, "secret.set", "KEY", {"allowed_hosts": kept}),
        (G, ANN, "secret.delete", "KEY", {}),
    ]
    versions = [secrets.version for _, secrets in around.given]
    assert versions == sorted(set(versions))
    assert VALUE not in repr((around.given, around.lines, await around.store.of_guild(G)))


async def test_given_a_new_value_when_put_then_the_placeholder_stays(around: Around) -> None:
    await around.put()
    await around.put(value="another")

    first, second = (secrets.placeholders() for _, secrets in around.given)
    assert first == second


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "é"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"value": ""}, "value"),
        ({"value": "ü" * 32_769}, "value"),
        ({"hosts": ["ok.example", "*"]}, "allowed_hosts"),
        ({"hosts": [f"h{n}.example" for n in range(51)]}, "allowed_hosts"),
    ],
)
async def test_given_what_cannot_be_a_secret_when_put_then_it_is_refused_and_nothing_is_stored(
    around: Around, what: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        await around.put(**what)

    assert caught.value.details["field"] == field
    assert list(await around.store.of_guild(G)) == []
    assert around.given == around.lines == []


async def test_given_as_many_secrets_as_may_be_when_one_more_comes_then_it_is_refused_and_a_known_name_is_not(
    around: Around,
) -> None:
    for number in range(100):
        await around.put(f"KEY{number}")

    with pytest.raises(BadRequest, match="100"):
        await around.put("ANOTHER")
    await asyncio.gather(around.put("KEY7", "new"), around.put("ANOTHER", guild_id=H))

    assert len(await around.store.of_guild(G)) == 100


# Delivery


async def test_given_a_worker_that_is_away_when_put_then_the_answer_says_so_and_it_is_tried_until_it_arrives(
    around: Around,
) -> None:
    around.failing = Unavailable("the worker is being started")
    put = await around.put()
    await around.put(value="newer")
    around.failing = None
    around.may_sleep.set()

    await _until(lambda: around.given)

    assert put["delivered"] is False
    assert around.values() == [{"KEY": "newer"}]
    assert around.slept_s


async def test_given_a_change_during_a_load_when_it_has_loaded_then_the_newer_set_is_given_again(
    around: Around,
) -> None:
    around.may_sleep.set()
    quiet = await around.service.for_load(G)
    around.service.loaded(G, quiet)
    before = await around.service.for_load(G)
    await around.put()
    around.service.loaded(G, before)

    await _until(lambda: len(around.given) == 2)

    assert quiet.secrets is not None
    assert before.secrets is not None
    assert before.secrets.version < around.given[0][1].version < around.given[1][1].version
    assert around.values() == [{"KEY": VALUE}] * 2


async def test_given_a_store_that_is_away_when_a_script_loads_then_the_set_follows(
    around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    await around.put()
    around.given.clear()
    around.may_sleep.set()

    async def away(guild_id: GuildId) -> Sequence[StoredSecret]:
        raise Unavailable("no database")

    with monkeypatch.context() as patched:
        patched.setattr(around.store, "of_guild", away)
        loaded_with = await around.service.for_load(G)
    around.service.loaded(G, loaded_with)
    await _until(lambda: around.given)

    assert loaded_with.secrets is None
    assert around.values() == [{"KEY": VALUE}]


async def test_given_a_new_deployer_when_scripts_run_then_they_get_what_is_stored(around: Around) -> None:
    await around.put()
    again = Around(around.store, NEW)

    again.service.refresh([G, H])
    await _until(lambda: len(again.given) == 2)

    assert [guild_id for guild_id, _ in again.given] == [G, H]
    assert again.values() == [{"KEY": VALUE}, {}]
    assert again.given[0][1].version > around.given[0][1].version


# Keys


def reference_row(value: str, key: bytes) -> Sealed:
    nonce = b"0" * 24
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(value.encode(), None, nonce, key)
    return Sealed(ciphertext=ciphertext, nonce=nonce, key_id=None)


async def test_given_a_row_that_no_key_opens_when_read_then_it_is_warned_about_once_and_the_script_lacks_it(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    await around.store.put(G, "OLD", reference_row(VALUE, OLD), ["a.example"])

    with caplog.at_level(logging.WARNING):
        await around.put()
        listed = [await around.service.list(G) for _ in range(3)][-1]

    assert around.values() == [{"KEY": VALUE}]
    assert listed == [
        {"name": "KEY", "allowed_hosts": [], "readable": True},
        {"name": "OLD", "allowed_hosts": ["a.example"], "readable": False},
    ]
    warnings = [record.getMessage() for record in caplog.records if "cannot be decrypted" in record.getMessage()]
    assert warnings == [
        "secret 'OLD' of guild 1 cannot be decrypted with any configured key; its script does not see it"
    ]
    assert VALUE not in caplog.text


async def test_given_rows_of_old_keys_and_of_the_reference_when_rotated_then_all_are_bound_under_the_current_one() -> (
    None
):
    store = MemorySecretStore()
    before = Around(store, OLD)
    for number in range(250):
        await before.put(f"KEY{number % 50}", f"{VALUE} {number}", guild_id=GuildId(str(number // 50)))
    await store.put(G, "LEGACY", reference_row("legacy", OLD), ["a.example"])
    await store.put(H, "LOST", reference_row("lost", b"x" * 32), [])
    after = Around(store, NEW, OLD)
    holders = (await after.service.for_load(G)).secrets

    found = await after.service.rotate(OPERATOR)
    again = await after.service.rotate(OPERATOR)

    key_id = KeyRing(NEW).current_id
    lost = [{"guild_id": H, "name": "LOST"}]
    assert found == {"key_id": key_id, "rotated": 251, "bound": 1, "unreadable": lost, "unreadable_count": 1}
    assert again == found | {"rotated": 0, "bound": 0}
    only_new = Around(store, NEW)
    now = (await only_new.service.for_load(G)).secrets
    assert holders is not None
    assert now is not None
    assert [(e.name, e.value, e.allowed_hosts) for e in now.entries] == [
        (e.name, e.value, e.allowed_hosts) for e in holders.entries
    ]
    assert {entry.name: entry.value for entry in now.entries}["LEGACY"] == "legacy"
    assert {entry.placeholders[0] for entry in now.entries} <= {p for e in holders.entries for p in e.placeholders}
    counts = {"key_id": key_id, "rotated": 251, "bound": 1, "unreadable_count": 1}
    assert after.lines[0] == (None, OPERATOR, "secret.rotate", key_id, counts)


async def test_given_a_rotation_cut_off_in_the_middle_when_asked_again_then_it_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemorySecretStore()
    before = Around(store, OLD)
    for number in range(30):
        await before.put(f"KEY{number}", f"{VALUE} {number}")
    reseal, done = store.reseal, []

    async def dies(row: StoredSecret, sealed: Sealed) -> bool:
        if len(done) == 13:
            raise Unavailable("the deployer was killed")
        done.append(row)
        return await reseal(row, sealed)

    monkeypatch.setattr(store, "reseal", dies)
    with pytest.raises(Unavailable):
        await Around(store, NEW, OLD).service.rotate(OPERATOR)
    halfway = (await Around(store, NEW, OLD).service.for_load(G)).secrets
    monkeypatch.undo()
    found = await Around(store, NEW, OLD).service.rotate(OPERATOR)

    assert halfway is not None
    assert len(halfway.entries) == 30
    assert found["rotated"] == 17
    assert {row.sealed.key_id for row in await store.of_guild(G)} == {KeyRing(NEW).current_id}


async def test_given_a_write_during_a_rotation_when_it_is_done_then_the_newer_value_has_won(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemorySecretStore()
    await Around(store, OLD).put()
    after = Around(store, NEW, OLD)
    reseal = store.reseal

    async def late(row: StoredSecret, sealed: Sealed) -> bool:
        await after.put(value="written meanwhile")
        with pytest.raises(Conflict):
            await after.service.rotate(OPERATOR)
        return await reseal(row, sealed)

    monkeypatch.setattr(store, "reseal", late)
    found = await after.service.rotate(OPERATOR)

    now = (await Around(store, NEW).service.for_load(G)).secrets
    assert now is not None
    assert found["rotated"] == 0
    assert [entry.value for entry in now.entries] == ["written meanwhile"]


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is anything
            await asyncio.sleep(0)
