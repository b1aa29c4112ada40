"""What a script asks for: read, checked, answered."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.fetch.request import FetchCode, FetchError, FetchResponse, read_request

URL = "https://example.com/"
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JUNK = (
    LEAVES
    | st.lists(LEAVES, max_size=3)
    | st.dictionaries(st.sampled_from(["url", "method", "headers", "text", ""]), LEAVES)
)


def refused(*args: object, max_body_bytes: int = 100) -> FetchError:
    with pytest.raises(FetchError) as caught:
        read_request(args, max_body_bytes)
    return caught.value


def test_given_a_whole_request_when_read_then_every_part_is_there():
    asked = {
        "url": URL,
        "method": "post",
        "headers": [["X-A", "1"], ["x-a", "2"], ["Cookie", "c"]],
        "text": "é",
        "redirect": "manual",
    }

    request = read_request([asked], 100)

    assert (request.url, request.method, request.redirect) == (URL, "POST", "manual")
    assert request.headers == (("X-A", "1"), ("x-a", "2"), ("Cookie", "c"))
    assert request.body == "é".encode()


def test_given_a_body_as_base64_when_read_then_it_is_those_bytes():
    body = bytes(range(256))

    request = read_request([{"url": URL, "method": "PUT", "base64": base64.b64encode(body).decode()}], 256)

    assert request.body == body


def test_given_headers_about_the_connection_when_read_then_they_are_left_out():
    names = [
        "Host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Proxy-Authorization",
        "Accept-Encoding",
        "TE",
        "Upgrade",
    ]

    assert read_request([{"url": URL, "headers": [[name, "x"] for name in names]}], 0).headers == ()


@pytest.mark.parametrize(
    "change",
    [
        {"url": None},
        {"url": "http://a b/"},
        {"url": "http://a/\r\nx: y"},
        {"url": "http://é/"},
        {"method": "GET /"},
        {"method": "CONNECT"},
        {"method": "trace"},
        {"method": 5},
        {"headers": "x"},
        {"headers": [["a"]]},
        {"headers": [["a b", "c"]]},
        {"headers": [["a", "b\r\nc: d"]]},
        {"headers": [["a", "\u0416"]]},
        {"headers": [["", "c"]]},
        {"headers": [["a", "b"]] * 101},
        {"method": "POST", "base64": "!"},
        {"method": "POST", "text": 5},
        {"text": "a body"},
        {"redirect": "sideways"},
    ],
    ids=str,
)
def test_given_a_malformed_request_when_read_then_it_is_refused(change):
    assert refused({"url": URL, **change}).code == FetchCode.FAILED


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST", "text": "x" * 101},
        {"url": URL + "x" * 9000},
        {"headers": [[f"a{n}", "b" * 1000] for n in range(40)]},
    ],
    ids=["body", "url", "headers"],
)
def test_given_a_request_that_is_too_large_when_read_then_it_says_which_limit(change):
    error = refused({"url": URL, **change})

    assert error.code == FetchCode.TOO_LARGE
    assert any(character.isdigit() for character in str(error))


@given(st.lists(JUNK, max_size=3))
def test_given_anything_at_all_as_arguments_when_read_then_it_is_a_request_or_refused(args):
    try:
        request = read_request(args, 100)
    except FetchError:
        return
    assert request.url


@given(st.binary())
def test_given_any_body_when_answered_then_the_isolate_gets_exactly_it(body):
    answer = orjson.loads(FetchResponse(URL, 200, "OK", (("a", "b"),), body).encoded())

    assert answer["headers"] == [["a", "b"]]
    assert (answer["text"].encode() if "text" in answer else base64.b64decode(answer["base64"])) == body


@pytest.mark.parametrize(("body", "member"), [(b'{"a":"b"}' * 50_000, "text"), (b"\x01" * 500_000, "base64")])
def test_given_a_body_that_escaping_would_blow_up_when_answered_then_it_travels_as_base64(body, member):
    encoded = FetchResponse(URL, 200, "OK", (), body).encoded()

    assert member in orjson.loads(encoded)
    assert len(encoded) < 2 * len(body)


def test_given_an_error_when_it_crosses_then_it_is_a_type_error_with_a_code():
    assert FetchError(FetchCode.BLOCKED, "no").details() == {
        "message": "fetch failed: no",
        "code": "FETCH_BLOCKED",
        "name": "TypeError",
    }
