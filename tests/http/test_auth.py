"""Who is let in, and what the others hear."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from flora.http.access import GuildAccess
from flora.http.auth import Identity
from flora.http.limits import HttpLimits
from flora.http.peers import PeerBook
from flora.messages.deployment import Deploy, GetDeployment, ListDeployments
from flora.messages.errors import BadRequest, DiscordError, DiscordRateLimited, Forbidden, StorageError
from flora.messages.gateway import CheckGuildAccess
from flora.messages.ids import GuildId, UserId
from flora.messages.lifecycle import Peers, ReadMetrics

pytestmark = pytest.mark.service

TOKEN = "abcdefghijkl.abcdefghijklmnopqrstuvwxyz012345"
CALLER = Identity(kind="token", user_id=UserId("77"))


async def test_a_token_knows_its_user_and_no_more(host: Any) -> None:
    response = await host.get("/api/auth/me")

    assert await response.json() == {"user": {"id": "77", "username": "", "global_name": None, "avatar": None}}


async def test_the_scheme_may_be_written_in_any_case(host: Any) -> None:
    response = await host.get("/api/auth/me", token=None, headers={"Authorization": f"bearer {TOKEN}"})

    assert response.status == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", f"Token {TOKEN}", f"Bearer x{TOKEN}"])
async def test_without_a_valid_credential_login_is_required(host: Any, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    response = await host.get("/api/auth/me", token=None, headers=headers)

    assert response.status == 401
    assert (await response.json())["message"] == "Unauthorized: Login required"
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["short", "x" * 19, "x" * 300])
async def test_what_cannot_be_a_token_needs_no_look_up(host: Any, token: str) -> None:
    assert (await host.get("/api/auth/me", token=token)).status == 401
    assert host.tokens.looked_up == 0


async def test_given_the_token_store_fails_when_called_then_nobody_is_let_in_or_told_to_log_in(host: Any) -> None:
    async def broken(_: str) -> None:
        raise StorageError("gone")

    host.tokens.authenticate = broken

    assert (await host.get("/api/auth/me")).status == 500


async def test_authentication_comes_before_the_body_is_looked_at(host: Any) -> None:
    response = await host.call("POST", "/api/deployments/1000", token=None, data=b"{not json")

    assert response.status == 401


async def test_nobody_is_asked_for_a_body_before_they_are_known(host: Any) -> None:
    head = (
        "POST /api/deployments/1000 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 8000000\r\nExpect: 100-continue\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", host.listening.port)
    writer.write(f"{head}\r\n".encode())

    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")

    writer.close()


async def test_given_a_known_caller_when_they_wait_to_be_asked_then_they_are(host: Any) -> None:
    host.system.answers[Deploy] = lambda _: {"guild_id": "1000"}
    body = b'{"entry": "a.ts", "bundle": "1"}'
    head = (
        f"POST /api/deployments/1000 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", host.listening.port)

    writer.write(head.encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")

    writer.close()


@pytest.mark.parametrize("guild", ["abc", "0", "-1", "01", "18446744073709551615", "9" * 21, "%D9%A1", "1%2F2"])
async def test_what_is_no_guild_id_is_refused(host: Any, guild: str) -> None:
    response = await host.get(f"/api/deployments/{guild}")

    assert response.status == 400
    assert (await response.json())["message"] == "Bad request: Invalid guild ID"
    assert not host.system.of(CheckGuildAccess)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Forbidden("Admin permission required"), 403, "Forbidden: Admin permission required"),
        (Forbidden("Bot not in guild"), 403, "Forbidden: Bot not in guild"),
        (BadRequest("Invalid user ID"), 400, "Bad request: Invalid user ID"),
        (
            DiscordError("upstream said: private", status=502),
            502,
            "Service unavailable: Discord answered with an error; try again in a moment",
        ),
        (DiscordRateLimited("Discord is busy"), 503, "Service unavailable: Discord is busy"),
    ],
)
async def test_given_the_gateway_refuses_when_called_then_its_words_reach_the_caller(
    host: Any, error: Exception, status: int, message: str
) -> None:
    def refuse(_: CheckGuildAccess) -> None:
        raise error

    host.system.answers[CheckGuildAccess] = refuse

    response = await host.get("/api/deployments/1000")

    assert (response.status, (await response.json())["message"]) == (status, message)


async def test_a_grant_is_remembered_so_that_requests_do_not_each_ask_discord(host: Any) -> None:
    host.system.answers[GetDeployment] = lambda _: {}

    for _ in range(3):
        assert (await host.get("/api/deployments/1000")).status == 200

    assert len(host.system.of(CheckGuildAccess)) == 1


async def test_operator_routes_have_a_secret_of_their_own(make_host: Any) -> None:
    host = await make_host()
    host.system.answers[ReadMetrics] = lambda _: {"isolate_count": 2}
    closed = await make_host(operator_secret="")

    answers = [
        await closed.get("/api/metrics", token="anything"),
        await host.get("/api/metrics", token=None),
        await host.get("/api/metrics", token=TOKEN),
        await host.get("/api/metrics", token="operator-secret-for-tests"),
    ]

    assert [answer.status for answer in answers] == [403, 401, 403, 200]
    assert [(await answer.json())["message"] for answer in answers[:3]] == [
        "Forbidden: Operator access is not configured",
        "Unauthorized: Operator bearer token required",
        "Forbidden: Invalid operator token",
    ]


async def test_the_list_has_the_callers_guilds_and_survives_those_it_cannot_check(host: Any) -> None:
    rows = [{"guild_id": guild, "entry": "a.ts"} for guild in ("1000", "2000", "not-a-number", "3000")]
    host.system.answers[ListDeployments] = lambda _: rows

    def check(request: CheckGuildAccess) -> None:
        match request.guild_id:
            case "2000":
                raise Forbidden("Admin permission required")
            case "3000":
                raise DiscordError("down")
            case "not-a-number":
                raise BadRequest("Invalid guild ID")

    host.system.answers[CheckGuildAccess] = check

    response = await host.get("/api/deployments")

    assert await response.json() == [{"guild_id": "1000", "entry": "a.ts"}]
    assert response.headers["X-Flora-Skipped-Guilds"] == "1"


class Gateway:
    """Answers permission questions; counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, to: object, request: object, limit_s: float = 30) -> None:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    def tell(self, to: object, message: object) -> None: ...


