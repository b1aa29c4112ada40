"""What of an answer is made a placeholder again. Requests: tests/actors/fetch/test_fetch_secrets.py, against a real server."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flora.actors.fetch.guard import Guard
from flora.actors.fetch.request import FetchError
from flora.actors.guild_secrets.filling import FetchSecrets
from flora.messages.secrets import LiveSecret
from flora.messages.settings import SecretsSettings

HOLDERS = [f"__FLORA_SECRET__:00000000-0000-0000-0000-00000000000{n}:0123456789ab" for n in range(3)]
VALUES = ['päss "word"/+&', "short", 'päss "word"/+& and more']


@pytest.fixture
def used() -> FetchSecrets:
    """Three secrets, all of which have been filled in; one is the beginning of another."""
    known = {
        holder: LiveSecret(name=f"KEY{n}", placeholders=(holder,), value=value, allowed_hosts=())
        for n, (holder, value) in enumerate(zip(HOLDERS, VALUES, strict=True))
    }
    secrets = FetchSecrets(known, SecretsSettings())
    secrets.fill_headers((("A", " ".join(HOLDERS)),))
    return secrets


@pytest.mark.parametrize(
    "spell",
    [
        str,
        quote,
        quote_plus,
        lambda value: quote(value, safe=""),
        lambda value: json.dumps(value)[1:-1],
        lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
        lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
    ],
)
def test_given_a_value_in_any_usual_spelling_when_it_comes_back_then_the_placeholder_stands_there(used, spell) -> None:
    text = f"before {spell(VALUES[2])} and {spell(VALUES[0])} after short"

    assert used.scrub_text(text) == f"before {HOLDERS[2]} and {HOLDERS[0]} after short"
    assert used.scrub_bytes(text.encode()) == used.scrub_text(text).encode()


def test_given_bytes_that_are_no_text_when_scrubbed_then_they_stay(used) -> None:
    assert used.scrub_bytes(b"\xff\x00\xfe") == b"\xff\x00\xfe"


def test_given_secrets_that_were_not_used_when_scrubbed_then_nothing_is_changed() -> None:
    known = {HOLDERS[0]: LiveSecret(name="KEY", placeholders=(HOLDERS[0],), value=VALUES[0], allowed_hosts=())}

    assert FetchSecrets(known, SecretsSettings()).scrub_text(VALUES[0]) == VALUES[0]


# Requests


URL_PARTS = (
    *(
        "http",
        "https",
        ":",
        "/",
        "//",
        "\\",
        "@",
        "#",
        "?",
        ".",
        "a",
        "evil.test",
        "good.test",
        "[",
        "]",
        "%",
        "1",
        HOLDERS[0],
    ),
)


@given(
    parts=st.lists(st.sampled_from(URL_PARTS), max_size=10),
    more=st.text(alphabet=st.sampled_from(list("/\\@#?:.%a é[]\n\r\0")), max_size=8),
)
@example(parts=["http", "://", "[", "]", "@", HOLDERS[0]], more="")
@settings(max_examples=300)
def test_given_any_url_and_value_when_filled_then_it_goes_where_it_may_or_is_refused_without_the_value(
    parts: list[str], more: str
) -> None:
    value = f"SECRETVALUE{more}x"
    secret = LiveSecret(name="KEY", placeholders=(HOLDERS[0],), value=value, allowed_hosts=("good.test",))
    secrets = FetchSecrets({HOLDERS[0]: secret}, SecretsSettings(allow_http=True))

    reached, told = "", ""
    try:
        target = Guard().target(secrets.fill_url("".join(parts)))
        secrets.permit_url(target)
        reached = f"{target.url}"
    except FetchError as refusal:
        told = str(refusal)

    assert "SECRETVALUE" not in told
    assert "SECRETVALUE" not in reached or re.match("https?://good.test[/?:]", reached)
