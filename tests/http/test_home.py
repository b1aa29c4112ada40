"""The address itself, opened in a browser."""

from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from flora.http.access import GuildAccess
from flora.http.app import create_app
from flora.http.deps import Deps
from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.peers import PeerBook
from flora.messages.lifecycle import Peers


class NoBridge:
    """Nobody to talk to."""

    async def ask(self, to, request, limit_s):
        raise AssertionError("the home page asks nobody")

    def tell(self, to, message):
        raise AssertionError("the home page tells nobody")


class NoAudit:
    """Nothing is changed by looking."""

    def record(self, *line):
        raise AssertionError("the home page changes nothing")


def deps(simulator_url: str | None) -> Deps:
    peers, limits = PeerBook(NoBridge(), Peers()), HttpLimits()
    return Deps(
        peers=peers,
        identity=(),
        access=GuildAccess(peers, limits),
        log_streams=LogStreams(peers, limits),
        audit=NoAudit(),
        simulator_url=simulator_url,
    )


async def test_given_a_simulated_discord_when_home_is_opened_then_it_leads_there():
    async with TestClient(TestServer(create_app(deps("http://127.0.0.1:9")))) as client:
        answer = await client.get("/", allow_redirects=False)

        assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:9")


async def test_given_a_real_discord_when_home_is_opened_then_it_says_where_to_go():
    async with TestClient(TestServer(create_app(deps(None)))) as client:
        answer = await client.get("/", allow_redirects=False)

        assert answer.status == 200
        assert "/api" in await answer.text()
