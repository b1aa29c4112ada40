"""Raw clients for the simulated Discord: what a Discord library does, one step at a time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import orjson
import pytest

from flora.http.simulator import RunningSimulator, SimulatorConfig
from flora.http.simulator.intents import KNOWN

ALL_INTENTS = KNOWN
RECEIVE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> int:
        return int(self.body["code"])


class Client:
    """Speaks HTTP with one simulator: REST as the bot, `/sim/` as a test."""

    def __init__(self, sim: RunningSimulator, session: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.session = session

    async def rest(self, method: str, path: str, body: Any = None, *, token: str | None = "", **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = token or f"Bot {self.sim.config.bot_token}"
        return await self._send(method, self.sim.api_base + path, body, headers=headers, **options)

    async def control(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        return await self._send(method, self.sim.base_url + path, body, **options)

    async def _send(self, method: str, url: str, body: Any, **options: Any) -> Answer:
        if body is not None:
            options["json"] = body
        async with self.session.request(method, url, **options) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json" and raw
            return Answer(response.status, orjson.loads(raw) if is_json else raw, response.headers)


class Gateway:
    """One gateway websocket, read frame by frame."""

    def __init__(self, sim: RunningSimulator, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.sim = sim
        self.socket = socket
        self.session_id = ""
        self.sequence = 0
        self._inflate = zlib.decompressobj()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close(code=4000)

    async def receive(self) -> dict[str, Any]:
        """The next payload; fails the test if the connection ended instead."""
        message = await self.socket.receive(RECEIVE_LIMIT_S)
        if message.type is aiohttp.WSMsgType.BINARY:
            raw = self._inflate.decompress(message.data)
        else:
            assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {self.socket.close_code}"
            raw = message.data
        payload: dict[str, Any] = orjson.loads(raw)
        if payload["s"] is not None:
            self.sequence = payload["s"]
        return payload

    async def send(self, op: int, data: Any) -> None:
        await self.socket.send_str(orjson.dumps({"op": op, "d": data}).decode())

    async def event(self, name: str) -> dict[str, Any]:
        """The data of the next dispatch of that name; others are passed over."""
        while True:
            payload = await self.receive()
            if payload["t"] == name:
                data: dict[str, Any] = payload["d"]
                return data

    async def events_until(self, name: str) -> list[str]:
        """Names of the dispatches up to that one, inclusive."""
        names: list[str] = []
        while not names or names[-1] != name:
            payload = await self.receive()
            if payload["op"] == 0:
                names.append(payload["t"])
        return names

    async def identify(self, intents: int = ALL_INTENTS, **more: Any) -> dict[str, Any]:
        """Says hello and returns READY."""
        assert (await self.receive())["op"] == 10
        token = more.pop("token", self.sim.config.bot_token)
        await self.send(2, {"token": token, "intents": intents, "properties": {}, **more})
        ready = await self.event("READY")
        self.session_id = ready["session_id"]
        return ready

    async def close_code(self) -> int | None:
        """Reads until the server closes."""
        async with asyncio.timeout(RECEIVE_LIMIT_S):
            async for _ in self.socket:
                pass
        return self.socket.close_code


class Lab:
    """Starts simulators and clients for one test, and ends them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(self, **settings: Any) -> Client:
        sim = await self._stack.enter_async_context(RunningSimulator(SimulatorConfig(**settings)))
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        return Client(sim, session)

    async def gateway(self, client: Client, query: str = "?v=10&encoding=json") -> Gateway:
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        socket = await session.ws_connect(client.sim.base_url + "/" + query, max_msg_size=0)
        return await self._stack.enter_async_context(Gateway(client.sim, socket))


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        yield Lab(stack)


@pytest.fixture
async def client(lab: Lab) -> Client:
    """A simulator without rate limits and a client for it."""
    return await lab.start(rate_limits=False)


@pytest.fixture
def fault_at() -> Callable[[Any, str], str]:
    """Finds the code of the first fault noted at a path such as `embeds.0.title` in a 50035 body."""

    def find(body: dict[str, Any], path: str) -> str:
        node = body["errors"]
        for key in path.split(".") if path else ():
            node = node[key]
        return str(node["_errors"][0]["code"])

    return find
