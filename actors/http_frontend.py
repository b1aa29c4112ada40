"""The actor that serves the admin API.

Everything HTTP happens on the bridge's asyncio loop, in `flora.http`; this shell turns the actor's messages into calls
there and the other way round.
"""

from __future__ import annotations

import concurrent.futures
import logging
from dataclasses import dataclass
from typing import Any

from flora.actors.audit_trail import AuditTrail
from flora.actors.base import DEFERRED, FloraActor
from flora.actors.tracing import TRACES_FOLDER
from flora.http.access import GuildAccess
from flora.http.auth import BearerTokens
from flora.http.boot import BootState
from flora.http.deps import Deps
from flora.http.entrance import Entrance, open_entrance
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.metrics.own import OwnFigures
from flora.http.metrics.push import MetricsPush
from flora.http.peers import PeerBook
from flora.http.request_traces import RequestTraces
from flora.http.server import ApiServer, Listening
from flora.http.sessions import SessionCookies
from flora.http.trace_push import TracePush
from flora.http.traces import TraceFiles
from flora.messages.audit import AuditLine, RecordAudit
from flora.messages.base import Address, Request
from flora.messages.errors import BugError, ConfigError, FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, Start, SystemStage
from flora.messages.logs import LogLines
from flora.messages.series import alone, counted
from flora.messages.settings import Settings
from flora.storage.postgres import Database, PostgresTokenStore
from flora.storage.trace_record import TraceRecord

log = logging.getLogger(__name__)

AUDIT_LIMIT_S = 10.0
AUDIT_LAST_S = 0.5  # at the end, for lines that are still under way
MAX_CONNECTIONS = 2  # a token lookup is one short query
STOP_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """Posted by the loop: what a request led to."""

    request: Request
    outcome: concurrent.futures.Future[Any]


