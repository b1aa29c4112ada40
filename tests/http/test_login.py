"""Logging in with a browser, on the real server with the real cache and the simulated Discord."""

from __future__ import annotations

import asyncio
import json
import socket
from http.cookies import SimpleCookie
from typing import Any

import pytest

from flora.http.login import local_path
from flora.http.session_record import token_of
from flora.http.throttle import Rate, Throttle
from flora.messages.errors import Unavailable
from flora.storage.memory import MemoryCache

pytestmark = pytest.mark.service

API_SECRET = "the-secret-that-signs-the-cookies"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


async def message_of(response: Any) -> str:
    return str((await response.json())["message"])


async def test_given_a_person_who_agrees_then_they_are_logged_in_and_where_they_wanted_to_be(entrance: Any) -> None:
    back = await entrance.log_in("/1000/editor?file=a.ts")
    me = await entrance.go("/api/auth/me")
    again = await entrance.log_in()

    assert (back.status, back.headers["Location"]) == (303, "/1000/editor?file=a.ts")
    user = (await me.json())["user"]
    assert (user["id"], user["username"], user["global_name"]) == (entrance.user_id, "robin", "Robin")
    assert again.headers["Location"] == "/"


async def test_given_a_login_then_cookies_are_for_the_server_alone_and_last_as_told(entrance: Any) -> None:
    begun = await entrance.go("/api/auth/login")
    state = SimpleCookie(begun.headers["Set-Cookie"])["flora_oauth_state"]
    ttl_s = await entrance.cache.ttl_s(f"oauth:state:{state.value}")
    back = await entrance.log_in()
    cookies = SimpleCookie("; ".join(back.headers.getall("Set-Cookie")))
    session = SimpleCookie(back.headers.getall("Set-Cookie")[0])["flora_session"]

    assert (state["httponly"], state["samesite"], state["path"], state["max-age"]) == (True, "Lax", "/", "600")
    assert state["secure"] == ""
    assert 595 < ttl_s <= 600
    assert (session["httponly"], session["samesite"], session["max-age"]) == (True, "Lax", "2592000")
    assert cookies["flora_oauth_state"].value == ""
    assert session.value == token_of(session.value.partition(".")[0], API_SECRET)


async def test_given_a_public_address_over_https_then_cookies_are_secure_and_login_moves_there(
    make_entrance: Any,
) -> None:
    public = "https://flora.example/api/auth/callback"
    entrance = await make_entrance(redirect_uri=public, cookie_secure=True)

    moved = await entrance.go("/api/auth/login?next=/x")
    behind_a_proxy = await entrance.go(moved.headers["Location"].removeprefix("https://flora.example"))

    assert moved.headers["Location"] == "https://flora.example/api/auth/login?moved=1&next=%2Fx"
    assert "Set-Cookie" not in moved.headers
    assert "redirect_uri=https%3A%2F%2Fflora.example%2Fapi%2Fauth%2Fcallback" in behind_a_proxy.headers["Location"]
    assert "Secure" in behind_a_proxy.headers["Set-Cookie"]
    assert moved.headers["Strict-Transport-Security"] == "max-age=31536000"


async def test_given_a_session_then_discords_tokens_do_not_lie_in_clear(entrance: Any) -> None:
    await entrance.log_in()
    grants = entrance.discord.simulator.grants

    record = json.loads(await entrance.cache.get(entrance.record_key()))

    assert sorted(record) == ["access_token", "expires_at", "refresh_token", "scope", "token_type", "user"]
    assert sorted(record["user"]) == ["avatar", "global_name", "id", "username"]
    assert record["scope"] == "identify guilds guilds.members.read"
    for token in (*grants._access, *grants._refresh):
        assert token not in json.dumps(record)


async def test_given_a_page_that_asks_who_is_there_then_the_browser_keeps_the_cookie_longer(entrance: Any) -> None:
    await entrance.log_in()
    token = entrance.cookie()

    me = await entrance.go("/api/auth/me")
    entrance.host.session.cookie_jar.clear()
    by_token = await entrance.host.get("/api/auth/me")

    renewed = SimpleCookie(me.headers["Set-Cookie"])["flora_session"]
    assert (renewed.value, renewed["max-age"], renewed["httponly"]) == (token, "2592000", True)
    assert "Set-Cookie" not in by_token.headers


