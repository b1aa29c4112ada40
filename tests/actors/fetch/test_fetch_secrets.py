"""Secrets in fetches, against a real server: where they are filled in, where they may go, what comes back."""

from __future__ import annotations

import uuid

import orjson
import pytest

from flora.actors.fetch.request import FetchCode, FetchError
from flora.actors.guild_secrets.filling import MAX_FILLED_CHARS, FetchSecrets
from flora.messages.secrets import LiveSecret
from flora.messages.settings import SecretsSettings

pytestmark = pytest.mark.service

VALUE = "s3cr3t-hunter2/+ü"
HOLDER = f"__FLORA_SECRET__:{uuid.UUID(int=1)}:0123456789ab"
OLDER = f"__FLORA_SECRET__:{uuid.UUID(int=1)}:ba9876543210"
LOCAL = ("127.0.0.1",)


def secrets(hosts=LOCAL, value=VALUE, **settings) -> FetchSecrets:
    secret = LiveSecret(name="API_KEY", placeholders=(HOLDER, OLDER), value=value, allowed_hosts=hosts)
    return FetchSecrets({HOLDER: secret, OLDER: secret}, SecretsSettings(**{"allow_http": True} | settings))


async def refusal(running) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await running
    assert VALUE not in str(caught.value)
    assert HOLDER not in str(caught.value)
    return caught.value


async def test_given_placeholders_when_a_request_leaves_then_url_and_headers_have_the_value_and_the_body_has_not(
    fetch, site
):
    response = await fetch(
        f"/echo/{HOLDER}/x?q={OLDER}&r=1",
        method="POST",
        headers=(("Authorization", f"Bearer {HOLDER}"), ("X-Plain", "as it is")),
        body=f"body {HOLDER}".encode(),
        secrets=secrets(),
    )

    seen = site.seen[-1]
    assert seen.raw_path == "/echo/s3cr3t-hunter2/+%C3%BC/x?q=s3cr3t-hunter2/+%C3%BC&r=1"
    assert seen.headers["Authorization"] == f"Bearer {VALUE}"
    assert seen.headers["X-Plain"] == "as it is"
    assert site.bodies[-1] == f"body {HOLDER}".encode()
    assert response.url == site.url(f"/echo/{HOLDER}/x?q={OLDER}&r=1")


async def test_given_a_server_that_repeats_a_secret_when_answered_then_the_script_sees_the_placeholder(fetch, site):
    response = await fetch("/echo", headers=(("X-Key", HOLDER),), secrets=secrets())

    assert site.seen[-1].headers["X-Key"] == VALUE
    assert VALUE.encode() not in response.body
    assert dict(orjson.loads(response.body)["headers"])["x-key"] == HOLDER


async def test_given_a_body_that_grows_over_the_limit_when_scrubbed_then_it_is_refused(fetch):
    asked = {"where": "/echo", "headers": (("X-Key", HOLDER),)}
    size = len((await fetch(**asked, secrets=secrets())).body)

    just_over = fetch(**asked, secrets=secrets(), max_response_bytes=size - 1)

    assert (await refusal(just_over)).code == FetchCode.TOO_LARGE


@pytest.mark.parametrize(
    ("hosts", "settings", "why"),
    [
        ((), {}, "API_KEY: it names no allowed hosts"),
        (("api.example.com",), {}, r"127\.0\.0\.1 is not one of its allowed hosts \(api\.example\.com\)"),
        (("*.0.0.1", "not a host"), {}, "none can be read"),
        (LOCAL, {"allow_http": False}, "secrets leave by https only"),
    ],
)
@pytest.mark.parametrize("place", ["url", "header"])
async def test_given_a_secret_that_may_not_go_there_when_fetched_then_it_is_refused_by_name_and_nothing_leaves(
    fetch, site, place, hosts, settings, why
):
    path, headers = (f"/echo?{HOLDER}", ()) if place == "url" else ("/echo", (("X-Key", f"a {HOLDER}"),))

    error = await refusal(fetch(path, headers=headers, secrets=secrets(hosts, **settings)))

    assert error.code == FetchCode.BLOCKED
    assert str(error).startswith("secret not allowed for request host: API_KEY: ")
    with pytest.raises(FetchError, match=why):
        raise error
    assert site.seen == []


async def test_given_a_secret_without_hosts_when_the_operator_allows_any_then_it_leaves(fetch, site):
    await fetch("/echo", headers=(("X-Key", HOLDER),), secrets=secrets((), allow_any_host=True))

    assert site.seen[-1].headers["X-Key"] == VALUE


