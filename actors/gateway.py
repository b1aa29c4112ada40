"""The actor that is connected to Discord: events in, REST calls out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import TimeoutError as StillClosing
from dataclasses import dataclass, replace
from typing import Any

from flora.actors.base import DEFERRED, FloraActor
from flora.actors.discord.service import GatewayService, Reports
from flora.actors.discord.sink import Row
from flora.actors.gateway_calls import ResultsWaiting, WorkerCalls
from flora.actors.gateway_figures import gateway_metrics
from flora.actors.gateway_tracing import GatewayHops
from flora.actors.link import WINDOW, Batch, Link
from flora.actors.retained import Retained
from flora.messages.base import Address, Failed, Message, Ok, Request
from flora.messages.errors import BugError, FloraError, TimedOut
from flora.messages.gateway import (
    CheckGuildAccess,
    DescribeMember,
    FindGuilds,
    GatewayControl,
    GatewayFailed,
    GatewayFrame,
    GatewayReady,
    GuildJoined,
    GuildLeft,
    GuildsPresent,
    NotePositions,
    NoteSession,
    OpenGateway,
    Position,
    RestFrame,
    ResumePoint,
    ShardSession,
    StopIntake,
)
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Drain, Peers, Start

log = logging.getLogger(__name__)

MAX_FRAME_EVENTS = 2048
"""~2 MB of payloads; larger frames would only make the router wait."""
GOODBYE_S = 1.0
RESUME_LIMIT_S = 15.0
"""A router that is recovering itself takes up to 5 s; without its answer the shards identify."""
POSITIONS_EVERY_S = 2.0


class _EventsWaiting:
    """Posted by the loop: the sink has events."""


class _NoAnswer:
    """The router had long enough to say where to go on."""


class _TellPositions:
    """From time to time."""


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


_EVENTS_WAITING, _NO_ANSWER, _TELL_POSITIONS = _EventsWaiting(), _NoAnswer(), _TellPositions()


class Gateway(FloraActor):
    """Turns Discord's dispatches into frames of script events, and REST calls of scripts into requests.

    Receives   OpenGateway, StopIntake (runtime), GatewayControl (router), RestFrame (workers), CheckGuildAccess, FindGuilds,
               DescribeMember (anybody)
    Sends      ResumePoint, GatewayFrame, NoteSession, NotePositions (router), RestResultsFrame (workers),
               GuildJoined, GuildLeft, GuildsPresent (deployer),
               GatewayReady, GatewayFailed (runtime)
    State      subscriptions per guild (from the router), events until they are settled, waiting REST calls, scope cache. Memory only.
    Supervises nothing. Restarted by Runtime: the router says what guilds subscribed to and which sessions to resume;
               calls under way are gone.
    Fails      Discord refuses token or intents → GatewayFailed with what to change; connections that break are resumed.
    """

    uses_bridge = True

    def on_start(self, msg: Start) -> Any:
        self._router_link: Link[Row] = Link(self.incarnation, MAX_FRAME_EVENTS, window=WINDOW)
        self._retained: Retained[Row] = Retained(time.time_ns() // 1000, _size_of)
        self._next_seq = self._retained.first_seq  # of the next row that goes into a frame
        self._calls = WorkerCalls(self, lambda: self._service.executor)
        self._event_hops = GatewayHops(self.tracer) if self.tracer.enabled else None
        self._guilds: set[str] = set()
        self._stop_intake: tuple[StopIntake, Address] | None = None
        self._sessions: dict[int, ShardSession] = {}
        self._told_positions: tuple[Position, ...] = ()
        self._is_open = False  # Runtime lets it connect
        self._knows_where = False  # the router has said where to go on and who wants what
        # The client belongs to the loop from its first line on.
        self._service = self.bridge.submit(self._make_service()).result()
        if self._event_hops is not None:
            self._service.sink.on_shed = self._event_hops.shed
            self._service.executor.on_timed = self._calls.timed
        self.bridge.submit(self._service.run())
        self._ask_where(msg.peers.router)
        self.bridge.call_later(RESUME_LIMIT_S, _NO_ANSWER)
        self.bridge.call_later(POSITIONS_EVERY_S, _TELL_POSITIONS)
        return {"api_base": msg.settings.discord.api_base}

    def receiveMsg_OpenGateway(self, msg: OpenGateway, sender: Address) -> None:
        self._is_open = True
        self._connect_if_ready()

    def _ask_where(self, router: Address | None) -> None:
        if router is not None:
            self.ask(router, ResumePoint(req_id=ReqId("")), self._told_where, limit_s=0)

    def _told_where(self, reply: Ok | Failed) -> None:
        if self._knows_where:
            return
        if isinstance(reply, Ok):
            self._retained.start_at(reply.value["next_seq"])
            self._next_seq = self._retained.first_seq
            self._resume(reply.value["sessions"])
            self.bridge.call(self._replace_subscriptions, reply.value["subscriptions"])
        self._knows_where = True
        self._connect_if_ready()

    def _resume(self, sessions: tuple[ShardSession, ...]) -> None:
        self._sessions = {session.shard_id: session for session in sessions}
        if sessions and self._event_hops is not None:
            self._event_hops.resumes()
        self._guilds = {guild_id for session in sessions for guild_id in session.guild_ids}
        self.bridge.call(self._service.client.resume_from, sessions)

    def _connect_if_ready(self) -> None:
        if self._is_open and self._knows_where:
            self.bridge.call(self._service.may_connect.set)

    async def _make_service(self) -> GatewayService:
        post = self.bridge.post
        return GatewayService(
            self.settings,
            Reports(
                events=lambda: post(_EVENTS_WAITING),
                result=self._calls.result_arrived,
                ready=self._ready,
                guild=lambda guild_id, joined: post(_Guild(guild_id, joined)),
                failed=lambda error: post(_ToRuntime(GatewayFailed(code=error.code, message=str(error)))),
                session=post,
            ),
        )

    def _ready(self, application_id: str, bot_user_id: str, guild_ids: tuple[str, ...]) -> None:
        """On the loop."""
        guilds = tuple(map(GuildId, guild_ids))
        ready = GatewayReady(application_id=application_id, bot_user_id=bot_user_id, guild_ids=guilds)
        self.bridge.post(_ToRuntime(ready))

    def on_inbox(self, item: object) -> None:
        match item:
            case _EventsWaiting():
                pass  # `flush` follows
            case ResultsWaiting():
                self._calls.results_are_due()
            case _ToRuntime():
                self.tell(self.peers.runtime, item.message)
            case _Guild():
                self._guild_changed(item)
            case ShardSession():
                self._session_began(item)
            case _NoAnswer():
                self._told_where(Failed(req_id=ReqId(""), code=TimedOut.code, message="the router does not answer"))
            case _TellPositions():
                self._tell_positions()
                self.bridge.call_later(POSITIONS_EVERY_S, _TELL_POSITIONS)
            case _Answer(error=None):
                self.reply_ok(item.request, item.sender, item.value)
            case _Answer(error=error):
                assert error is not None
                self.reply_failed(item.request, item.sender, error)

    def metrics(self) -> dict[str, Any]:
        return gateway_metrics(self._service, self._retained) if hasattr(self, "_service") else {}

    def flush(self) -> None:
        if not hasattr(self, "_service"):
            return
        self._send_events()
        self._answer_stop_intake()
        self._calls.flush()

    # Events

    def _send_events(self) -> None:
        link = self._router_link
        if self.peers.router is None:
            return
        handled: dict[int, Position] = {}
        if not (link.full or link.waiting):
            handled = dict(self._service.sink.reached.handled)  # first: the events of what comes later may not be taken
            rows = self._service.sink.take(MAX_FRAME_EVENTS)
            link.offer_all(rows)
            self._keep(rows)
            if len(self._service.sink):
                handled = {}
        while (batch := link.poll()) is not None:
            self.send(self.peers.router, self._event_frame(batch, {} if link.waiting else handled))

    def _keep(self, rows: list[Row]) -> None:
        before = self._retained.dropped
        self._retained.keep(rows)
        if self._retained.dropped and not before:
            log.error(
                "a router killed from here on loses events: it settles none, and no more can be kept",
                extra={"action": "retained_full", "kept": len(self._retained)},
            )

    def _event_frame(self, batch: Batch[Row], handled: dict[int, Position]) -> GatewayFrame:
        first_seq = self._next_seq
        self._next_seq += len(batch.rows)
        traced = self._event_hops.leaving(first_seq, batch.rows) if self._event_hops is not None else ()
        guild_ids, names, payloads, received_us, sources = (
            zip(*batch.rows, strict=True) if batch.rows else ((), (), (), (), ())
        )
        return GatewayFrame(
            number=batch.number,
            ack=batch.ack,
            after=batch.after,
            wants_ack=batch.wants_ack,
            epoch=self.incarnation,
            first_seq=first_seq,
            guild_ids=guild_ids,
            names=names,
            payloads=payloads,
            received_us=received_us,
            positions=positions_of(sources, handled),
            traced=traced,
        )

    def _tell_positions(self) -> None:
        """Presences and other guilds' events move Discord's numbers on without a frame; too far behind, a session cannot be resumed."""
        link = self._router_link
        handled = dict(self._service.sink.reached.handled)
        if self.peers.router is None or link.waiting or len(self._service.sink):
            return
        positions = tuple(handled.values())
        if positions != self._told_positions:
            self._told_positions = positions
            self.send(self.peers.router, NotePositions(positions=positions))

    def _session_began(self, session: ShardSession) -> None:
        """A shard is connected; what its guilds did while it was not is known only now."""
        known = self._sessions.get(session.shard_id)
        if self._event_hops is not None:
            self._event_hops.has_resumed()
        self._guilds.update(session.guild_ids)
        self._note_session(session)
        if known is not None and known.shard_count == session.shard_count:
            for guild_id in set(known.guild_ids) - set(session.guild_ids):
                self._guild_changed(_Guild(guild_id, joined=False))

    def _note_session(self, session: ShardSession) -> None:
        self._sessions[session.shard_id] = session
        self.tell(self.peers.router, NoteSession(session=session))

    def receiveMsg_GatewayControl(self, msg: GatewayControl, sender: Address) -> None:
        if sender != self.peers.router:
            self.ignore(msg, "it is of a router that is gone")  # a new one says it again
            return
        self._retained.settle(msg.settled_below)
        for frame in self._router_link.receive(msg):
            self.bridge.call(self._subscribe, frame)

    def _subscribe(self, msg: GatewayControl) -> None:
        """On the loop."""
        self._service.sink.subscribe(msg.subscriptions, replaces_all=msg.replaces_all)

    def _replace_subscriptions(self, subscriptions: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        """On the loop."""
        self._service.sink.subscribe(subscriptions, replaces_all=True)

    def _guild_changed(self, change: _Guild) -> None:
        guild_id = GuildId(change.guild_id)
        if change.joined:
            self._guilds.add(guild_id)
            self.tell(self.peers.deployer, GuildJoined(guild_id=guild_id))
        else:
            self._guilds.discard(guild_id)
            self.tell(self.peers.deployer, GuildLeft(guild_id=guild_id))
        self._keep_session_true(change)

    def _keep_session_true(self, change: _Guild) -> None:
        count = next((session.shard_count for session in self._sessions.values()), 1)
        session = self._sessions.get((int(change.guild_id) >> 22) % count)
        if session is not None and (change.guild_id in session.guild_ids) is not change.joined:
            others = tuple(guild_id for guild_id in session.guild_ids if guild_id != change.guild_id)
            guild_ids = (*others, change.guild_id) if change.joined else others
            self._note_session(replace(session, guild_ids=guild_ids))

    def on_peers(self, peers: Peers) -> None:
        if peers.router is not None and peers.router != self.peers.router:
            self._meet_router(peers.router)
        if peers.deployer is not None and peers.deployer != self.peers.deployer:
            self._meet_deployer(peers.deployer)
        gone = {str(address) for _, address in self.peers.workers} - {str(address) for _, address in peers.workers}
        self._calls.gone(gone)

    def _meet_router(self, router: Address) -> None:
        """A new router gets everything that is not settled once more; it learns from the workers what of that they have."""
        self._router_link = Link(self.incarnation, MAX_FRAME_EVENTS, window=WINDOW)
        self._router_link.offer_all(self._retained.rows())
        self._next_seq = self._retained.first_seq
        self._told_positions = ()
        for session in self._sessions.values():
            self.send(router, NoteSession(session=session))
        if not self._knows_where:
            self._ask_where(router)

    def _meet_deployer(self, deployer: Address) -> None:
        guild_ids = tuple(map(GuildId, sorted(self._guilds)))
        self.send(deployer, GuildsPresent(guild_ids=guild_ids, complete=self._knows_all_guilds))

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
        """Has REST calls of scripts made."""
        self._calls.receive(msg, sender)

    # Questions

    def receiveMsg_CheckGuildAccess(self, msg: CheckGuildAccess, sender: Address) -> None:
        self._answer_later(msg, sender, self._service.access.check(msg.guild_id, msg.user_id))

    def receiveMsg_FindGuilds(self, msg: FindGuilds, sender: Address) -> None:
        """Known by heart once every shard has said where it is; before that, Discord is asked about the others."""
        known = tuple(guild_id for guild_id in msg.guild_ids if guild_id in self._guilds)
        if len(known) == len(msg.guild_ids) or self._knows_all_guilds:
            self.reply_ok(msg, sender, known)
        else:
            self._answer_later(msg, sender, self._service.access.present(msg.guild_ids, frozenset(known)))

    @property
    def _knows_all_guilds(self) -> bool:
        shards = next((session.shard_count for session in self._sessions.values()), 0)
        return len(self._sessions) == shards > 0

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


def positions_of(sources: Iterable[Position], handled: Mapping[int, Position]) -> tuple[Position, ...]:
    """How far one is who has all events up to the last of `sources`.

    Args:
        sources: The dispatch that each event of a frame comes from, in order.
        handled: Per shard the last dispatch whose events, if any, are in this frame or earlier ones.
    """
    found = dict(handled)
    for shard_id, source in {source[0]: source for source in sources}.items():
        known = found.get(shard_id)
        if known is None or known[1] != source[1] or known[2] < source[2]:
            found[shard_id] = source
    return tuple(found.values())


def _size_of(row: Row) -> int:
    return len(row[2])