class HttpFrontend(FloraActor):
    """Serves the admin API on `api.address`:`api.port`.

    Receives   LogLines (log book), SystemStage (runtime)
    Sends      Deploy, GetDeployment, ListDeployments, RecordAudit, ReadAudit (deployer); CheckGuildAccess, FindGuilds,
               DescribeMember (gateway); ReadLogs, FollowLogs, StopFollowing (log book); ReadMetrics, KvCall, ListCronJobs,
               RunCronJob (router); DescribeSystem (runtime)
    State      guild permissions for 30 s, open log streams, sessions being renewed. Memory only; sessions are in Redis.
    Supervises nothing. Restarted by Runtime; requests under way are cut off, log readers come back by themselves.
    Fails      port taken → CONFIG_ERROR at start; a peer that is being restarted → 503 with Retry-After.
    """

    uses_bridge = True

    def __init__(self) -> None:
        super().__init__()
        self._peer_book: PeerBook
        self._streams: LogStreams
        self._audit: AuditTrail
        self._boot = BootState()
        self._own = OwnFigures()
        self._server: ApiServer | None = None
        self._database: Database | None = None
        self._entrance: Entrance | None = None
        self._trace_files: TraceFiles | None = None
        self._trace_push: TracePush | None = None
        self._metrics_push: MetricsPush | None = None

    def on_start(self, msg: Start) -> Any:
        self._peer_book = PeerBook(self.bridge, msg.peers)
        limits = HttpLimits()
        self._streams = LogStreams(self._peer_book, limits)
        self._audit = AuditTrail(self._store_audit)
        self._answer_when_done(msg, self.bridge.submit(self._serve(msg.settings, limits)))
        return DEFERRED

    async def _serve(self, settings: Settings, limits: HttpLimits) -> dict[str, object]:
        if settings.database.url is None:
            raise ConfigError("database.url (DATABASE_URL) is not set", key="database.url", env="DATABASE_URL")
        self._database = Database(
            settings.database.url, max_connections=min(MAX_CONNECTIONS, settings.database.max_connections)
        )
        self._entrance = entrance = open_entrance(settings)
        self._trace_files = TraceFiles(settings.data_dir / TRACES_FOLDER, limits)
        token_store = PostgresTokenStore(self._database)
        tokens = BearerTokens(token_store)
        deps = Deps(
            peers=self._peer_book,
            identity=(SessionCookies(entrance.login.sessions), tokens) if entrance else (tokens,),
            access=GuildAccess(
                self._peer_book,
                limits,
                cache=entrance.cache if entrance else None,
                user_guilds=entrance.user_guilds if entrance else None,
            ),
            log_streams=self._streams,
            trace_files=self._trace_files,
            audit=self._audit,
            traces=RequestTraces(self._keep_request, self.name, settings.trace.slow_ms * 1000),
            boot=self._boot,
            operator_secret=settings.api.operator_secret,
            tokens=token_store,
            login=entrance.login if entrance else None,
            redirect_uri=settings.discord.redirect_uri,
            cookie_secure=settings.api.cookie_secure,
            simulator_url=settings.discord.api_base.removesuffix("/api/v10") if settings.discord.simulated else None,
            limits=limits,
            own=self._own,
        )
        self._server = ApiServer(deps)
        listening: Listening = await self._server.start(settings.api.address, settings.api.port)
        if settings.telemetry.endpoint and settings.trace.enabled:
            self._trace_push = TracePush(settings.data_dir / TRACES_FOLDER, settings.telemetry, settings.run_id)
            self._trace_push.start()
        if settings.telemetry.endpoint:
            self._metrics_push = MetricsPush(self._server.metrics, settings.telemetry, self._own, settings.run_id)
            self._metrics_push.start()
        await self._database.open()  # does not wait: health answers also while Postgres is away
        return {"port": listening.port, "address": listening.address}

    def _keep_request(self, record: TraceRecord) -> None:
        self.tracer.keep(record)
        self.tracer.flush()

    async def _store_audit(self, lines: tuple[AuditLine, ...]) -> None:
        await self._peer_book.ask("deployer", RecordAudit(req_id=ReqId(""), lines=lines), AUDIT_LIMIT_S)

    def on_peers(self, peers: Peers) -> None:
        self.bridge.call(self._change_peers, peers)

    def _change_peers(self, peers: Peers) -> None:
        if "log_book" in self._peer_book.change(peers):
            self._streams.end_all()  # its subscriptions died with it; readers come back by themselves

    def metrics(self) -> dict[str, Any]:
        pushed = counted(dict(self._trace_push.hops)) if self._trace_push is not None else {}
        own = {"log_lines_skipped": alone(self._streams.lines_skipped), "telemetry_hops": pushed}
        return {"series": {**self._own.samples(), **own}}

    def receiveMsg_SystemStage(self, msg: SystemStage, sender: Address) -> None:
        """How far the boot is, for those who ask."""
        self.bridge.call(self._boot.update, msg)

    def receiveMsg_LogLines(self, msg: LogLines, sender: Address) -> None:
        self.bridge.call(self._streams.deliver, msg)

    def on_drain(self, msg: Drain) -> Any:
        if self._server is None:
            return None
        self._answer_when_done(msg, self.bridge.submit(self._server.drain(msg.limit_s)))
        return DEFERRED

    def _answer_when_done(self, request: Request, future: concurrent.futures.Future[Any]) -> None:
        future.add_done_callback(lambda done: self.bridge.post(_Answer(request, done)))

    def on_inbox(self, item: object) -> None:
        if not isinstance(item, _Answer):
            return
        error = item.outcome.exception()
        if error is None:
            self.reply_ok(item.request, None, item.outcome.result())
        elif isinstance(error, FloraError):
            self.reply_failed(item.request, None, error)
        else:
            log.error("the server failed", exc_info=error, extra={"action": "bug"})
            self.reply_failed(item.request, None, BugError("the HTTP server failed; see its log"))

    def on_stop(self) -> None:
        try:
            self.bridge.submit(self._close()).result(STOP_LIMIT_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            log.warning("stopped without closing every connection", extra={"action": "stop_late"})

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.stop()
            await self._audit.written(AUDIT_LAST_S)
        if self._trace_files is not None:
            self._trace_files.close()
        for push in (self._trace_push, self._metrics_push):
            if push is not None:
                await push.stop()
        if self._entrance is not None:
            await self._entrance.close()
        if self._database is not None:
            await self._database.close()
