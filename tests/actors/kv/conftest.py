"""A worker on its own, for its key-value stores: real isolates, real files; the test is its mailbox, its clock and all its peers."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from thespian.actors import WatchMessage

from flora.actors import worker as worker_module
from flora.actors.bridge import AsyncBridge
from flora.actors.worker import Worker
from flora.messages.base import Failed, Ok
from flora.messages.dispatch import DispatchFrame, LoadIsolate, UnloadIsolate, WorkerFrame
from flora.messages.gateway import RestFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import KvCall, KvOperation, NoteKvStores
from flora.messages.lifecycle import Peers, Start
from flora.messages.settings import DatabaseSettings, KvSettings, RuntimeSettings, Settings
from flora.storage.kv import KvFiles, KvLimits

T = TypeVar("T")
GUILD = GuildId("55")


class KvWorker(Worker):
    """A worker without an actor system around it. It has a deployer that answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Any, Any]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self._frame = 0
        self._asks = 0

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def after(self, delay_s: float, function: Callable[[], None]) -> int:
        self.later.append((time.monotonic() + delay_s, function))
        return len(self.later)

    def begin(self, settings: Settings) -> None:
        self.settings = settings
        self.peers = Peers(router="router", gateway="gateway", deployer="deployer")
        self.bridge = AsyncBridge("worker 0")
        self._bridge_open = True
        self.on_start(Start(req_id=ReqId("start"), settings=settings, peers=self.peers, name="worker 0", worker_id=0))
        self.until(lambda: self.answer("start"))

    def pump(self) -> None:
        next_s = min((at_s for at_s, _ in self.later), default=1e9) - time.monotonic()
        readable = select.select([self._host.fileno(), self.bridge.fd], [], [], min(0.01, max(0.0, next_s)))[0]
        if readable:
            self.receiveMessage(WatchMessage(readable), None)
        now_s = time.monotonic()
        due = [function for at_s, function in self.later if at_s <= now_s]
        self.later = [entry for entry in self.later if entry[0] > now_s]
        for function in due:
            function()
        self.flush()

    def until(self, condition: Callable[[], T], within_s: float = 10.0) -> T:
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            assert time.monotonic() < deadline, self.sent[-5:]
            self.pump()
        return value

    def got(self, kind: type[T]) -> list[T]:
        return [message for _, message in self.sent if type(message) is kind]

    def answer(self, req_id: str) -> Any:
        return next((m for m in self.got(Ok) + self.got(Failed) if m.req_id == req_id), None)

    def load(self, script: str, guild_id: GuildId = GUILD) -> None:
        self._asks += 1
        request = LoadIsolate(req_id=ReqId(f"load {self._asks}"), guild_id=guild_id, script=script, source_map=None)
        self.receiveMessage(request, "router")
        reply = self.until(lambda: self.answer(request.req_id))
        assert isinstance(reply, Ok), reply

    def unload(self, guild_id: GuildId = GUILD) -> None:
        self.receiveMessage(UnloadIsolate(req_id=ReqId("unload"), guild_id=guild_id), "router")

    def dispatch(self, *contents: str, first_seq: int = 1, guild_id: GuildId = GUILD) -> None:
        self._frame += 1
        count = len(contents)
        frame = DispatchFrame(
            number=self._frame,
            ack=max((frame.number for frame in self.got(WorkerFrame)), default=0),
            wants_ack=False,
            epoch="router",
            seqs=tuple(range(first_seq, first_seq + count)),
            guild_ids=(guild_id,) * count,
            names=("messageCreate",) * count,
            payloads=tuple(orjson.dumps({"id": "1", "channelId": "9", "content": c}).decode() for c in contents),
        )
        self.receiveMessage(frame, "router")

    def outcomes(self, count: int) -> list[str]:
        """How the first `count` events ended."""
        return self.until(lambda: len(found := self._done()) >= count and [str(found[seq]) for seq in sorted(found)])

    def _done(self) -> dict[int, str]:
        return {seq: outcome for frame in self.got(WorkerFrame) for seq, _, outcome in frame.done}

    def said(self) -> list[Any]:
        """What scripts replied, decoded: they reply with JSON."""
        return [orjson.loads(orjson.loads(call[5])["content"]) for frame in self.got(RestFrame) for call in frame.calls]

    def hears(self, count: int = 1) -> list[Any]:
        return self.until(lambda: len(said := self.said()) >= count and said)

    def call(self, operation: KvOperation, guild_id: GuildId = GUILD) -> Ok | Failed:
        """A client's operation, answered."""
        self._asks += 1
        request = KvCall(req_id=ReqId(f"call {self._asks}"), guild_id=guild_id, operation=operation)
        self.receiveMessage(request, "router")
        reply: Ok | Failed = self.until(lambda: self.answer(request.req_id))
        return reply

    def notes(self) -> list[NoteKvStores]:
        return self.got(NoteKvStores)

    def session(self, guild_id: GuildId = GUILD) -> Any:
        resident = self._isolates.serving[guild_id]
        return self._local._systemBase.actorRegistry[resident.address.addressDetails].instance._session

    def end(self) -> None:
        assert self._host.close_all(10.0)
        self._kv.end()
        self.bridge.close()
        self._local.shutdown()


@pytest.fixture
def kv_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KvWorker]]:
    """Makes workers; `kv` has settings of stores, the rest those of the runtime."""
    monkeypatch.setattr(worker_module, "limit_process", lambda start: None)  # the process is pytest's
    made: list[KvWorker] = []

    def make(kv: dict[str, Any] | None = None, database_url: str | None = None, **runtime: Any) -> KvWorker:
        limits = {"dispatch_timeout_s": 2.0, "load_timeout_s": 20.0, "max_workers": 64} | runtime
        settings = Settings(
            data_dir=tmp_path,
            runtime=RuntimeSettings(**limits),
            kv=KvSettings(**(kv or {})),
            database=DatabaseSettings(url=database_url),
        )
        made.append(KvWorker())
        made[-1].begin(settings)
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def other_owner(tmp_path: Path) -> Iterator[KvFiles]:
    """The same files as another process would have them: a lock is the open folder's, not the process's."""
    files = KvFiles(tmp_path / "kv", limits=KvLimits(writes_per_minute=0))
    yield files
    files.close()
