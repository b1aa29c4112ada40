from __future__ import annotations

import pytest

from flora.actors.guild_secrets.hosts import parse_host


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("api.example.com", "api.example.com"),
        (" API.Example.COM. ", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("https://api.example.com:8443/v1?x#y", "api.example.com"),
        ("api.example.com:80", "api.example.com"),
        ("http://*.example.com/", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("localhost", "localhost"),
    ],
)
def test_given_a_pattern_when_read_then_its_host_counts_in_one_form(written: str, read: str) -> None:
    assert str(parse_host(written)) == read


@pytest.mark.parametrize(
    "written",
    ["", "*", "*.", ".", "a..b", "*.*.a", "a b", "*.127.0.0.1", "user@a.example", "[]@", "a" * 64, "a/", "x" * 3000],
)
def test_given_what_is_no_pattern_when_read_then_it_is_refused_unless_a_host_is_in_it(written: str) -> None:
    if written == "a/":
        assert str(parse_host(written)) == "a"
        return
    with pytest.raises(ValueError):
        parse_host(written)


def test_given_an_exact_host_when_compared_then_nothing_below_it_matches() -> None:
    pattern = parse_host("example.com")

    assert pattern.matches("example.com")
    assert not any(map(pattern.matches, ("a.example.com", "xexample.com", "example.com.evil.test", "com")))


def test_given_a_domain_when_compared_then_it_and_everything_below_it_matches() -> None:
    pattern = parse_host("*.example.com")

    assert all(map(pattern.matches, ("example.com", "a.example.com", "a.b.example.com")))
    assert not any(map(pattern.matches, ("xexample.com", "example.com.evil.test", "com")))
