"""What request handlers share, and where they find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from flora.http.access import GuildAccess
from flora.http.auth import Identity, IdentityResolver
from flora.http.boot import BootState
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.login import Login
from flora.http.metrics.own import OwnFigures
from flora.http.metrics.reading import Reader
from flora.http.peers import PeerBook
from flora.http.ports import AuditTrail, TokenStore
from flora.http.request_traces import RequestTraces
from flora.http.traces import TraceFiles
from flora.messages.base import TraceContext
from flora.messages.errors import FloraError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything a handler may use. One per server."""

    peers: PeerBook
    identity: Sequence[IdentityResolver]  # asked in order: first a session, then a bearer token
    access: GuildAccess
    log_streams: LogStreams
    audit: AuditTrail
    boot: BootState = field(default_factory=BootState)
    operator_secret: str | None = field(default=None, repr=False)
    tokens: TokenStore | None = None  # None: there are no API tokens to look after
    trace_files: TraceFiles | None = None  # None: nothing is traced here
    login: Login | None = None  # None: nobody can log in with a browser
    redirect_uri: str = ""  # where Discord sends people back; empty: to the host they came from
    cookie_secure: bool = False
    traces: RequestTraces = field(default_factory=RequestTraces)
    simulator_url: str | None = None  # page of the simulated Discord
    limits: HttpLimits = field(default_factory=HttpLimits)
    own: OwnFigures = field(default_factory=OwnFigures)  # what this process counts


DEPS = web.AppKey("deps", Deps)
IDENTITY = web.RequestKey("identity", Identity)
REQUEST_ID = web.RequestKey("request_id", str)
TRACE = web.RequestKey("trace", TraceContext)
FAILURE = web.RequestKey("failure", FloraError)
METRICS = web.AppKey("metrics", Reader)
