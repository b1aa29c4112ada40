"""The real server on a free port, with the rest of the system played by a few answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from flora.http.access import GuildAccess
from flora.http.auth import BearerTokens
from flora.http.deps import Deps
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.peers import PeerBook
from flora.http.server import ApiServer, Listening
from flora.messages.base import Address, Message, Request
from flora.messages.errors import Forbidden, TimedOut
from flora.messages.gateway import CheckGuildAccess, DescribeMember
from flora.messages.ids import UserId
from flora.messages.lifecycle import Peers

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


class FakeTokens:
    """One valid token. Counts look-ups."""

    def __init__(self) -> None:
        self.looked_up = 0

    async def authenticate(self, plaintext: str) -> UserId | None:
        self.looked_up += 1
        return UserId(USER) if plaintext == TOKEN else None


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

        async def make(limits: HttpLimits | None = None, operator_secret: str | None = OPERATOR_SECRET) -> Host:
            limits = limits or HttpLimits()
            system, tokens, audit = FakeSystem(), FakeTokens(), FakeAudit()
            system.answers[CheckGuildAccess] = grant_own_guild
            system.answers[DescribeMember] = lambda _: {"username": "ada"}
            peers = PeerBook(system, PEERS)
            deps = Deps(
                peers=peers,
                identity=(BearerTokens(tokens),),
                access=GuildAccess(peers, limits),
                log_streams=LogStreams(peers, limits),
                audit=audit,
                operator_secret=operator_secret,
                limits=limits,
            )
            server = ApiServer(deps)
            listening = await server.start("127.0.0.1", 0)
            stack.push_async_callback(server.stop)
            session = await stack.enter_async_context(ClientSession())
            host = Host(system, tokens, deps, server, listening, session, audit)
            stack.callback(host.close_streams)
            return host

        yield make


@pytest.fixture
async def host(make_host: HostFactory) -> Host:
    return await make_host()
