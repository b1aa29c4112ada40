"""OAuth2 login: the page, the code, the tokens, and what they open."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from conftest import Client, Lab

pytestmark = pytest.mark.service
REDIRECT = "http://127.0.0.1:3000/api/auth/callback"


def query(client: Client, **more: str) -> dict[str, str]:
    return {
        "client_id": client.sim.config.application_id, "redirect_uri": REDIRECT, "response_type": "code",
        "scope": "identify guilds", "state": "s<>", **more,
    }  # fmt: skip


def credentials(client: Client) -> dict[str, str]:
    return {"client_id": client.sim.config.application_id, "client_secret": client.sim.config.client_secret}


async def a_code(client: Client, user_id: str) -> dict[str, list[str]]:
    form = {**query(client), "user_id": user_id}
    sent_back = await client.control("POST", "/oauth2/authorize", data=form, allow_redirects=False)
    assert sent_back.status == 302
    target = urlsplit(sent_back.headers["Location"])
    assert target._replace(query="").geturl() == REDIRECT
    return parse_qs(target.query)


async def test_given_a_person_who_agrees_then_the_tokens_open_their_guilds(client: Client) -> None:
    guild = client.sim.add_guild()
    page = await client.control("GET", "/oauth2/authorize", params=query(client))
    assert b"owner-of-guild" in page.body
    assert b"s&lt;&gt;" in page.body

    back = await a_code(client, guild.owner_id)
    exchange = {
        **credentials(client),
        "grant_type": "authorization_code",
        "code": back["code"][0],
        "redirect_uri": REDIRECT,
    }
    tokens = await client.rest("POST", "/oauth2/token", token=None, data=exchange)
    bearer = f"Bearer {tokens.body['access_token']}"
    me = await client.rest("GET", "/users/@me", token=bearer)
    guilds = await client.rest("GET", "/users/@me/guilds", token=bearer)

    assert back["state"] == ["s<>"]
    assert tokens.body["token_type"] == "Bearer"
    assert me.body["id"] == guild.owner_id
    assert [(g["id"], g["owner"], int(g["permissions"]) & 0x28) for g in guilds.body] == [(guild.id, True, 0x28)]
    assert (await client.rest("GET", f"/guilds/{guild.id}", token=bearer)).status == 401
    assert (await client.rest("GET", f"/users/@me/guilds/{guild.id}/member", token=bearer)).code == 50001
    assert (await client.rest("POST", "/oauth2/token", token=None, data=exchange)).status == 400


async def test_given_a_refresh_token_then_it_works_once_and_revoked_tokens_do_not(client: Client) -> None:
    guild = client.sim.add_guild()
    code = (await a_code(client, guild.owner_id))["code"][0]
    grants = client.sim.simulator.grants
    first = grants.exchange(code, REDIRECT)
    assert first is not None

    renew = {**credentials(client), "grant_type": "refresh_token", "refresh_token": str(first["refresh_token"])}
    second = await client.rest("POST", "/oauth2/token", token=None, data=renew)
    third = await client.rest("POST", "/oauth2/token", token=None, data=renew)
    await client.rest("POST", "/oauth2/token/revoke", token=None,
                      data={**credentials(client), "token": second.body["access_token"]})  # fmt: skip

    assert (second.status, third.status) == (200, 400)
    assert (await client.rest("GET", "/users/@me", token=f"Bearer {second.body['access_token']}")).status == 401


async def test_given_a_person_who_cancels_then_they_are_sent_back_without_a_code(client: Client) -> None:
    form = {**query(client), "cancel": "1"}

    sent_back = await client.control("POST", "/oauth2/authorize", data=form, allow_redirects=False)

    target = parse_qs(urlsplit(sent_back.headers["Location"]).query)
    assert (target["error"], target["state"]) == (["access_denied"], ["s<>"])
    assert "code" not in target


async def test_given_the_page_then_it_says_who_is_who_and_no_name_becomes_part_of_it(client: Client) -> None:
    names = ["<b>Guild</b>", *(f"Guild {number}" for number in range(4))]
    owner = client.sim.add_guild(names[0]).owner_id
    for name in names[1:]:
        client.sim.add_guild(name, owner_id=owner)

    page = await client.control("GET", "/oauth2/authorize", params=query(client))

    assert b"owner of &lt;b&gt;Guild&lt;/b&gt;, Guild 0, Guild 1 and 2 more" in page.body
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.headers["X-Frame-Options"] == "DENY"


async def test_given_wrong_credentials_or_addresses_then_nothing_is_given(lab: Lab) -> None:
    client = await lab.start(redirect_uris=(REDIRECT,))

    wrong = {**credentials(client), "client_secret": "guess", "grant_type": "authorization_code", "code": "x"}
    assert (await client.rest("POST", "/oauth2/token", token=None, data=wrong)).status == 401
    for bad in ({"redirect_uri": "https://evil.example"}, {"redirect_uri": "javascript:alert(1)"}, {"client_id": "1"}):
        assert (await client.control("GET", "/oauth2/authorize", params=query(client, **bad))).status == 400
