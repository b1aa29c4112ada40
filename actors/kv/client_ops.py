"""Key-value operations of clients (`messages/kv.py`) → calls of `KvGuild`. Pure but for the stores."""

from __future__ import annotations

from typing import Any, assert_never

from flora.messages.kv import (
    KvCreateStore,
    KvDeleteKey,
    KvDropStore,
    KvGetKey,
    KvListKeys,
    KvListStores,
    KvReadUsage,
    KvSetKey,
    KvSetMetadata,
)
from flora.storage.ports import KvGuild

StoreOperation = (
    KvListStores | KvCreateStore | KvDropStore | KvListKeys | KvGetKey | KvSetKey | KvSetMetadata | KvDeleteKey | KvReadUsage
)  # fmt: skip
"""Operations on stores and keys; exports are not among them."""
InStore = KvListKeys | KvGetKey | KvSetKey | KvSetMetadata | KvDeleteKey


def carry_out(guild: KvGuild, operation: StoreOperation) -> Any:
    """The answer's value, as the operation's docstring says.

    Raises:
        FloraError: refused, or failed.
    """
    match operation:
        case KvListStores():
            return tuple(guild.stores())
        case KvCreateStore(store=store):
            return guild.create(store)
        case KvDropStore(store=store):
            return guild.drop(store)
        case KvReadUsage(store=store):
            names = [info.name for info in guild.stores()] if store is None else [guild.require(store).name]
            return {name: guild.usage(name) for name in names}
        case _:
            guild.require(operation.store)  # of a store that a script would make, a client is told that there is none
            return _in_store(guild, operation)


def _in_store(guild: KvGuild, operation: InStore) -> Any:
    match operation:
        case KvListKeys(store=store, prefix=prefix, cursor=cursor, limit=limit):
            return guild.list(store, prefix=prefix, cursor=cursor, limit=limit)
        case KvGetKey(store=store, key=key):
            return guild.get(store, key)
        case KvSetKey(store=store, key=key, value=value, expiration=expiration, ttl_s=ttl_s, metadata=metadata):
            return guild.set(store, key, value, expiration=expiration, ttl_s=ttl_s, metadata=metadata)
        case KvSetMetadata(store=store, key=key, metadata=metadata):
            return guild.update_metadata(store, key, metadata)
        case KvDeleteKey(store=store, key=key):
            return guild.delete(store, key)
        case _:
            assert_never(operation)


def stores_of(operation: StoreOperation) -> tuple[str, ...] | None:
    """The stores whose contents an operation needs; None: those of all."""
    match operation:
        case KvListStores() | KvCreateStore() | KvDropStore():
            return ()
        case KvReadUsage(store=store):
            return None if store is None else (store,)
        case _:
            return (operation.store,)
