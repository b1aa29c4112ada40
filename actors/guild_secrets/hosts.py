"""Which hosts a secret may be sent to. Pure.

api.example.com                 that host
*.example.com                   example.com and everything below it
https://api.example.com:8080/x  a URL, or a host with a port: its host counts, nothing else of it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from flora.actors.fetch.guard import parse_ipv4

MAX_CHARS = 2048
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One allowed host, or a domain with all that is below it."""

    host: str  # lower case, in ASCII, without brackets or a dot at the end; an address in its usual form
    with_subdomains: bool = False

    def __str__(self) -> str:
        return f"*.{self.host}" if self.with_subdomains else self.host

    def matches(self, host: str) -> bool:
        """Whether a request may go there; `host` in the same form as ours."""
        return host == self.host or (self.with_subdomains and host.endswith("." + self.host))


def parse_host(text: str) -> HostPattern:
    """Reads a pattern.

    Raises:
        ValueError: it is none; such a pattern matches nothing.
    """
    rest = _SCHEME.sub("", text.strip(), count=1)
    with_subdomains = rest.startswith("*.")
    if len(text) > MAX_CHARS:
        raise ValueError(text[:MAX_CHARS])
    try:
        url = URL("https://" + rest.removeprefix("*."))
    except IndexError:  # yarl 1.25 on "[]@"
        raise ValueError(text) from None
    host = (url.raw_host or "").lower().removesuffix(".")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError(text)
    is_address = ":" in host or parse_ipv4(host) is not None if host else False
    if is_address and not with_subdomains:
        return HostPattern(str(ip_address(host) if ":" in host else parse_ipv4(host)))
    if is_address or not _NAME.fullmatch(host):
        raise ValueError(text)
    return HostPattern(host, with_subdomains)


def readable_patterns(texts: tuple[str, ...]) -> tuple[HostPattern, ...]:
    """Those of a list that can be read."""
    found = []
    for text in texts:
        try:
            found.append(parse_host(text))
        except ValueError:
            continue
    return tuple(found)