async def test_given_wrong_states_then_each_has_its_own_words_and_the_right_one_works_once(entrance: Any) -> None:
    target = await entrance.agree(await entrance.to_discord())
    state = entrance.cookie("flora_oauth_state")
    mixed_up = await entrance.go(target.replace(state, state[::-1]))
    first = await entrance.go(target)
    no_cookie = await entrance.go(target)
    used = await entrance.go(target, headers={"Cookie": f"flora_oauth_state={state}"})

    assert first.status == 303
    assert [answer.status for answer in (mixed_up, no_cookie, used)] == [401, 401, 401]
    assert [await message_of(answer) for answer in (mixed_up, no_cookie, used)] == [
        "Unauthorized: OAuth state mismatch",
        "Unauthorized: Missing OAuth state",
        "Unauthorized: Expired OAuth state",
    ]


async def test_given_a_person_who_cancels_then_a_browser_gets_a_page_and_a_program_json(entrance: Any) -> None:
    state = (await entrance.to_discord())["state"]
    path = f"/api/auth/callback?error=access_denied&state={state}"

    page, plain = await entrance.go(path, headers=BROWSER), await entrance.go(path)

    assert (page.status, page.content_type) == (400, "text/html")
    assert "the login was cancelled" in await page.text()
    assert 'href="/api/auth/login"' in await page.text()
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert await message_of(plain) == "Bad request: the login was cancelled"


async def test_given_a_code_that_discord_does_not_know_then_the_person_is_asked_to_try_again(entrance: Any) -> None:
    target = await entrance.agree(await entrance.to_discord())
    entrance.discord.simulator.grants._codes.clear()

    answer = await entrance.go(target)

    assert (answer.status, (await answer.json())["code"]) == (401, "UNAUTHORIZED")
    assert "Discord did not confirm" in await message_of(answer)


async def test_given_discord_is_gone_or_refuses_us_then_the_answer_is_bad_gateway(make_entrance: Any) -> None:
    wrong = await make_entrance(client_secret="not-this-one")
    gone = await make_entrance()
    target = await gone.agree(await gone.to_discord())
    await gone.discord.close()

    answers = [await wrong.log_in(), await gone.go(target)]

    assert [(answer.status, (await answer.json())["code"]) for answer in answers] == [(502, "DISCORD_HTTP_ERROR")] * 2


@pytest.mark.parametrize("rest", ["", ".anything", ".a.b"])
async def test_given_further_parts_after_the_signature_then_they_are_ignored(entrance: Any, rest: str) -> None:
    await entrance.log_in()
    token = entrance.cookie()

    answer = await entrance.go("/api/auth/me", headers={"Cookie": f"flora_session={token}{rest}"})

    assert answer.status == 200


async def test_given_forged_or_foreign_cookies_then_login_is_required(entrance: Any) -> None:
    await entrance.log_in()
    token = entrance.cookie()
    session_id, _, signature = token.partition(".")
    entrance.host.session.cookie_jar.clear()
    forged = [
        session_id,
        f"{session_id}.",
        f"{session_id}.{signature[:-1]}",
        f"x{token}",
        token_of(session_id, "other"),
    ]

    for value in (*forged, "", "..", "a" * 5000, token_of("A" * 24, API_SECRET)):
        answer = await entrance.go("/api/auth/me", headers={"Cookie": f"flora_session={value}"})
        assert (answer.status, await message_of(answer)) == (401, "Unauthorized: Login required"), value


async def test_given_both_a_session_and_a_token_then_the_session_wins(entrance: Any) -> None:
    await entrance.log_in()

    both = await entrance.host.get("/api/auth/me")
    entrance.host.session.cookie_jar.clear()
    token_only = await entrance.host.get("/api/auth/me")

    assert (await both.json())["user"]["id"] == entrance.user_id
    assert (await token_only.json())["user"]["id"] == "77"


async def test_given_a_logout_then_session_and_discords_tokens_are_over(entrance: Any) -> None:
    await entrance.log_in()
    token, key = entrance.cookie(), entrance.record_key()

    out = await entrance.host.call("POST", "/api/auth/logout", token=None)
    twice = await entrance.host.call("POST", "/api/auth/logout", token=None)
    replayed = await entrance.go("/api/auth/me", headers={"Cookie": f"flora_session={token}"})

    assert await out.json() == {"logged_out": True}
    assert SimpleCookie(out.headers["Set-Cookie"])["flora_session"]["max-age"] == "0"
    assert await twice.json() == {"logged_out": False}
    assert replayed.status == 401
    assert await entrance.cache.get(key) is None
    assert not entrance.discord.simulator.grants._access


