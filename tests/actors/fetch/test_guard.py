"""Which URLs and addresses fetch may reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.fetch.guard import Allowed, Guard, is_public, parse_ipv4
from flora.actors.fetch.request import FetchCode, FetchError
from flora.storage import config_values

INTERNAL_NETS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
]
INTERNAL = st.sampled_from(INTERNAL_NETS).flatmap(
    lambda net: st.integers(0, IPv4Network(net).num_addresses - 1).map(lambda at: IPv4Network(net)[at])
)


def refusal(url: str, guard: Guard | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        (guard or Guard()).target(url)
    return caught.value


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_given_an_address_of_the_internet_when_asked_then_it_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
        *(
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ),
        *("168.63.129.16", "100.100.100.200"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1"),
        *(
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
        ),
        *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "4000::1"),
        "2606:4700::1%eth0",
    ],
)
def test_given_an_address_that_is_not_the_internets_when_asked_then_it_is_not_public(address):
    assert not is_public(ip_address(address))


@given(INTERNAL)
def test_given_any_internal_ipv4_address_when_it_is_wrapped_in_ipv6_then_it_is_not_public(address):
    number = int(address)

    for wrapped in (
        *(number, (0xFFFF << 32) | number, (0x64FF9B << 96) | number),
        *((0x2002 << 112) | (number << 80), (0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    ):
        assert not is_public(IPv6Address(wrapped)), IPv6Address(wrapped)


@st.composite
def spellings(draw, addresses=INTERNAL):
    """An IPv4 address in one of the ways that `inet_aton` takes: one to four parts, each decimal, octal or hexadecimal."""
    number = int(draw(addresses))
    parts = draw(st.integers(1, 4))
    values = [(number >> (24 - 8 * at)) & 255 for at in range(parts - 1)] + [number & (256 ** (5 - parts) - 1)]
    forms = [draw(st.sampled_from(["{}", "0{:o}", "000{:o}", "0x{:x}", "0X{:X}", "0x000{:x}"])) for _ in values]
    text = ".".join(form.format(value) for form, value in zip(forms, values, strict=True))
    return text + draw(st.sampled_from(["", "."]))


@given(spellings(), st.sampled_from(["http://{}/", "https://{}", "http://{}:8080/x?y"]))
def test_given_any_spelling_of_an_internal_ipv4_address_when_fetched_then_it_is_refused(host, form):
    assert refusal(form.format(host)).code == FetchCode.BLOCKED


@given(spellings(st.integers(0, 2**32 - 1).map(IPv4Address)))
def test_given_any_spelling_of_an_address_when_allowed_then_what_is_connected_to_is_that_address_in_plain_form(host):
    target = Guard(allow=["0.0.0.0/0"]).target(f"http://{host}/")

    assert target.url.raw_host == str(target.address) == str(parse_ipv4(host))


@given(
    INTERNAL,
    st.sampled_from(["http://[::ffff:{}]/", "http://[::{}]/", "http://[64:ff9b::{}]/", "http://[::FFFF:{}]:81/"]),
)
def test_given_an_internal_ipv4_address_in_an_ipv6_literal_when_fetched_then_it_is_refused(address, form):
    assert refusal(form.format(address)).code == FetchCode.BLOCKED


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "file:///etc/passwd", "data:text/plain,x", "/relative", "ws://example.com/"),
        *("http://user@example.com/", "http://:pass@example.com/", "http://127.0.0.1\\@example.com/"),
        *("http://example.com:22/", "http://example.com:25/", "https://example.com:6667/", "http://example.com:0/"),
        *("http://1.2.3.4.5/", "http://1.2.3.256/", "http://0x100000000/", "http://09.1.1.1/", "http://1..1/"),
        *("http://[::1%25lo]/", "http://169.254.169.254/latest/meta-data/"),
    ],
)
def test_given_a_url_against_the_rules_when_fetched_then_it_is_refused(url):
    assert refusal(url).code in {FetchCode.BLOCKED, FetchCode.FAILED}


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://exa mple.com/",
        "http://exam%70le.com/",
        "http://a.example:99999/",
        "http://[::1/",
        "http://[]@a/",
        "http://é.example/",
    ],
)
def test_given_what_is_no_url_when_fetched_then_it_fails(url):
    assert refusal(url).code == FetchCode.FAILED


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://Example.COM/a?b#c", "example.com", 443),
        ("http://example.com.:8080/", "example.com", 8080),
        ("HTTP://example.com", "example.com", 80),
        ("http://_dmarc.example.com/", "_dmarc.example.com", 80),
    ],
)
def test_given_an_ordinary_url_when_asked_then_the_target_is_its_host_and_port(url, host, port):
    target = Guard().target(url)

    assert (target.host, target.port, target.address) == (host, port, None)
    assert target.url.fragment == ""


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("127.0.0.0/8", "http://127.9.9.9:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081/", False),
        ("127.0.0.1", "http://0x7f.1/", True),
        ("10.0.0.0/8", "http://127.0.0.1/", False),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("::1", "http://[::1]/", True),
        ("fd00::/8", "http://[fd00::5]/", True),
        ("10.0.0.0/8", "http://[::ffff:10.0.0.1]/", True),
        ("127.0.0.1:22", "http://127.0.0.1:22/", False),
    ],
)
def test_given_an_exception_when_a_url_is_asked_about_then_it_covers_what_it_says(entry, url, allowed):
    guard = Guard(allow=[entry])

    if allowed:
        assert guard.target(url).address is not None
    else:
        assert refusal(url, guard).code == FetchCode.BLOCKED


def test_given_a_name_as_exception_when_it_resolves_to_an_internal_address_then_only_that_name_may_connect():
    guard = Guard(allow=["wiki.internal:8080"])
    inside = ip_address("10.0.0.7")

    assert guard.may_connect("wiki.internal", 8080, inside)
    assert not guard.may_connect("wiki.internal", 8081, inside)
    assert not guard.may_connect("evil.example", 8080, inside)


def test_given_a_public_address_that_is_this_machines_own_when_asked_then_it_is_refused():
    own = ip_address("8.8.4.4")
    guard = Guard(is_own=lambda address: address == own)

    assert not guard.may_connect("me.example", 80, own)
    assert guard.may_connect("other.example", 80, ip_address("8.8.8.8"))
    assert Guard(allow=["8.8.4.4"], is_own=lambda _: True).may_connect("me.example", 80, own)


def test_given_an_internal_address_when_refused_then_the_text_names_what_was_written_and_the_setting():
    text = str(refusal("http://2130706433/"))

    assert "2130706433" in text
    assert "127.0.0.1" not in text
    assert "fetch.allow" in text


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/8", "127.0.0.1:8080", "[::1]:80", "::1", "fd00::/8", "wiki.internal", "wiki.internal:1", "LOCALHOST"],
)
def test_given_what_the_configuration_accepts_when_the_guard_reads_it_then_it_understands(entry):
    (accepted,) = config_values.destinations(entry)

    assert Allowed.parse(accepted)


@pytest.mark.parametrize(
    "entry", ["10.0.0.1/8", "a b", "http://x", "x:0", "x:99999", "1.2.3", "0x7f.1", "*.internal", "x:"]
)
def test_given_what_is_no_destination_when_configured_then_it_is_refused_there_as_by_the_guard(entry):
    with pytest.raises(ValueError, match="which is none of"):
        config_values.destinations(entry)
    with pytest.raises(ValueError):
        Allowed.parse(entry)
