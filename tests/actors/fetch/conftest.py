"""A web server on loopback that misbehaves on request, and fetches that may reach it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from flora.actors.fetch.executor import Fetch, open_session, within
from flora.actors.fetch.guard import Guard
from flora.actors.fetch.request import FetchRequest, FetchResponse
from flora.actors.fetch.resolver import GuardedResolver
from flora.actors.guild_secrets.filling import FetchSecrets, no_secrets
from flora.messages.settings import FetchSettings


class Site:
    """A server with some pages; keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.now = self.most = self.cut_off = 0
        self.release = asyncio.Event()
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await getattr(self, "page_" + request.path.strip("/").partition("/")[0])(request)
        except (asyncio.CancelledError, ConnectionError):
            self.cut_off += 1
            raise
        finally:
            self.now -= 1

    async def page_echo(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "method": request.method,
                "headers": [[name.lower(), value] for name, value in request.headers.items()],
                "body": self.bodies[-1].decode("latin-1"),
            }
        )

    async def page_to(self, request: web.Request) -> web.Response:
        """/to/302?http://…"""
        status = int(request.path.rpartition("/")[2])
        return web.Response(status=status, headers={"Location": request.rel_url.query_string})

    async def page_sends(self, request: web.Request) -> web.Response:
        """Leads to where the body says."""
        return web.Response(status=302, headers={"Location": self.bodies[-1].decode()})

    async def page_mirror(self, request: web.Request) -> web.Response:
        """Repeats in `Location` what it was asked for, as servers do that add a slash; /mirror/slash/… does not."""
        if request.path.endswith("/"):
            return web.json_response({"path": request.raw_path})
        return web.Response(status=308, headers={"Location": f"{request.url}/"})

    async def page_loop(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/loop"})

    async def page_bytes(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(int(request.path.rpartition("/")[2])))

    async def page_endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(10_000))

    async def page_bomb(self, request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(20_000_000)), headers={"Content-Encoding": "gzip"})

    async def page_slow(self, request: web.Request) -> web.StreamResponse:
        """A byte, and then nothing."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await self.release.wait()
        return response

    async def page_wait(self, request: web.Request) -> web.Response:
        await self.release.wait()
        return web.Response(text="released")

    async def page_early(self, request: web.Request) -> web.StreamResponse:
        """Promises a hundred bytes and leaves after one."""
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def page_headers(self, request: web.Request) -> web.Response:
        """/headers/10000 sends one header of that length, /headers/x200 sends so many."""
        asked = request.path.rpartition("/")[2]
        if asked[0] == "x":
            return web.Response(headers={f"X-{n}": "y" for n in range(int(asked[1:]))})
        return web.Response(headers={"X-Long": "y" * int(asked)})

    async def page_status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.path.rpartition("/")[2]), reason="Indeed", headers={"X-Name": "é"})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    runner = web.ServerRunner(web.Server(made.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    made.port = runner.addresses[0][1]
    yield made
    made.release.set()
    await runner.cleanup()


@pytest.fixture
async def fetch(site: Site) -> AsyncIterator[Callable[..., Awaitable[FetchResponse]]]:
    """`fetch(path or URL, allow=…, limit settings…, method=…, headers=…)`."""
    opened: list[Any] = []
    request_fields = {"method", "headers", "body", "redirect"}

    async def run(where: str, *, secrets: FetchSecrets | None = None, **given: Any) -> FetchResponse:
        request = {name: given.pop(name) for name in request_fields & set(given)}
        settings = FetchSettings(**{"allow": (f"127.0.0.1:{site.port}",), "timeout_ms": 5000} | given)
        guard = Guard(settings.allow)
        resolver = GuardedResolver(guard)
        session = open_session(resolver)
        opened.extend((session, resolver))
        url = where if where.startswith("http") else site.url(where)
        asked = Fetch(FetchRequest(url, **request), guard=guard, settings=settings, secrets=secrets or no_secrets("42"))
        return await within(settings.timeout_ms, asked.run(session))

    yield run
    for each in opened:
        with suppress(Exception):
            await each.close()
