"""Requests that no handler can use: whatever is wrong with them, the answer is JSON with a message and a code."""

from __future__ import annotations

from typing import Any

import pytest

from flora.http.limits import HttpLimits
from flora.http.routes import TABLES
from flora.http.routing import Route

pytestmark = pytest.mark.service

TOKEN = "abcdefghijkl.abcdefghijklmnopqrstuvwxyz012345"
OPERATOR = "operator-secret-for-tests"
ROUTES = [route for table in TABLES for route in table]
TAKES_A_BODY = [
    ("POST", "/api/deployments/1000"),
    ("PUT", "/api/guilds/1000/placement"),
    ("POST", "/api/kv/stores"),
    ("PUT", "/api/kv/1000/store/key"),
    ("PUT", "/api/kv/1000/store/key/metadata"),
]
BODIES = [
    (b'{"a": ', "application/json", 400, "BAD_REQUEST"),
    (b"\xff\xfe", "application/json", 400, "BAD_REQUEST"),
    (b"5", "application/json", 422, "UNPROCESSABLE_BODY"),
    (b"{}", "application/json", 422, "UNPROCESSABLE_BODY"),
    (b"{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
    (b'{"a": "' + b"x" * 3_000 + b'"}', "application/json", 413, "TOO_LARGE"),
]


async def refusal_of(response: Any) -> tuple[int, str]:
    assert response.content_type == "application/json"
    body = await response.json()
    assert set(body) == {"message", "code", "details"}
    assert body["message"]
    return response.status, body["code"]


def path_of(route: Route) -> str:
    """A path that this route serves."""
    return "/api" + route.path.replace("{guild_id}", "1000").replace("{", "a-").replace("}", "")


@pytest.mark.parametrize("path", sorted({path_of(route) for route in ROUTES}))
async def test_given_a_method_that_no_route_has_when_called_then_405_names_those_it_has(host: Any, path: str) -> None:
    response = await host.call("PATCH", path)

    assert await refusal_of(response) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["Allow"]


async def test_given_any_unreadable_body_when_sent_to_any_route_that_takes_one_then_it_is_refused_as_json(
    make_host: Any,
) -> None:
    host = await make_host(HttpLimits(max_body_bytes=2_000))

    for method, path in TAKES_A_BODY:
        token = OPERATOR if "placement" in path else TOKEN
        for data, content_type, status, code in BODIES:
            response = await host.call(method, path, data=data, token=token, headers={"Content-Type": content_type})
            assert await refusal_of(response) == (status, code), (path, data[:10])


@pytest.mark.parametrize(
    "path",
    [
        "/api/deployments/1000?include_bundle=maybe",
        "/api/logs/1000?limit=-1",
        "/api/logs/1000?limit=ten",
        "/api/logs/1000?level=loud",
        "/api/deployments/guild",
        "/api/kv/stores",
        "/api/kv/1000/store?limit=ten",
    ],
)
async def test_given_a_parameter_that_makes_no_sense_when_called_then_400_names_it(host: Any, path: str) -> None:
    assert await refusal_of(await host.get(path)) == (400, "BAD_REQUEST")
