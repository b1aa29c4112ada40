"""The actor that is connected to Discord: events in, REST calls out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as StillClosing
from dataclasses import dataclass
from typing import Any

from flora.actors.base import DEFERRED, FloraActor
from flora.actors.discord.rest import Result
from flora.actors.discord.service import GatewayService, Reports
from flora.actors.discord.sink import Row
from flora.actors.link import WINDOW, Batch, Link
from flora.actors.retained import Retained
from flora.messages.base import Address, Message, Request
from flora.messages.errors import BugError, FloraError
from flora.messages.gateway import (
    CheckGuildAccess,
    DescribeMember,
    GatewayControl,
    GatewayFailed,
    GatewayFrame,
    GatewayReady,
    GuildJoined,
    GuildLeft,
    OpenGateway,
    RestFrame,
    RestResultsFrame,
    StopIntake,
)
from flora.messages.ids import GuildId
from flora.messages.lifecycle import Drain, Peers, Start

log = logging.getLogger(__name__)

MAX_FRAME_EVENTS = 2048
"""~2 MB of payloads; larger frames would only make the router wait."""
GOODBYE_S = 1.0
BUSY_CALLS = 64
"""So many REST calls unfinished are a queue: a result that waits a little for others is no later for that."""
BUSY_HOLD_S = 0.008


class _EventsWaiting:
    """Posted by the loop: the sink has events."""


class _ResultsWaiting:
    """Posted by the loop: REST calls have ended."""


@dataclass(frozen=True, slots=True)
class _ToRuntime:
    message: Message


@dataclass(frozen=True, slots=True)
class _Guild:
    guild_id: str
    joined: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    request: Request
    sender: Address
    value: Any = None
    error: FloraError | None = None


@dataclass(frozen=True, slots=True)
class _WorkerEnd:
    address: Address
    link: Link[Result]


_EVENTS_WAITING, _RESULTS_WAITING = _EventsWaiting(), _ResultsWaiting()


class Gateway(FloraActor):
    """Turns Discord's dispatches into frames of script events, and REST calls of scripts into requests.

    Receives   OpenGateway, StopIntake (runtime), GatewayControl (router), RestFrame (workers), CheckGuildAccess, DescribeMember (anybody)
    Sends      GatewayFrame (router), RestResultsFrame (workers), GuildJoined, GuildLeft (deployer),
               GatewayReady, GatewayFailed (runtime)
    State      subscriptions per guild (from the router), events until they are settled, waiting REST calls, scope cache. Memory only.
    Supervises nothing. Restarted by Runtime: identifies again, the router subscribes again, calls under way are gone.
    Fails      Discord refuses token or intents → GatewayFailed with what to change; connections that break are resumed.
    """

    uses_bridge = True

    def on_start(self, msg: Start) -> Any:
        self._router_link: Link[Row] = Link(self.incarnation, MAX_FRAME_EVENTS, window=WINDOW)
        self._retained: Retained[Row] = Retained(time.time_ns() // 1000, _size_of)
        self._next_seq = self._retained.first_seq  # of the next row that goes into a frame
        self._workers: dict[str, _WorkerEnd] = {}
        self._results: deque[tuple[str, Result]] = deque()
        self._results_posted = False
        self._guilds: set[str] = set()
        self._stop_intake: tuple[StopIntake, Address] | None = None
        # The client belongs to the loop from its first line on.
        self._service = self.bridge.submit(self._make_service()).result()
        self.bridge.submit(self._service.run())
        return {"api_base": msg.settings.discord.api_base}

    def receiveMsg_OpenGateway(self, msg: OpenGateway, sender: Address) -> None:
        self.bridge.call(self._service.may_connect.set)

    async def _make_service(self) -> GatewayService:
        post = self.bridge.post
        return GatewayService(
            self.settings,
            Reports(
                events=lambda: post(_EVENTS_WAITING),
                result=self._result_arrived,
                ready=self._ready,
                guild=lambda guild_id, joined: post(_Guild(guild_id, joined)),
                failed=lambda error: post(_ToRuntime(GatewayFailed(code=error.code, message=str(error)))),
            ),
        )

    def _ready(self, application_id: str, bot_user_id: str, guild_ids: tuple[str, ...]) -> None:
        """On the loop."""
        guilds = tuple(map(GuildId, guild_ids))
        ready = GatewayReady(application_id=application_id, bot_user_id=bot_user_id, guild_ids=guilds)
        self.bridge.post(_ToRuntime(ready))

    def _result_arrived(self, origin: str, result: Result) -> None:
        """On the loop."""
        self._results.append((origin, result))
        if not self._results_posted:
            self._results_posted = True
            if self._service.executor.unfinished < BUSY_CALLS:
                self.bridge.post(_RESULTS_WAITING)
            else:
                self.bridge.loop.call_later(BUSY_HOLD_S, self.bridge.post, _RESULTS_WAITING)

    def on_inbox(self, item: object) -> None:
        match item:
            case _EventsWaiting() | _ResultsWaiting():
                pass  # `flush` follows
            case _ToRuntime():
                self.tell(self.peers.runtime, item.message)
            case _Guild():
                self._guild_changed(item)
            case _Answer(error=None):
                self.reply_ok(item.request, item.sender, item.value)
            case _Answer(error=error):
                assert error is not None
                self.reply_failed(item.request, item.sender, error)

    def flush(self) -> None:
        if not hasattr(self, "_service"):
            return
        self._send_events()
        self._answer_stop_intake()
        self._send_results()

    # Events

    def _send_events(self) -> None:
        link = self._router_link
        if self.peers.router is None:
            return
        if not (link.full or link.waiting) and (rows := self._service.sink.take(MAX_FRAME_EVENTS)):
            link.offer_all(rows)
            self._retained.keep(rows)
        while (batch := link.poll()) is not None:
            self.send(self.peers.router, self._event_frame(batch))

    def _event_frame(self, batch: Batch[Row]) -> GatewayFrame:
        first_seq = self._next_seq
        self._next_seq += len(batch.rows)
        guild_ids, names, payloads, received_us = zip(*batch.rows, strict=True) if batch.rows else ((), (), (), ())
        return GatewayFrame(
            number=batch.number,
            ack=batch.ack,
            wants_ack=batch.wants_ack,
            epoch=self.incarnation,
            first_seq=first_seq,
            guild_ids=guild_ids,
            names=names,
            payloads=payloads,
            received_us=received_us,
        )

    def receiveMsg_GatewayControl(self, msg: GatewayControl, sender: Address) -> None:
        if sender != self.peers.router:
            return  # of a router that is gone; a new one says it again
        self._retained.settle(msg.settled_below)
        if self._router_link.receive(msg):
            self.bridge.call(self._subscribe, msg)

    def _subscribe(self, msg: GatewayControl) -> None:
        """On the loop."""
        self._service.sink.subscribe(msg.subscriptions, replaces_all=msg.replaces_all)

    def _guild_changed(self, change: _Guild) -> None:
        guild_id = GuildId(change.guild_id)
        if change.joined:
            self._guilds.add(guild_id)
            self.tell(self.peers.deployer, GuildJoined(guild_id=guild_id))
        else:
            self._guilds.discard(guild_id)
            self.tell(self.peers.deployer, GuildLeft(guild_id=guild_id))

    def on_peers(self, peers: Peers) -> None:
        if peers.router is not None and peers.router != self.peers.router:
            self._meet_router()
        if peers.deployer is not None and peers.deployer != self.peers.deployer:
            for guild_id in self._guilds:
                self.tell(peers.deployer, GuildJoined(guild_id=GuildId(guild_id)))
        gone = {str(address) for _, address in self.peers.workers} - {str(address) for _, address in peers.workers}
        for origin in [origin for origin, end in self._workers.items() if str(end.address) in gone]:
            self._forget_worker(origin)

    def _meet_router(self) -> None:
        """A new router gets everything that is not settled once more; it learns from the workers what of that they have."""
        self._router_link = Link(self.incarnation, MAX_FRAME_EVENTS, window=WINDOW)
        self._router_link.offer_all(self._retained.rows())
        self._next_seq = self._retained.first_seq

    def receiveMsg_StopIntake(self, msg: StopIntake, sender: Address) -> None:
        """Takes no more events; answered by `flush` when those that were taken have left."""
        self._service.sink.close()
        self._stop_intake = (msg, sender)

    def _answer_stop_intake(self) -> None:
        if self._stop_intake is not None and not (len(self._service.sink) or self._router_link.waiting):
            (request, sender), self._stop_intake = self._stop_intake, None
            self.reply_ok(request, sender)

    # REST

    def receiveMsg_RestFrame(self, msg: RestFrame, sender: Address) -> None:
        origin = f"{sender}/{msg.epoch}"
        end = self._workers.get(origin)
        if end is None:
            for old in [old for old, other in self._workers.items() if other.address == sender]:
                self._forget_worker(old)
            end = self._workers[origin] = _WorkerEnd(sender, Link(self.incarnation, window=WINDOW))
        if end.link.receive(msg):
            self.bridge.call(self._take_calls, origin, msg)

    def _take_calls(self, origin: str, msg: RestFrame) -> None:
        """On the loop."""
        if msg.cancelled:
            self._service.executor.cancel(origin, msg.cancelled)
        self._service.executor.submit(origin, msg.calls)

    def _forget_worker(self, origin: str) -> None:
        del self._workers[origin]
        self.bridge.call(self._service.executor.cancel_origin, origin)

    def _send_results(self) -> None:
        self._results_posted = False  # first: a result that ends from here on posts again
        while self._results:
            origin, result = self._results.popleft()
            end = self._workers.get(origin)
            if end is not None:
                end.link.offer(result)
        for end in self._workers.values():
            while (batch := end.link.poll()) is not None:
                frame = RestResultsFrame(
                    number=batch.number,
                    ack=batch.ack,
                    wants_ack=batch.wants_ack,
                    epoch=self.incarnation,
                    results=tuple(batch.rows),
                )
                self.send(end.address, frame)

    # Questions

    def receiveMsg_CheckGuildAccess(self, msg: CheckGuildAccess, sender: Address) -> None:
        self._answer_later(msg, sender, self._service.access.check(msg.guild_id, msg.user_id))

    def receiveMsg_DescribeMember(self, msg: DescribeMember, sender: Address) -> None:
        self._answer_later(msg, sender, self._describe(msg))

    async def _describe(self, msg: DescribeMember) -> dict[str, str | None]:
        return {"username": await self._service.access.username(msg.guild_id, msg.user_id)}

    def on_drain(self, msg: Drain) -> Any:
        self._answer_later(msg, self.peers.runtime, self._drain(msg.limit_s))
        return DEFERRED

    async def _drain(self, limit_s: float) -> dict[str, int]:
        self._service.sink.close()
        return {"abandoned": await self._service.executor.settle(limit_s)}

    def _answer_later(self, request: Request, sender: Address, work: Coroutine[Any, Any, Any]) -> None:
        async def answer() -> None:
            try:
                found = _Answer(request, sender, await work)
            except FloraError as exc:
                found = _Answer(request, sender, error=exc)
            except Exception:
                log.exception("question not answered", extra={"action": "bug", "class": type(request).__name__})
                found = _Answer(request, sender, error=BugError("the gateway failed to answer; see its log"))
            self.bridge.post(found)

        self.bridge.submit(answer())

    def on_stop(self) -> None:
        if hasattr(self, "_service"):
            with contextlib.suppress(StillClosing):  # the process ends anyway
                self.bridge.submit(self._service.close()).result(GOODBYE_S)


def _size_of(row: Row) -> int:
    return len(row[2])
