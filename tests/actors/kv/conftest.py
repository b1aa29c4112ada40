"""A worker on its own, for its key-value stores: see recorded_worker.py. Its files are real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from flora_tests_actors_recorded_worker import GUILD, RecordedWorker

from flora.messages.base import Failed, Ok
from flora.messages.dispatch import UnloadIsolate
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvCall, KvOperation, NoteKvStores
from flora.messages.lifecycle import Peers
from flora.messages.settings import DatabaseSettings, KvSettings
from flora.storage.kv import KvFiles, KvLimits


class KvWorker(RecordedWorker):
    """Has a deployer too, which answers when the test says so; its scripts reply with JSON."""

    PEERS: ClassVar[Peers] = Peers(router="router", gateway="gateway", deployer="deployer")

    def load(self, script: str, guild_id: GuildId = GUILD, **more: Any) -> Any:
        reply = super().load(script, guild_id, **more)
        assert isinstance(reply, Ok), reply
        return reply

    def unload(self, guild_id: GuildId = GUILD) -> None:
        self.receiveMessage(UnloadIsolate(req_id=ReqId("unload"), guild_id=guild_id), "router")

    def outcomes(self, count: int) -> list[str]:
        """How the first `count` events ended."""
        return self.until(lambda: len(found := self.done()) >= count and [str(found[seq]) for seq in sorted(found)])

    def said(self) -> list[Any]:
        """What scripts replied, decoded."""
        return [orjson.loads(body) for body in self.bodies()]

    def hears(self, count: int = 1) -> list[Any]:
        return self.until(lambda: len(said := self.said()) >= count and said)

    def call(self, operation: KvOperation, guild_id: GuildId = GUILD) -> Ok | Failed:
        """A client's operation, answered."""
        return self.asks(KvCall(req_id=self.new_id("call"), guild_id=guild_id, operation=operation))

    def notes(self) -> list[NoteKvStores]:
        return self.got(NoteKvStores)


@pytest.fixture
def kv_worker(begin_worker: Callable[..., KvWorker]) -> Callable[..., KvWorker]:
    """Makes workers; `kv` has settings of stores, the rest those of the runtime."""

    def make(kv: dict[str, Any] | None = None, database_url: str | None = None, **runtime: Any) -> KvWorker:
        limits = {"dispatch_timeout_s": 2.0} | runtime
        others = {"kv": KvSettings(**(kv or {})), "database": DatabaseSettings(url=database_url)}
        return begin_worker(KvWorker(), limits, **others)

    return make


@pytest.fixture
def other_owner(tmp_path: Path) -> Iterator[KvFiles]:
    """The same files as another process would have them: a lock is the open folder's, not the process's."""
    files = KvFiles(tmp_path / "kv", limits=KvLimits(writes_per_minute=0))
    yield files
    files.close()