async def test_given_somebody_who_logs_in_again_then_the_session_before_is_over(entrance: Any) -> None:
    await entrance.log_in()
    first = entrance.record_key()

    await entrance.log_in()

    assert entrance.record_key() != first
    assert await entrance.cache.get(first) is None
    assert (await entrance.go("/api/auth/me")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_given_another_sites_page_then_it_cannot_act_for_the_session(
    entrance: Any, headers: dict[str, str]
) -> None:
    await entrance.log_in()

    out = await entrance.host.call("POST", "/api/auth/logout", token=None, headers=headers)

    assert out.status == 403
    assert (await entrance.go("/api/auth/me", headers=headers)).status == 200


async def test_given_many_begun_logins_then_further_ones_are_refused_until_later(make_entrance: Any) -> None:
    now = 0.0
    throttle = Throttle(each=Rate(per_s=0.5, burst=3), together=Rate(per_s=9, burst=99), clock=lambda: now)
    entrance = await make_entrance(throttle=throttle)

    answers = [await entrance.go("/api/auth/login") for _ in range(4)]
    now = 2.0
    later = await entrance.go("/api/auth/login")

    assert [answer.status for answer in answers] == [303, 303, 303, 429]
    assert answers[3].headers["Retry-After"] == "2"
    assert later.status == 303


class BrokenCache(MemoryCache):
    """Redis is away while `gone` is set."""

    gone = False

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await super().get(key)

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._check()
        await super().set(key, value, ttl_s=ttl_s)

    def _check(self) -> None:
        if self.gone:
            raise Unavailable("Redis is not available; try again in a moment", retry_after_s=3)


async def test_given_redis_is_gone_then_logins_wait_and_tokens_go_on_and_sessions_come_back(make_entrance: Any) -> None:
    cache = BrokenCache()
    entrance = await make_entrance(cache=cache)
    await entrance.log_in()
    token = entrance.cookie()

    cache.gone = True
    refused = [await entrance.go(path) for path in ("/api/auth/login", "/api/auth/me")]
    logout = await entrance.host.call("POST", "/api/auth/logout", token=None)
    bearer = await entrance.host.get("/api/auth/me")
    cache.gone = False

    assert [(answer.status, answer.headers["Retry-After"]) for answer in (*refused, logout)] == [(503, "3")] * 3
    assert (bearer.status, (await bearer.json())["user"]["id"]) == (200, "77")
    assert entrance.cookie() == token
    assert (await entrance.go("/api/auth/me")).status == 200


@pytest.mark.parametrize(
    "wrong",
    [None, "", "x", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "/a\nSet-Cookie: x",
     "/" + "a" * 1000, "javascript:alert(1)", "/%0a\r", "/ü"],
)  # fmt: skip
def test_given_a_way_out_of_the_site_then_home_is_where_it_leads(wrong: str | None) -> None:
    assert local_path(wrong) == "/"


@pytest.mark.parametrize("right", ["/", "/a", "/1000/kv?x=1&y=%2F#part", "/api/auth/me"])
def test_given_a_path_of_ours_then_it_is_kept(right: str) -> None:
    assert local_path(right) == right


def test_given_many_addresses_when_throttled_then_each_has_its_own_share_of_the_whole() -> None:
    throttle = Throttle(
        each=Rate(per_s=1, burst=2), together=Rate(per_s=1, burst=5), max_addresses=2, clock=lambda: 0.0
    )

    assert [throttle.wait_s("10.0.0.1") for _ in range(3)] == [0, 0, 1]
    assert [throttle.wait_s(f"2001:db8::{number}") for number in range(3)] == [0, 0, 1]
    assert [throttle.wait_s("10.0.0.2") > 0 for _ in range(2)] == [False, True]
    assert len(throttle._buckets) == 2


async def test_given_a_discord_that_never_answers_then_the_wait_is_bounded(make_entrance: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        entrance = await make_entrance(api_base=f"http://127.0.0.1:{port}/api/v10", call_limit_s=0.1)

        answer = await asyncio.wait_for(entrance.log_in(), 3)

    assert answer.status == 502
