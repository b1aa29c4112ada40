"""API tokens, looked after by whoever is logged in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flora.storage import token_text

pytestmark = pytest.mark.service


async def by_session(entrance: Any, method: str, path: str, **more: Any) -> Any:
    return await entrance.host.call(method, path, token=None, **more)


async def test_given_a_session_then_tokens_are_made_listed_used_and_deleted(entrance: Any) -> None:
    await entrance.log_in()

    made = await (await by_session(entrance, "POST", "/api/tokens", json={"label": "laptop", "other": 1})).json()
    bare = await (await by_session(entrance, "POST", "/api/tokens")).json()
    assert await entrance.host.tokens.authenticate(made["token"]) == entrance.user_id
    listed = await (await by_session(entrance, "GET", "/api/tokens")).json()
    deleted = await by_session(entrance, "DELETE", f"/api/tokens/{made['token_id']}")
    twice = await by_session(entrance, "DELETE", f"/api/tokens/{made['token_id']}")

    assert made["token"].startswith(made["token_id"] + ".")
    assert [(token["token_id"], token["label"], token["expires_at"]) for token in listed] == [
        (bare["token_id"], None, None),
        (made["token_id"], "laptop", None),
    ]
    assert listed[1]["last_used_at"].endswith("+00:00")
    assert sorted(listed[0]) == ["created_at", "expires_at", "label", "last_used_at", "token_id"]
    assert (deleted.status, await deleted.json()) == (200, None)
    assert (twice.status, (await twice.json())["message"]) == (404, "Resource not found: token not found")
    assert await entrance.host.tokens.authenticate(made["token"]) is None


async def test_given_changes_of_tokens_then_the_audit_log_hears_of_them_without_the_token(entrance: Any) -> None:
    await entrance.log_in()

    made = await (await by_session(entrance, "POST", "/api/tokens", json={"expires_in_days": 3})).json()
    await by_session(entrance, "DELETE", f"/api/tokens/{made['token_id']}")

    lines = entrance.host.audit.told
    assert [line[2:4] for line in lines] == [("token.create", made["token_id"]), ("token.delete", made["token_id"])]
    assert lines[0][0] is None
    assert (lines[0][1].kind, lines[0][1].user_id, lines[0][1].username) == ("session", entrance.user_id, "robin")
    assert made["token"] not in repr(lines)


async def test_given_an_end_then_the_token_has_it(entrance: Any) -> None:
    await entrance.log_in()

    made = await (await by_session(entrance, "POST", "/api/tokens", json={"expires_in_days": 7})).json()

    ends = datetime.fromisoformat(made["expires_at"])
    assert timedelta(days=6, hours=23) < ends - datetime.now(UTC) <= timedelta(days=7)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"label": "x" * 101}, 400),
        ({"label": "a\0"}, 400),
        ({"label": 5}, 422),
        ({"expires_in_days": 0}, 400),
        ({"expires_in_days": 3651}, 400),
        ({"expires_in_days": True}, 422),
        ({"expires_in_days": "7"}, 422),
        ([], 422),
    ],
)
async def test_given_nonsense_then_no_token_is_made(entrance: Any, body: Any, status: int) -> None:
    await entrance.log_in()

    answer = await by_session(entrance, "POST", "/api/tokens", json=body)

    assert answer.status == status
    assert await (await by_session(entrance, "GET", "/api/tokens")).json() == []


async def test_given_too_many_tokens_then_the_next_one_is_refused(
    entrance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_text, "MAX_PER_USER", 2)
    await entrance.log_in()

    answers = [await by_session(entrance, "POST", "/api/tokens") for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 409]
    assert (await answers[2].json())["details"] == {"limit": 2}


async def test_given_others_than_who_is_logged_in_then_tokens_are_out_of_reach(entrance: Any) -> None:
    by_token = [
        await entrance.host.call(method, path)
        for method, path in (("GET", "/api/tokens"), ("POST", "/api/tokens"), ("DELETE", "/api/tokens/abcdefghijkl"))
    ]
    forged = await entrance.go("/api/tokens", headers={"Cookie": f"flora_session={'A' * 24}.x"})
    await entrance.log_in()
    theirs = (await entrance.host.tokens.create("77", None)).partition(".")[0]
    of_others = await by_session(entrance, "DELETE", f"/api/tokens/{theirs}")
    from_elsewhere = await by_session(entrance, "POST", "/api/tokens", headers={"Sec-Fetch-Site": "cross-site"})

    assert [(answer.status, (await answer.json())["message"]) for answer in by_token] == [
        (401, "Unauthorized: Login required")
    ] * 3
    assert (forged.status, (await forged.json())["message"]) == (401, "Unauthorized: Session expired")
    assert of_others.status == 404
    assert from_elsewhere.status == 403


async def test_given_a_token_then_it_can_end_itself_alone(entrance: Any) -> None:
    token, other = [await entrance.host.tokens.create("77", None) for _ in range(2)]
    await entrance.log_in()

    by_a_session = await entrance.host.call("DELETE", "/api/tokens/current", token=token)
    entrance.host.session.cookie_jar.clear()
    ended = await entrance.host.call("DELETE", "/api/tokens/current", token=token)
    after = await entrance.host.get("/api/auth/me", token=token)

    assert by_a_session.status == 400
    assert (ended.status, after.status) == (200, 401)
    assert await entrance.host.tokens.authenticate(other) == "77"
