"""A worker on its own: real isolates, real V8; the test is its mailbox, its clock and all its peers.

Loaded by conftest.py, after which others import it as `flora_tests_actors_recorded_worker`.
"""

from __future__ import annotations

import itertools
import math
import select
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import orjson
from thespian.actors import WatchMessage

from flora.actors.bridge import AsyncBridge
from flora.actors.worker import Worker
from flora.messages.base import Failed, Ok
from flora.messages.dispatch import DispatchFrame, LoadIsolate, WorkerFrame
from flora.messages.gateway import RestFrame, RestResultsFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Peers, Start
from flora.messages.settings import Settings

T = TypeVar("T")
GUILD = GuildId("55")


class RecordedWorker(Worker):
    """A worker without an actor system around it."""

    PEERS: ClassVar[Peers] = Peers(router="router", gateway="gateway")

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Any, Any]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self._request_numbers = itertools.count(1)
        self._frame = 0
        self._results = 0
        self._settled = 0

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def after(self, delay_s: float, function: Callable[[], None]) -> int:
        self.later.append((time.monotonic() + delay_s, function))
        return len(self.later)

    def begin(self, settings: Settings) -> None:
        self.settings, self.peers = settings, self.PEERS
        self.bridge = AsyncBridge("worker 0")
        self._bridge_open = True
        self.on_start(Start(req_id=ReqId("start"), settings=settings, peers=self.peers, name="worker 0", worker_id=0))
        self.until(lambda: self.answer("start"))

    def pump(self) -> None:
        next_s = min((at_s for at_s, _ in self.later), default=math.inf) - time.monotonic()
        select.select([self._host.fileno(), self.bridge.fd], [], [], min(0.01, max(0.0, next_s)))
        self.receiveMessage(WatchMessage([self._host.fileno()]), None)
        for item in self.bridge.drain():
            self.on_inbox(item)
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

    def asks(self, message: Any) -> Any:
        self.receiveMessage(message, "router")
        return self.until(lambda: self.answer(message.req_id))

    def new_id(self, what: str) -> ReqId:
        """An id that no request had yet."""
        return ReqId(f"{what} {next(self._request_numbers)}")

    def load(self, script: str, guild_id: GuildId = GUILD, **more: Any) -> Any:
        message = LoadIsolate(req_id=self.new_id("load"), guild_id=guild_id, script=script, source_map=None, **more)
        return self.asks(message)

    def dispatch(self, first_seq: int, *contents: str, guild_id: GuildId = GUILD) -> None:
        self._frame += 1
        count = len(contents)
        frame = DispatchFrame(
            number=self._frame,
            ack=self._last(WorkerFrame),
            wants_ack=False,
            epoch="router",
            seqs=tuple(range(first_seq, first_seq + count)),
            guild_ids=(guild_id,) * count,
            names=("messageCreate",) * count,
            payloads=tuple(orjson.dumps({"id": "1", "channelId": "9", "content": c}).decode() for c in contents),
        )
        self.receiveMessage(frame, "router")

    def _last(self, kind: type[Any]) -> int:
        """Number of the last frame of a kind that was sent."""
        return max((frame.number for frame in self.got(kind)), default=0)

    def acknowledge(self) -> None:
        """The router has all frames sent so far."""
        frame = DispatchFrame(
            number=0, ack=self._last(WorkerFrame), epoch="router", seqs=(), guild_ids=(), names=(), payloads=()
        )
        self.receiveMessage(frame, "router")

    def done(self) -> dict[int, str]:
        return {seq: outcome for frame in self.got(WorkerFrame) for seq, _, outcome in frame.done}

    def wedged(self) -> list[tuple[str, str]]:
        return [row for frame in self.got(WorkerFrame) for row in frame.wedged]

    def bodies(self) -> list[str]:
        return [orjson.loads(call[5])["content"] for frame in self.got(RestFrame) for call in frame.calls]

    def session(self, guild_id: GuildId = GUILD) -> Any:
        return self.session_of(self._isolates.serving[guild_id])

    def session_of(self, resident: Any) -> Any:
        return self._local._systemBase.actorRegistry[resident.address.addressDetails].instance._session

    def end(self) -> None:
        assert self._host.close_all(10.0)
        self._kv.end()
        if self.bridge._loop is not None:
            self.bridge.submit(self._fetches.close()).result(5)
        self.bridge.close()
        self._local.shutdown()

    def settle_calls(self) -> None:
        """The gateway answers all calls that it has."""
        calls = [call for frame in self.got(RestFrame) for call in frame.calls][self._settled :]
        self._settled += len(calls)
        self._results += 1
        results = tuple((call[0], True, "null") for call in calls)
        frame = RestResultsFrame(
            number=self._results, ack=self._last(RestFrame), wants_ack=False, epoch="gateway", results=results
        )
        self.receiveMessage(frame, "gateway")

    def pass_time(self, for_s: float) -> None:
        """Lets the worker do what it does by itself for a while."""
        deadline = time.monotonic() + for_s
        self.until(lambda: time.monotonic() > deadline)

    def let_all_timers_pass(self) -> None:
        """As if hours went by."""
        later, self.later = self.later, []
        for _, function in later:
            function()
        self.flush()
