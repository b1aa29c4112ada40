from __future__ import annotations

import uuid
from datetime import UTC, datetime

from flora.messages.ids import GuildId
from flora.messages.kv import KvStoreInfo
from flora.storage.ports import KvIndex

G, H = GuildId("1"), GuildId("2")


def store(name: str) -> KvStoreInfo:
    return KvStoreInfo(store_id=str(uuid.uuid4()), name=name, created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


async def test_given_stores_that_come_and_go_when_told_then_the_index_says_the_same(kv_index: KvIndex) -> None:
    a, b, umlaut = store("a"), store("B"), store("ä")
    assert list(await kv_index.of_guild(G)) == []

    await kv_index.replace(G, [a, umlaut])
    await kv_index.replace(H, [b])
    assert list(await kv_index.of_guild(G)) == [a, umlaut]
    await kv_index.replace(G, [b2 := store("B"), a])

    assert list(await kv_index.of_guild(G)) == [b2, a]
    assert list(await kv_index.of_guild(H)) == [b]
    await kv_index.replace(G, [])
    assert list(await kv_index.of_guild(G)) == []


async def test_given_a_name_that_is_there_when_told_again_then_its_row_stays(kv_index: KvIndex) -> None:
    first = store("a")
    await kv_index.replace(G, [first])

    await kv_index.replace(G, [store("a")])

    assert list(await kv_index.of_guild(G)) == [first]
