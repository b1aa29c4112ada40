from __future__ import annotations

from typing import Any

import pytest

from flora.messages.deployment import DeployActor
from flora.messages.errors import BadRequest
from flora.messages.ids import GuildId
from flora.messages.secret_changes import DeleteSecret, ListSecrets, PutSecret, RotateSecrets

pytestmark = pytest.mark.service

VALUE = "s3cr3t-hunter2"
OPERATOR = "operator-secret-for-tests"


async def test_given_a_guilds_admin_when_secrets_are_changed_then_the_deployer_hears_who_and_what(host: Any) -> None:
    put = {"name": "API.KEY", "allowed_hosts": ["a.example"], "delivered": True}
    host.system.answers[PutSecret] = lambda _: put
    host.system.answers[DeleteSecret] = lambda _: {"deleted": True, "delivered": False}
    host.system.answers[ListSecrets] = lambda _: [{"name": "API.KEY", "allowed_hosts": [], "readable": True}]
    body = {"value": VALUE, "allowed_hosts": ["a.example"]}

    stored = await host.call("PUT", "/api/secrets/1000/API.KEY", json=body)
    without_hosts = await host.call("PUT", "/api/secrets/1000/a%2Fb", json={"value": VALUE})
    deleted = await host.call("DELETE", "/api/secrets/1000/API.KEY")
    listed = await host.get("/api/secrets/1000")

    assert [response.status for response in (stored, without_hosts, deleted, listed)] == [200] * 4
    assert await stored.json() == put
    assert await deleted.json() == {"deleted": True, "delivered": False}
    assert (await listed.json())[0]["readable"] is True
    first, second = host.system.of(PutSecret)
    actor = DeployActor(kind="token", user_id="77")
    assert (first.guild_id, first.name, first.value, first.allowed_hosts, first.actor) == (
        *(GuildId("1000"), "API.KEY", VALUE, ("a.example",)),
        actor,
    )
    assert (second.name, second.allowed_hosts) == ("a/b", ())
    assert host.system.of(DeleteSecret)[0].actor == actor
    assert VALUE not in repr(host.system.asked)


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"value": 5}, 422), ({"value": VALUE, "allowed_hosts": "a"}, 422), ({"value": VALUE, "allowed_hosts": [1]}, 422)],
)  # fmt: skip
async def test_given_a_malformed_body_when_put_then_it_is_refused_without_the_value(
    host: Any, body: dict[str, Any], status: int
) -> None:
    response = await host.call("PUT", "/api/secrets/1000/KEY", json=body)

    assert response.status == status
    assert VALUE not in await response.text()
    assert host.system.of(PutSecret) == []


async def test_given_a_refusal_of_the_deployer_when_put_then_it_is_a_400_that_says_why(host: Any) -> None:
    def refuse(_: PutSecret) -> None:
        raise BadRequest("the name of a secret must be …", field="name")

    host.system.answers[PutSecret] = refuse

    response = await host.call("PUT", "/api/secrets/1000/KEY", json={"value": VALUE})

    assert response.status == 400
    assert (await response.json())["details"] == {"field": "name"}


async def test_given_others_when_they_ask_for_secrets_then_they_are_refused(host: Any) -> None:
    for method, path in (("GET", "1"), ("PUT", "1/KEY"), ("DELETE", "1/KEY"), ("POST", "rotate")):
        assert (await host.call(method, f"/api/secrets/{path}", token=None)).status == 401
        assert (await host.call(method, f"/api/secrets/{path}", json={})).status == 403

    assert not [request for request in host.system.asked if isinstance(request, PutSecret | DeleteSecret | ListSecrets)]


async def test_given_the_operator_when_secrets_are_rotated_then_the_counts_come_back(host: Any) -> None:
    counts = {"key_id": "ab", "rotated": 3, "bound": 1, "unreadable": [], "unreadable_count": 0}
    host.system.answers[RotateSecrets] = lambda _: counts

    response = await host.call("POST", "/api/secrets/rotate", token=OPERATOR)

    assert (response.status, await response.json()) == (200, counts)
    assert host.system.of(RotateSecrets)[0].actor == DeployActor(kind="operator")