class Permissions:
    """A permission memory with a clock that the test owns."""

    def __init__(self, **limits: Any) -> None:
        self.gateway = Gateway()
        self.now = 0.0
        peers = PeerBook(self.gateway, Peers(gateway="gateway"))
        self.access = GuildAccess(peers, HttpLimits(**limits), clock=lambda: self.now)

    async def check(self, guild: str = "1") -> None:
        await self.access.check(CALLER, GuildId(guild))


async def test_given_a_grant_when_its_time_is_over_then_the_gateway_is_asked_again() -> None:
    permissions = Permissions(access_ok_s=30)

    for now in (0.0, 29.9, 30.1, 31.0):
        permissions.now = now
        await permissions.check()

    assert permissions.gateway.asked == 2


async def test_given_a_refusal_when_repeated_then_it_is_remembered_only_shortly() -> None:
    permissions = Permissions(access_refused_s=3)
    permissions.gateway.error = Forbidden("Admin permission required")

    for now in (0.0, 2.9):
        permissions.now = now
        with pytest.raises(Forbidden, match="Admin permission required"):
            await permissions.check()
    permissions.gateway.error = None
    permissions.now = 3.1
    await permissions.check()

    assert permissions.gateway.asked == 2


async def test_given_discord_is_down_when_asked_again_then_nothing_was_remembered() -> None:
    permissions = Permissions()
    permissions.gateway.error = DiscordError("down")

    with pytest.raises(DiscordError):
        await permissions.check()
    permissions.gateway.error = None
    await permissions.check()

    assert permissions.gateway.asked == 2


async def test_equal_questions_at_once_are_one_and_a_caller_who_leaves_does_not_fail_the_others() -> None:
    permissions = Permissions()
    permissions.gateway.gate.clear()
    first, second = (asyncio.create_task(permissions.check()) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    permissions.gateway.gate.set()
    await second

    assert permissions.gateway.asked == 1


async def test_the_memory_is_bounded() -> None:
    permissions = Permissions(access_entries=2)

    for guild in itertools.islice(itertools.cycle("123"), 6):
        await permissions.check(guild)

    assert permissions.gateway.asked == 6
    assert len(permissions.access._known) == 2
