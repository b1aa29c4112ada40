"""`/api/deployments/{guild}/history`, `/revisions`, `/rollback`, and taking a deployment away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flora.messages.deployment import DeployActor, GetRevision, ListRevisions, RollBack, Undeploy
from flora.messages.errors import BadRequest, LoadFailed, NotFound, StorageError

pytestmark = pytest.mark.service

ID = "6f1c8b52-1111-4111-8111-111111111111"
REVISION = {"id": ID, "guild_id": "1000", "entry": "main.ts", "status": "success"}
GUILD = "/api/deployments/1000"
AT = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)


@pytest.fixture
def telling(host: Any) -> Any:
    host.system.answers[ListRevisions] = lambda _: {"revisions": [REVISION], "more": True}
    host.system.answers[GetRevision] = lambda _: REVISION
    host.system.answers[RollBack] = lambda _: REVISION
    host.system.answers[Undeploy] = lambda request: {"guild_id": request.guild_id, "undeployed": True}
    return host


async def test_given_no_parameters_then_the_history_is_a_bare_array_of_25_with_files(telling: Any) -> None:
    response = await telling.get(f"{GUILD}/history")

    assert (response.status, await response.json()) == (200, [REVISION])
    assert response.headers["X-Flora-More"] == "true"
    (asked,) = telling.system.of(ListRevisions)
    assert (asked.guild_id, asked.limit, asked.before, asked.include_bundle, asked.include_files) == (
        *("1000", 25, None, False, True),
    )


@pytest.mark.parametrize(("given", "limit"), [("0", 1), ("1", 1), ("100", 100), ("1000", 100)])
async def test_given_a_limit_then_it_is_moved_into_its_range(telling: Any, given: str, limit: int) -> None:
    await telling.get(f"{GUILD}/history?limit={given}&include_bundle=true&include_files=false")

    (asked,) = telling.system.of(ListRevisions)
    assert (asked.limit, asked.include_bundle, asked.include_files) == (limit, True, False)


@pytest.mark.parametrize(
    "at",
    [
        "2026-01-02T03:04:05.600000%2B00:00",
        "2026-01-02T03:04:05.600000+00:00",  # a '+' that was not encoded arrives as a space
        "2026-01-02T03:04:05.6Z",
        "2026-01-02T05:04:05.600%2B02:00",
    ],
)
async def test_given_a_cursor_in_any_form_of_its_time_then_it_is_understood(telling: Any, at: str) -> None:
    response = await telling.get(f"{GUILD}/history?cursor_deployed_at={at}&cursor_id={ID.upper()}")

    assert response.status == 200
    assert telling.system.of(ListRevisions)[0].before == (AT, ID)


@pytest.mark.parametrize(
    "query",
    [
        f"cursor_id={ID}",
        "cursor_deployed_at=2026-01-02T03:04:05Z",
        f"cursor_deployed_at=yesterday&cursor_id={ID}",
        f"cursor_deployed_at=2026-01-02T03:04:05&cursor_id={ID}",
        f"cursor_deployed_at=0001-01-01T00:00:00%2B10:00&cursor_id={ID}",
        "cursor_deployed_at=2026-01-02T03:04:05Z&cursor_id=x",
        "limit=-1",
        "include_bundle=yes",
        "include_files=1",
    ],
)
async def test_given_half_a_cursor_or_a_bad_one_then_it_is_a_bad_request(telling: Any, query: str) -> None:
    response = await telling.get(f"{GUILD}/history?{query}")

    assert response.status == 400
    assert (await response.json())["message"].startswith("Bad request: ")
    assert telling.system.of(ListRevisions) == []


async def test_given_a_revision_then_it_is_shown_with_its_bundle_only_when_asked_for(telling: Any) -> None:
    response = await telling.get(f"{GUILD}/revisions/{ID}")
    await telling.get(f"{GUILD}/revisions/{ID}?include_bundle=true")

    assert (response.status, await response.json()) == (200, REVISION)
    asked = telling.system.of(GetRevision)
    assert [(request.guild_id, request.revision_id, request.include_bundle) for request in asked] == [
        *(("1000", ID, False), ("1000", ID, True)),
    ]


async def test_given_no_uuid_or_an_unknown_one_then_400_or_404(telling: Any) -> None:
    def refuse(_: Any) -> None:
        raise NotFound("Deployment revision not found")

    telling.system.answers[GetRevision] = telling.system.answers[RollBack] = refuse

    for method, path in (("GET", "revisions"), ("POST", "rollback")):
        bad = await telling.call(method, f"{GUILD}/{path}/newest")
        unknown = await telling.call(method, f"{GUILD}/{path}/{ID}")
        assert (bad.status, (await bad.json())["message"]) == (400, "Bad request: Invalid revision ID")
        assert unknown.status == 404
        assert (await unknown.json())["message"] == "Resource not found: Deployment revision not found"


@pytest.mark.parametrize(("header", "source"), [("", "api"), ("unknown", "api"), ("webui", "webui"), ("cli", "cli")])
async def test_given_a_rollback_then_it_says_who_and_by_what_means(telling: Any, header: Any, source: str) -> None:
    headers = {"x-flora-deploy-source": header} if header else {}

    response = await telling.call("POST", f"{GUILD}/rollback/{ID}", headers=headers)

    assert (response.status, await response.json()) == (200, REVISION)
    (asked,) = telling.system.of(RollBack)
    assert (asked.guild_id, asked.revision_id, asked.source) == ("1000", ID, source)
    assert asked.actor == DeployActor(kind="token", user_id="77", username="ada")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (LoadFailed("ReferenceError: x"), 400, "Bad request: rollback failed: ReferenceError: x"),
        (
            BadRequest("Rollback target must be a successful revision"),
            400,
            "Bad request: Rollback target must be a successful revision",
        ),
        (StorageError("disk is sad"), None, None),
    ],
)
async def test_given_a_rollback_that_fails_then_whose_fault_it_is_shows(
    telling: Any, error: Exception, status: int | None, message: str | None
) -> None:
    def refuse(_: Any) -> None:
        raise error

    telling.system.answers[RollBack] = refuse

    response = await telling.call("POST", f"{GUILD}/rollback/{ID}")

    if status is None:
        assert response.status >= 500
        assert "sad" not in await response.text()
    else:
        assert (response.status, (await response.json())["message"]) == (status, message)


async def test_given_a_source_nobody_knows_then_a_rollback_is_refused(telling: Any) -> None:
    response = await telling.call("POST", f"{GUILD}/rollback/{ID}", headers={"x-flora-deploy-source": "me"})

    assert response.status == 400
    assert telling.system.of(RollBack) == []


async def test_given_an_undeploy_then_it_says_who_and_by_what_means(telling: Any) -> None:
    response = await telling.call("DELETE", GUILD, headers={"x-flora-deploy-source": "cli"})

    assert (response.status, await response.json()) == (200, {"guild_id": "1000", "undeployed": True})
    (asked,) = telling.system.of(Undeploy)
    assert (asked.source, asked.actor.username) == ("cli", "ada")


async def test_given_anothers_guild_then_nothing_of_it_is_shown_or_changed(telling: Any) -> None:
    others = "/api/deployments/2000"
    for method, path in (
        ("GET", "/history"),
        ("GET", f"/revisions/{ID}"),
        ("POST", f"/rollback/{ID}"),
        ("DELETE", ""),
    ):
        assert (await telling.call(method, others + path)).status == 403
        assert (await telling.call(method, others + path, token=None)).status == 401
    asked = {type(request) for request in telling.system.asked}
    assert not asked & {ListRevisions, GetRevision, RollBack, Undeploy}
