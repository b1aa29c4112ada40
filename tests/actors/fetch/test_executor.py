"""Fetches against a real server: redirects, limits, and everything a server can do wrong."""

from __future__ import annotations

import asyncio
import socket
import time

import orjson
import pytest

from flora.actors.fetch.executor import joined
from flora.actors.fetch.request import FetchCode, FetchError

pytestmark = pytest.mark.service


async def refusal(running) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await running
    return caught.value


def sent(response) -> dict:
    """What the echo page saw, with headers as a table."""
    echo = orjson.loads(response.body)
    return echo | {"headers": dict(echo["headers"])}


async def test_given_a_plain_request_when_fetched_then_only_our_own_headers_go_along(fetch, site):
    response = await fetch("/echo")

    assert (response.status, response.reason, response.url, response.redirected) == (
        200,
        "OK",
        site.url("/echo"),
        False,
    )
    assert ("content-type", "application/json; charset=utf-8") in response.headers
    assert sent(response)["headers"] == {
        "host": f"127.0.0.1:{site.port}",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "user-agent": "flora",
    }


async def test_given_method_headers_and_body_when_fetched_then_they_arrive(fetch):
    headers = (("User-Agent", "mine"), ("X-A", "é"), ("Content-Type", "text/x"), ("Cookie", "a=b"))

    seen = sent(await fetch("/echo", method="PATCH", headers=headers, body=b"\xff\x00"))

    assert (seen["method"], seen["body"]) == ("PATCH", "\xff\x00")
    assert seen["headers"]["content-length"] == "2"
    assert {name.lower() for name, _ in headers} <= set(seen["headers"])
    assert seen["headers"]["user-agent"] == "mine"


async def test_given_an_error_status_when_fetched_then_it_is_an_answer_like_any_other(fetch):
    response = await fetch("/status/418")

    assert (response.status, response.reason) == (418, "Indeed")


# Where it may go


@pytest.mark.scenario("T36")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_given_a_server_on_this_machine_when_fetched_then_it_is_refused_before_it_hears_of_it(fetch, site, host):
    error = await refusal(fetch(site.url("/echo", host), allow=()))

    assert error.code == FetchCode.BLOCKED
    assert host.strip("[]") in str(error)
    assert site.seen == []


async def test_given_a_name_that_leads_inside_when_its_address_is_allowed_then_it_is_fetched(fetch, site):
    assert (await fetch(site.url("/echo", "localhost"))).status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "http://localhost:%d/echo", "file:///x"]
)
async def test_given_a_redirect_to_a_forbidden_place_when_followed_then_it_is_refused(fetch, site, status, place):
    place = place.replace("%d", str(site.port))

    error = await refusal(
        fetch(
            f"/to/{status}?{place}", allow=(f"127.0.0.1:{site.port}",) if "localhost" not in place else ("127.0.0.1:1",)
        )
    )

    assert error.code == FetchCode.BLOCKED
    assert all("echo" not in request.path for request in site.seen)


async def test_given_a_name_with_both_kinds_of_addresses_when_resolved_then_only_the_allowed_are_used(
    fetch, site, monkeypatch
):
    asked = []

    def lookup(host, port, *rest):
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("10.9.9.9", "127.0.0.1", "192.168.0.9")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)

    response = await fetch(site.url("/echo", "both.example"))

    assert sent(response)["headers"]["host"] == f"both.example:{site.port}"
    assert asked == ["both.example"], "asked once: what was checked is what is connected to"
    assert (await refusal(fetch(site.url("/echo", "both.example"), allow=()))).code == FetchCode.BLOCKED


async def test_given_a_name_that_does_not_exist_when_fetched_then_it_fails_and_says_so(fetch):
    error = await refusal(fetch("http://nothing.invalid/"))

    assert (error.code, str(error)) == (FetchCode.FAILED, "the name nothing.invalid cannot be resolved")


async def test_given_a_port_nobody_listens_on_when_fetched_then_no_address_is_shown(fetch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await refusal(fetch(f"http://localhost:{taken.getsockname()[1]}/", allow=("127.0.0.1", "::1")))

    assert error.code == FetchCode.FAILED
    assert "127.0.0.1" not in str(error)


# Redirects


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((status, "GET", "GET") for status in (301, 302, 303, 307, 308)),
        *((status, "POST", "GET") for status in (301, 302, 303)),
        *((status, "POST", "POST") for status in (307, 308)),
        *((status, "PUT", "PUT") for status in (301, 302, 307, 308)),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
    ],
)
async def test_given_a_redirect_when_followed_then_method_and_body_change_as_the_standard_says(
    fetch, site, status, method, then
):
    body = b"body" if method in {"POST", "PUT"} else None

    response = await fetch(
        f"/to/{status}?/echo", method=method, body=body, headers=(("Content-Type", "text/x"), ("X-A", "1"))
    )

    assert (response.redirected, response.url) == (True, site.url("/echo"))
    assert site.seen[1].method == then
    assert site.bodies[1] == (body if then == method and body else b"")
    assert site.seen[1].headers.get("X-A") == "1"
    assert ("Content-Type" in site.seen[1].headers) == (then == method)


