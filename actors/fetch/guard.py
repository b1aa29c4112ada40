"""Which URLs and addresses `fetch` may reach: the public internet, and what the operator allows besides. Pure.

Two questions, asked of every hop: `target` of the URL as it is written, `may_connect` of each address that its name resolved to.
The connection goes to an address that was asked about, so a name that resolves to something else a moment later gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from flora.actors.fetch.request import FetchCode, FetchError

Address = IPv4Address | IPv6Address

BAD_PORTS = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179),
        *(389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636),
        *(989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566),
        *(6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)
"""Ports of protocols that an HTTP request could be mistaken for: the list that browsers share (Fetch standard, "bad port")."""

# Beside what `ipaddress` does not call global. That answer differs between Python versions, so what matters stands here too.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # a public address by its number, on one large cloud the host's own management service
    )
)
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments, Teredo among them: carries IPv4 addresses of its sender's choice
        "2001:db8::/32",
        "2002::/16",  # 6to4: the same
        "3fff::/20",
        "5f00::/16",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 reaches it: as public as what it stands for
_HOST = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, also when it is an IPv4 address in IPv6 clothes."""
    carried = _carried(address)
    if isinstance(carried, IPv4Address):
        return carried.is_global and not any(carried in net for net in _NOT_PUBLIC_4)
    return (
        carried.scope_id is None
        and carried in _GLOBAL_UNICAST_6
        and carried.is_global
        and not any(carried in net for net in _NOT_PUBLIC_6)
    )


def _carried(address: Address) -> Address:
    """The IPv4 address that a connection to an IPv6 address ends at, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def parse_ipv4(host: str) -> IPv4Address | None:
    """A host name that is meant as an IPv4 address, in every spelling that some resolver takes: `127.1`, `0x7f000001`, `0177.0.0.1`.

    Returns:
        None: it is a name.
    Raises:
        ValueError: its last part is a number, but it is no address.
    """
    parts = host.removesuffix(".").split(".")
    if not re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", parts[-1]):
        return None
    if len(parts) > 4:
        raise ValueError(host)
    *numbers, last = [_number(part) for part in parts]
    if any(number > 255 for number in numbers) or last >= 256 ** (5 - len(parts)):
        raise ValueError(host)
    return IPv4Address(sum(number << (24 - 8 * at) for at, number in enumerate(numbers)) + last)


def _number(part: str) -> int:
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    if not part.isascii() or not part.isdigit():
        raise ValueError(part)
    return int(part, 8) if len(part) > 1 and part[0] == "0" else int(part)


@dataclass(frozen=True, slots=True)
class Allowed:
    """One exception that the operator made: a network or a name, with a port or for all ports."""

    network: IPv4Network | IPv6Network | None
    name: str
    port: int | None

    @classmethod
    def parse(cls, written: str) -> Allowed:
        """`10.0.0.0/8`, `fd00::/8`, `127.0.0.1:8080`, `[::1]:8080`, `wiki.internal` or `wiki.internal:8080`.

        Raises:
            ValueError: none of these.
        """
        text, port = written.strip().lower(), None
        found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})", text)
        if found:
            text, port = found[1], int(found[2])
        if port is not None and not 0 < port <= 65535:
            raise ValueError(written)
        text = text.removeprefix("[").removesuffix("]")
        if ":" in text or "/" in text or parse_ipv4(text) is not None:
            return cls(ip_network(text), "", port)
        if not _HOST.fullmatch(text):
            raise ValueError(written)
        return cls(None, text.removesuffix("."), port)

    def covers(self, host: str, port: int, address: Address | None) -> bool:
        """Whether this exception is for that connection."""
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return host == self.name
        return address is not None and address.version == self.network.version and address in self.network


@dataclass(frozen=True, slots=True)
class Target:
    """Where one hop goes. `address` is set when the URL names an address and nothing is to be resolved."""

    url: URL  # without fragment; what is connected to is read from this very object
    host: str  # lower case, without brackets or a dot at the end
    port: int
    address: Address | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.url.scheme, self.host, self.port


class Guard:
    """The rules of one flora."""

    def __init__(self, allow: Iterable[str] = (), is_own: Callable[[Address], bool] = lambda _: False) -> None:
        """`is_own` says whether an address is one of this machine's: reached from inside, they are behind its firewall."""
        self._allow = tuple(Allowed.parse(entry) for entry in allow)
        self._is_own = is_own

    def target(self, text: str) -> Target:
        """Where a URL leads.

        Raises:
            FetchError: BLOCKED, with the rule; FAILED for what is no URL.
        """
        try:
            url = URL(text, encoded=True).with_fragment(None)
            host, port = (url.raw_host or "").lower().removesuffix("."), url.port
        except (ValueError, IndexError):  # IndexError: yarl 1.25 on "http://[]@"
            raise FetchError(FetchCode.FAILED, "the URL is not valid") from None
        if url.scheme not in {"http", "https"}:
            raise _blocked(f"only http and https URLs can be fetched, not {url.scheme or 'relative ones'}")
        if url.raw_user is not None or url.raw_password is not None:
            raise _blocked("a URL may not carry a user name or password; use an Authorization header")
        if not host or port is None:
            raise FetchError(FetchCode.FAILED, "the URL names no host")
        address = _literal(host)
        if port in BAD_PORTS:
            raise _blocked(f"port {port} is not one for HTTP")
        if address is not None:
            if not self.may_connect(host, port, address):
                raise not_public(host)
            url = url.with_host(str(address))
        return Target(url, host, port, address)

    def may_connect(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection to this address may be opened for a URL of that host and port."""
        address = _carried(address)
        if any(rule.covers(host, port, address) for rule in self._allow):
            return True
        return is_public(address) and not self._is_own(address)


def not_public(host: str) -> FetchError:
    """The refusal of an internal address: says what the script wrote, not what it led to."""
    return _blocked(f"{host} is not a public address, and fetch.allow makes no exception for it")


def _blocked(text: str) -> FetchError:
    return FetchError(FetchCode.BLOCKED, text)


def _literal(host: str) -> Address | None:
    try:
        if ":" in host:
            return ip_address(host)
        address = parse_ipv4(host)
    except ValueError:
        raise _blocked(f"{host} is not a valid address") from None
    if address is None and not _HOST.fullmatch(host):
        raise FetchError(FetchCode.FAILED, "the URL has a host name that cannot be")
    return address