async def test_given_placeholders_of_nothing_when_fetched_then_it_is_refused_and_what_is_none_stays(fetch, site):
    gone = f"__FLORA_SECRET__:{uuid.UUID(int=9)}:0123456789ab"

    with pytest.raises(FetchError, match="stands for no secret of this guild"):
        await fetch("/echo", headers=(("X-Key", gone),), secrets=secrets())
    await fetch("/echo", headers=(("X-Key", "__FLORA_SECRET__: is no placeholder"),), secrets=secrets())

    assert [request.headers["X-Key"] for request in site.seen] == ["__FLORA_SECRET__: is no placeholder"]


@pytest.mark.parametrize("url", [f"http://{HOLDER}/", f"http://a.{HOLDER}.example/", f"http://u:{HOLDER}@a.example/"])
async def test_given_a_secret_for_a_host_when_fetched_then_it_is_refused_before_any_name_is_looked_up(fetch, url):
    error = await refusal(fetch(url, secrets=secrets((), allow_any_host=True)))

    assert "not for its host" in str(error)


@pytest.mark.parametrize("value", ["two\r\nlines", "nul\0", "trailing\n"])
async def test_given_a_value_that_no_header_can_carry_when_fetched_then_it_is_named_and_not_shown(fetch, site, value):
    error = await refusal(fetch("/echo", headers=(("X-Key", HOLDER),), secrets=secrets(value=value)))

    assert "API_KEY has line breaks" in str(error)
    assert site.seen == []


async def test_given_too_much_filled_in_when_fetched_then_it_is_refused(fetch):
    long = secrets(value="x" * (MAX_FILLED_CHARS // 2 + 1))

    error = await refusal(fetch("/echo", headers=(("A", HOLDER), ("B", HOLDER)), secrets=long))

    assert error.code == FetchCode.TOO_LARGE


# Redirects


def elsewhere(site, path: str) -> tuple[str, dict]:
    """The same server under a name that is not on the list, and the exception that lets fetches reach it."""
    return site.url(path, "localhost"), {"allow": (f"127.0.0.1:{site.port}", f"localhost:{site.port}")}


async def test_given_a_redirect_to_a_host_that_is_not_allowed_then_headers_with_secrets_stay_behind(fetch, site):
    url, allow = elsewhere(site, "/echo")
    headers = (("X-Key", HOLDER), ("X-Plain", "as it is"))

    response = await fetch(f"/to/302?{url}", headers=headers, secrets=secrets(), **allow)

    first, second = site.seen
    assert (first.headers["X-Key"], second.headers["X-Plain"]) == (VALUE, "as it is")
    assert "X-Key" not in second.headers
    assert response.redirected


async def test_given_a_redirect_out_and_back_then_what_stayed_behind_stays_behind(fetch, site):
    url, allow = elsewhere(site, f"/to/302?{site.url('/echo')}")

    await fetch(f"/to/302?{url}", headers=(("X-Key", HOLDER),), secrets=secrets(), **allow)

    assert ["X-Key" in request.headers for request in site.seen] == [True, False, False]


async def test_given_a_redirect_to_an_allowed_host_then_headers_with_secrets_go_along(fetch, site):
    url, allow = elsewhere(site, "/echo")

    await fetch(f"/to/302?{url}", headers=(("X-Key", HOLDER),), secrets=secrets(("localhost", *LOCAL)), **allow)

    assert [request.headers["X-Key"] for request in site.seen] == [VALUE, VALUE]


async def test_given_a_redirect_that_repeats_the_url_when_followed_then_its_secret_is_asked_about_and_never_shown(
    fetch, site
):
    response = await fetch(f"/mirror/{HOLDER}", secrets=secrets(value="s3cr3t-hunter2"))

    assert [request.path for request in site.seen] == ["/mirror/s3cr3t-hunter2", "/mirror/s3cr3t-hunter2/"]
    assert response.url == site.url(f"/mirror/{HOLDER}/")
    assert b"s3cr3t" not in response.body

    url, allow = elsewhere(site, "/mirror/s3cr3t-hunter2/")
    away = fetch(f"/to/302?{url}", headers=(("X-Key", HOLDER),), secrets=secrets(value="s3cr3t-hunter2"), **allow)
    assert (await refusal(away)).code == FetchCode.BLOCKED
    assert len(site.seen) == 3


async def test_given_a_location_with_a_placeholder_when_followed_then_it_is_not_filled_in(fetch, site):
    response = await fetch("/sends", method="POST", body=f"/echo/{HOLDER}".encode(), secrets=secrets())

    assert site.seen[-1].path == f"/echo/{HOLDER}"
    assert response.url == site.url(f"/echo/{HOLDER}")