async def test_given_a_redirect_to_another_origin_when_followed_then_credentials_stay_behind(fetch, site):
    headers = (("Authorization", "Bearer x"), ("cookie", "a=b"), ("X-A", "1"))

    same = sent(await fetch("/to/302?/echo", headers=headers))["headers"]
    other = sent(await fetch("/to/302?" + site.url("/echo", "localhost"), headers=headers))["headers"]

    assert {"authorization", "cookie", "x-a"} <= set(same)
    assert "x-a" in other
    assert not {"authorization", "cookie"} & set(other)


async def test_given_a_loop_of_redirects_when_followed_then_it_ends_at_the_limit(fetch, site):
    error = await refusal(fetch("/loop", max_redirects=3))

    assert (error.code, str(error)) == (FetchCode.FAILED, "more than 3 redirects (fetch.max_redirects)")
    assert len(site.seen) == 4


async def test_given_redirect_error_and_manual_when_redirected_then_it_fails_or_is_handed_over(fetch):
    assert (await refusal(fetch("/to/302?/echo", redirect="error"))).code == FetchCode.FAILED
    response = await fetch("/to/302?/echo", redirect="manual")
    assert (response.status, dict(response.headers)["location"], response.redirected) == (302, "/echo", False)


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/x", "http://a.example/x"),
        ("?q", "http://a.example/b/c?q"),
        ("../d e", "http://a.example/d%20e"),
        ("//b.example", "http://b.example/"),
        ("/ö", "http://a.example/%C3%B6"),
        ("https://b.example/%2f?a=%20#f", "https://b.example/%2F?a=%20#f"),
    ],
)
def test_given_a_location_when_joined_then_it_is_an_absolute_url(location, result):
    assert joined("http://a.example/b/c?d", location).rstrip("/") == result.rstrip("/")


# Limits


@pytest.mark.parametrize("path", ["/bytes/10001", "/endless", "/bomb"])
async def test_given_a_body_above_the_limit_when_read_then_it_is_cut_off(fetch, path):
    error = await refusal(fetch(path, max_response_bytes=10_000))

    assert (error.code, str(error)) == (
        FetchCode.TOO_LARGE,
        "the answer has more than 10000 bytes (fetch.max_response_bytes)",
    )


async def test_given_a_body_at_the_limit_when_read_then_it_is_whole(fetch):
    assert len((await fetch("/bytes/10000", max_response_bytes=10_000)).body) == 10_000


@pytest.mark.parametrize("path", ["/slow", "/wait"])
async def test_given_a_server_that_takes_too_long_when_the_limit_passes_then_it_says_which(fetch, path):
    began = time.monotonic()

    error = await refusal(fetch(path, timeout_ms=200))

    assert (error.code, str(error)) == (
        FetchCode.TIMEOUT,
        "there was no complete answer within 0.2 s (fetch.timeout_ms)",
    )
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", ["/headers/20000", "/headers/x500"])
async def test_given_huge_headers_when_read_then_they_are_too_large(fetch, path):
    assert (await refusal(fetch(path))).code == FetchCode.TOO_LARGE


async def test_given_a_connection_that_closes_early_when_read_then_it_fails(fetch):
    error = await refusal(fetch("/early"))

    assert error.code == FetchCode.FAILED
    assert "before its answer was complete" in str(error)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"]
)
async def test_given_a_server_that_speaks_nonsense_when_fetched_then_it_fails(fetch, answer):
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        error = await refusal(fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", allow=("127.0.0.1",)))

    assert error.code == FetchCode.FAILED


@pytest.mark.parametrize(("path", "method"), [("/bytes/100", "HEAD"), ("/status/204", "GET"), ("/status/304", "GET")])
async def test_given_an_answer_without_a_body_when_read_then_it_is_empty(fetch, path, method):
    assert (await fetch(path, method=method)).body == b""


async def test_given_https_when_the_server_has_no_certificate_then_it_fails_without_internals(fetch, site):
    error = await refusal(fetch(f"https://127.0.0.1:{site.port}/"))

    assert (error.code, str(error)) == (FetchCode.FAILED, "127.0.0.1 does not speak TLS in a way that works")


async def test_given_the_environments_proxy_and_netrc_when_fetched_then_they_do_not_count(
    fetch, site, monkeypatch, tmp_path
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    assert "authorization" not in sent(await fetch("/echo"))["headers"]
