"""Whatever is sent, the answer is one of Discord's refusals and never a failure of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.http.simulator.errors import ApiError
from flora.http.simulator.forms import check_message, settable

if TYPE_CHECKING:
    from conftest import Client

KEYS = ["content", "embeds", "components", "flags", "title", "fields", "name", "type", "options", "value", "messages",
        "permission_overwrites", "message_reference", "allowed_mentions", "description", "roles", "data", "x"]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=8) | st.floats(allow_nan=False)
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
SHAPE_ERRORS = (TypeError, ValueError, AttributeError, LookupError, OverflowError)  # what the server turns into 50035


@given(body=st.dictionaries(st.sampled_from(KEYS), BODIES, max_size=6))
def test_given_any_message_body_then_it_is_accepted_or_refused(body: dict[str, Any]) -> None:
    status = 200
    try:
        check_message(settable(body), has_attachments=False)
    except ApiError as refusal:
        status = refusal.status
    except SHAPE_ERRORS:
        status = 400

    assert status in {200, 400}


@pytest.mark.service
@pytest.mark.parametrize("body", [1, "text", [], [[]], {"embeds": [3]}, {"embeds": [{"footer": "x"}]}, {"flags": "x"},
                                  {"components": {"a": 1}}, {"message_reference": 5}])  # fmt: skip
async def test_given_a_body_of_the_wrong_shape_then_400(client: Client, body: Any) -> None:
    path = f"/channels/{client.sim.first_channel(client.sim.add_guild()).id}/messages"

    answer = await client.rest("POST", path, body)

    assert (answer.status, answer.code) == (400, 50035)


@pytest.mark.service
async def test_given_no_json_then_50109_and_flags_of_others_are_ignored(client: Client) -> None:
    path = f"/channels/{client.sim.first_channel(client.sim.add_guild()).id}/messages"

    broken = await client.rest("POST", path, data=b"{nope", headers={"Content-Type": "application/json"})
    sent = await client.rest("POST", path, {"content": "x", "flags": 64 | 128 | 4})

    assert (broken.status, broken.code) == (400, 50109)
    assert sent.body["flags"] == 4
