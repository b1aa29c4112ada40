"""A person with a browser, from the login page of the simulated Discord to a deploy, and out again."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from typing import Any

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

PONG = "on('messageCreate', async (msg) => { if (msg.content === '!mine') await msg.reply('of my own') })"


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def open(self, url: str, form: dict[str, str] | None = None) -> Any:
        data = None if form is None else urllib.parse.urlencode(form).encode()
        return self._opener.open(url, data, timeout=20)

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"{self.url}/api{path}", data, headers, method=method)
        try:
            with self._opener.open(request, timeout=40) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read())

    def log_in(self, user_id: str) -> str:
        """Picks who one is; gives the address where the browser ends up."""
        with self.open(f"{self.url}/api/auth/login?next=/api/auth/me") as page:
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))
            place = urllib.parse.urljoin(page.url, "/oauth2/authorize")
        with self.open(place, {**asked, "user_id": user_id}) as end:
            return str(end.url)


def test_given_a_person_who_logs_in_when_deploying_then_their_script_answers_and_after_logout_nothing_does(flora):
    guild = flora.new_guild()
    browser = Browser(flora.url)

    ended_at = browser.log_in(guild.owner_id)
    me = browser.api("GET", "/auth/me")
    guilds = browser.api("GET", "/guilds")
    deployed = browser.api("POST", f"/deployments/{guild.id}", {"entry": "main.js", "bundle": PONG})
    answer = guild.ask("!mine")
    token = browser.api("POST", "/tokens", {"label": "laptop", "expires_in_days": 1})[1]["token"]
    by_token = flora.api("GET", "/auth/me", token=token)
    out = browser.api("POST", "/auth/logout")
    after = [browser.api("GET", path)[0] for path in ("/auth/me", "/guilds", "/tokens", f"/deployments/{guild.id}")]

    assert ended_at == f"{flora.url}/api/auth/me"
    assert me[1]["user"]["id"] == guild.owner_id
    assert guild.id in {row["id"] for row in guilds[1]}
    assert (deployed[0], answer) == (200, "of my own")
    assert by_token["user"]["id"] == guild.owner_id
    assert out == (200, {"logged_out": True})
    assert after == [401, 401, 401, 401]
