"""The real server on a free port, with the rest of the system played by a few answers."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar, web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from yarl import URL

from flora.http.access import GuildAccess
from flora.http.auth import BearerTokens
from flora.http.deps import Deps
from flora.http.discord_oauth import DiscordOAuth, OAuthSettings
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.login import Login
from flora.http.peers import PeerBook
from flora.http.server import ApiServer, Listening
from flora.http.sessions import SessionCookies, Sessions
from flora.http.simulator import RunningSimulator, SimulatorConfig
from flora.http.user_guilds import UserGuilds
from flora.messages.base import Address, Message, Request
from flora.messages.errors import Forbidden, TimedOut
from flora.messages.gateway import CheckGuildAccess, DescribeMember, FindGuilds
from flora.messages.ids import UserId
from flora.messages.lifecycle import Peers
from flora.storage.memory import MemoryTokenStore
from flora.storage.ports import Cache
from flora.storage.redis import DegradingCache, RedisCache, make_client

GUILD = "1000"
USER = "77"
TOKEN = "abcdefghijkl.abcdefghijklmnopqrstuvwxyz012345"
OPERATOR_SECRET = "operator-secret-for-tests"

Answer = Callable[[Any], Any]


@dataclass
class FakeSystem:
    """Actors that answer by message class, and remember what they were asked."""

    answers: dict[type, Answer] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    told: list[tuple[Address, Message]] = field(default_factory=list)

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        self.asked.append(request)
        answer = self.answers[type(request)](request)
        if inspect.isawaitable(answer):
            try:
                async with asyncio.timeout(limit_s or None):
                    return await answer
            except TimeoutError:
                raise TimedOut("no answer", limit_s=limit_s) from None
        return answer

    def tell(self, to: Address, message: Message) -> None:
        self.told.append((to, message))

    def of(self, kind: type) -> list[Any]:
        return [request for request in self.asked if type(request) is kind]


class FakeTokens(MemoryTokenStore):
    """One valid token, and those that are made. Counts look-ups."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up = 0

    async def authenticate(self, plaintext: str) -> UserId | None:
        self.looked_up += 1
        return UserId(USER) if plaintext == TOKEN else await super().authenticate(plaintext)


class FakeAudit:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def record(self, *line: Any) -> None:
        self.told.append(line)


def grant_own_guild(request: CheckGuildAccess) -> None:
    if request.guild_id != GUILD:
        raise Forbidden("Admin permission required")


@dataclass
class Host:
    """A running server and a client for it."""

    system: FakeSystem
    tokens: FakeTokens
    deps: Deps
    server: ApiServer
    listening: Listening
    session: ClientSession
    audit: FakeAudit
    streams: list[ClientResponse] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.listening.port}"

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **more: Any) -> ClientResponse:
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        response = await self.session.request(method, self.base + path, headers=headers, **more)
        await response.read()
        return response

    async def open(self, path: str, headers: dict[str, str]) -> ClientResponse:
        """A response whose body the test reads by itself; closed at the end."""
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        response = await self.session.get(self.base + path, headers=headers)
        self.streams.append(response)
        return response

    def close_streams(self) -> None:
        for stream in self.streams:
            stream.close()

    async def get(self, path: str, **more: Any) -> ClientResponse:
        return await self.call("GET", path, **more)

    async def deploy(self, body: Any, guild: str = GUILD, **more: Any) -> ClientResponse:
        return await self.call("POST", f"/api/deployments/{guild}", json=body, **more)


PEERS = Peers(runtime="runtime", router="router", gateway="gateway", deployer="deployer", log_book="log_book")
HostFactory = Callable[..., Awaitable[Host]]


@pytest.fixture
async def make_host() -> AsyncIterator[HostFactory]:
    async with AsyncExitStack() as stack:

        async def make(
            limits: HttpLimits | None = None,
            operator_secret: str | None = OPERATOR_SECRET,
            login: Login | None = None,
            **more: Any,
        ) -> Host:
            limits = limits or HttpLimits()
            system, tokens, audit = FakeSystem(), FakeTokens(), FakeAudit()
            system.answers[CheckGuildAccess] = grant_own_guild
            system.answers[DescribeMember] = lambda _: {"username": "ada"}
            peers = PeerBook(system, PEERS)
            deps = Deps(
                peers=peers,
                identity=(*([SessionCookies(login.sessions)] if login else []), BearerTokens(tokens)),
                access=GuildAccess(peers, limits, **more.pop("access", {})),
                log_streams=LogStreams(peers, limits),
                audit=audit,
                operator_secret=operator_secret,
                limits=limits,
                tokens=tokens,
                login=login,
                **more,
            )
            server = ApiServer(deps)
            listening = await server.start("127.0.0.1", 0)
            stack.push_async_callback(server.stop)
            session = await stack.enter_async_context(ClientSession(cookie_jar=CookieJar(unsafe=True)))
            host = Host(system, tokens, deps, server, listening, session, audit)
            stack.callback(host.close_streams)
            return host

        yield make


