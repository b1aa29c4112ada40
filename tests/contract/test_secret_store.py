from __future__ import annotations

import uuid

from flora.messages.ids import GuildId
from flora.storage.ports import SecretStore
from flora.storage.secret_cipher import Sealed

G, H = GuildId("1"), GuildId("2")


def sealed(text: str, key_id: str | None = "new") -> Sealed:
    return Sealed(ciphertext=text.encode(), nonce=uuid.uuid4().bytes + b"12345678", key_id=key_id)


async def test_given_nothing_when_read_then_it_is_empty_and_deleting_is_fine(secrets: SecretStore) -> None:
    assert list(await secrets.of_guild(G)) == []
    assert not await secrets.delete(G, "KEY")


async def test_given_secrets_when_read_then_those_of_the_guild_come_by_name(secrets: SecretStore) -> None:
    first, second = sealed("1"), sealed("2", None)
    await secrets.put(G, "b", first, ["api.example.com", "*.example.org"])
    await secrets.put(G, "a", second, [])
    await secrets.put(G, "B", sealed("3"), [])
    await secrets.put(H, "c", sealed("4"), [])

    found = await secrets.of_guild(G)

    assert [row.name for row in found] == ["B", "a", "b"]
    assert [row.sealed for row in found[1:]] == [second, first]
    assert [row.allowed_hosts for row in found[1:]] == [(), ("api.example.com", "*.example.org")]
    assert {row.guild_id for row in found} == {G}
    assert len({str(uuid.UUID(row.secret_id)) for row in found}) == 3


async def test_given_a_secret_when_it_is_put_again_then_it_keeps_its_id_and_after_a_delete_it_does_not(
    secrets: SecretStore,
) -> None:
    await secrets.put(G, "KEY", sealed("1", None), ["a.example.com"])
    (before,) = await secrets.of_guild(G)
    newer = sealed("2")

    await secrets.put(G, "KEY", newer, ["b.example.com"])
    (after,) = await secrets.of_guild(G)
    was_deleted = await secrets.delete(G, "KEY")
    await secrets.put(G, "KEY", newer, [])
    (anew,) = await secrets.of_guild(G)

    assert (after.secret_id, after.sealed, after.allowed_hosts) == (before.secret_id, newer, ("b.example.com",))
    assert was_deleted
    assert anew.secret_id != before.secret_id


async def test_given_rows_of_several_keys_when_paged_then_each_that_is_not_of_this_key_comes_once(
    secrets: SecretStore,
) -> None:
    for number, key in enumerate(["old", None, "new", "old", None]):
        await secrets.put(GuildId(str(number)), "KEY", sealed("x", key), [])

    first = await secrets.under_other_keys("new", after=None, limit=3)
    rest = await secrets.under_other_keys("new", after=first[-1].secret_id, limit=3)

    ids = [row.secret_id for row in (*first, *rest)]
    assert len(first) == 3
    assert sorted(row.guild_id for row in (*first, *rest)) == ["0", "1", "3", "4"]
    assert ids == sorted(ids)


async def test_given_a_row_written_meanwhile_when_resealed_then_the_newer_one_stays(secrets: SecretStore) -> None:
    await secrets.put(G, "KEY", sealed("1", None), ["a.example.com"])
    (seen,) = await secrets.of_guild(G)
    other = sealed("2")

    assert await secrets.reseal(seen, other)
    assert not await secrets.reseal(seen, sealed("3"))
    (now,) = await secrets.of_guild(G)
    await secrets.delete(G, "KEY")

    assert (now.sealed, now.allowed_hosts, now.secret_id) == (other, ("a.example.com",), seen.secret_id)
    assert not await secrets.reseal(now, sealed("4"))


async def test_given_versions_when_asked_for_then_each_is_higher(secrets: SecretStore) -> None:
    versions = [await secrets.next_version() for _ in range(5)]

    assert versions == sorted(set(versions))
