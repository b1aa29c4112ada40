"""Keeps the table `kv_stores` saying the same as the files: a guild's stores are told until the deployer has written them down. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from flora.messages.base import Failed, Ok
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvStoreInfo, NoteKvStores

AGAIN_S = 1.0
AGAIN_CAP_S = 60.0


class Teller(Protocol):
    """What the index needs of its worker."""

    def tell_index(self, note: NoteKvStores, on_reply: Callable[[Ok | Failed], None]) -> None:
        """Asks the deployer; `on_reply` is called in any case."""

    def after(self, delay_s: float, function: Callable[[], None]) -> object:
        """Calls a function after a delay."""


class Index:
    """What is still to be told. The last state counts, however often it changed meanwhile."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._wanted: dict[GuildId, tuple[KvStoreInfo, ...]] = {}
        self._told: set[GuildId] = set()  # an answer is awaited, or a pause before the next attempt

    def note(self, guild_id: GuildId, stores: Sequence[KvStoreInfo]) -> None:
        """These are all stores of a guild now."""
        self._wanted[guild_id] = tuple(stores)
        if guild_id not in self._told:
            self._tell(guild_id, AGAIN_S)

    def __len__(self) -> int:
        return len(self._wanted)

    def _tell(self, guild_id: GuildId, again_s: float) -> None:
        self._told.add(guild_id)
        stores = self._wanted[guild_id]

        def answered(reply: Ok | Failed) -> None:
            is_new = self._wanted.get(guild_id) != stores
            if isinstance(reply, Failed):
                self._teller.after(again_s, lambda: self._tell(guild_id, min(AGAIN_CAP_S, again_s * 2)))
            elif is_new:
                self._tell(guild_id, AGAIN_S)
            else:
                self._told.discard(guild_id)
                del self._wanted[guild_id]

        self._teller.tell_index(NoteKvStores(req_id=ReqId(""), guild_id=guild_id, stores=stores), answered)