@pytest.fixture
async def host(make_host: HostFactory) -> Host:
    return await make_host()


API_SECRET = "the-secret-that-signs-the-cookies"
COOKIE_TTL_S = 2_592_000


@dataclass
class Entrance:
    """A server that people can log in to, with the real cache and the simulated Discord, and a clock of the test's own."""

    host: Host
    discord: RunningSimulator
    cache: Cache
    login: Login
    oauth: DiscordOAuth
    clock: list[float]

    @property
    def user_id(self) -> str:
        return next(iter(self.discord.simulator.world.guilds.values())).owner_id

    async def go(self, path: str, **more: Any) -> ClientResponse:
        """A browser's request that follows nothing by itself."""
        return await self.host.get(path, token=None, allow_redirects=False, **more)

    async def to_discord(self, next_path: str = "") -> dict[str, str]:
        """Begins a login; gives the query with which the browser arrives at Discord."""
        sent = await self.go("/api/auth/login" + (f"?next={quote(next_path, safe='')}" if next_path else ""))
        assert sent.status == 303, await sent.text()
        target = urlsplit(sent.headers["Location"])
        assert target._replace(query="").geturl() == f"{self.discord.base_url}/oauth2/authorize"
        return dict(parse_qsl(target.query))

    async def agree(self, query: dict[str, str], user_id: str = "") -> str:
        """A person picks who they are; gives where Discord sends the browser."""
        form = {**query, "user_id": user_id or self.user_id}
        url = f"{self.discord.base_url}/oauth2/authorize"
        async with self.host.session.post(url, data=form, allow_redirects=False) as sent:
            assert sent.status == 302, await sent.text()
            return sent.headers["Location"].removeprefix(self.host.base)

    async def log_in(self, next_path: str = "", user_id: str = "") -> ClientResponse:
        """The whole way; gives the callback's answer. The client keeps the cookies."""
        return await self.go(await self.agree(await self.to_discord(next_path), user_id))

    def cookie(self, name: str = "flora_session") -> str | None:
        found = self.host.session.cookie_jar.filter_cookies(URL(self.host.base)).get(name)
        return found.value if found else None

    def record_key(self) -> str:
        cookie = self.cookie()
        assert cookie
        return f"session:{cookie.partition('.')[0]}"


@pytest.fixture
async def make_entrance(make_host: HostFactory, valkey_url: str) -> AsyncIterator[Callable[..., Awaitable[Entrance]]]:
    async with AsyncExitStack() as stack:

        async def make(
            cache: Cache | None = None,
            client_secret: str = "",
            api_base: str = "",
            call_limit_s: float = 4,
            **more: Any,
        ) -> Entrance:
            discord = await stack.enter_async_context(RunningSimulator(SimulatorConfig(rate_limits=False)))
            client = make_client(valkey_url)
            stack.push_async_callback(client.aclose)
            cache = cache or RedisCache(client)
            oauth = DiscordOAuth(
                OAuthSettings(
                    client_id=discord.config.application_id,
                    client_secret=client_secret or discord.config.client_secret,
                    api_base=api_base or discord.api_base,
                    authorize_url=f"{discord.base_url}/oauth2/authorize",
                ),
                call_limit_s,
            )
            stack.push_async_callback(oauth.close)
            clock = [time.time()]
            sessions = Sessions(cache, oauth, secret=API_SECRET, ttl_s=COOKIE_TTL_S, now=lambda: clock[0])
            stack.push_async_callback(sessions.close)
            degrading = DegradingCache(cache)
            user_guilds = UserGuilds(degrading, oauth, sessions)
            login = Login(cache, sessions, oauth, user_guilds, more.pop("throttle", None))
            host = await make_host(login=login, access={"cache": degrading, "user_guilds": user_guilds}, **more)
            in_guilds = set(discord.simulator.world.guilds)
            host.system.answers[FindGuilds] = lambda asked: tuple(filter(in_guilds.__contains__, asked.guild_ids))
            return Entrance(host, discord, cache, login, oauth, clock)

        yield make


@pytest.fixture
async def entrance(make_entrance: Callable[..., Awaitable[Entrance]]) -> Entrance:
    return await make_entrance()


EXPORTS: dict[str, Any] = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


@dataclass
class Receiver:
    """An OpenTelemetry receiver: answers as told, one status after the other, then 200; or never."""

    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)  # path, key, what was exported
    url: str = ""
    silent: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.silent:
            await asyncio.Event().wait()
        exported = EXPORTS[request.path].FromString(body)
        self.requests.append((request.path, request.headers.get("x-key", ""), exported))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="no room")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()
