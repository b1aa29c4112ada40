"""What a secret may be: checked before anything is stored. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flora.actors.guild_secrets.hosts import parse_host
from flora.messages.errors import BadRequest

MAX_SECRETS = 100  # per guild
MAX_VALUE_BYTES = 65_536
MAX_HOSTS = 50
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHOWN_CHARS = 100


def check_name(name: str) -> None:
    """Raises: BadRequest."""
    if not _NAME.fullmatch(name):
        raise BadRequest("the name of a secret must be 1 to 64 of these: A-Z a-z 0-9 _ . -", field="name")


def check_value(value: str) -> None:
    """Raises: BadRequest, without the value."""
    size = len(value.encode(errors="surrogatepass"))
    if not value:
        raise BadRequest("`value` must not be empty; to remove a secret, delete it", field="value")
    if size > MAX_VALUE_BYTES:
        raise BadRequest(
            f"`value` has {size} bytes, at most {MAX_VALUE_BYTES} are possible",
            field="value",
            max_bytes=MAX_VALUE_BYTES,
        )


def checked_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts in their usual form, each once, in the order given.

    Raises:
        BadRequest: there are too many, or one is none.
    """
    if len(hosts) > MAX_HOSTS:
        raise BadRequest(f"`allowed_hosts` has more than {MAX_HOSTS} entries", field="allowed_hosts", max=MAX_HOSTS)
    found: dict[str, None] = {}
    for host in hosts:
        try:
            found[str(parse_host(host))] = None
        except ValueError:
            shown = host[:_SHOWN_CHARS]
            raise BadRequest(
                f"`allowed_hosts`: {shown!r} is none of api.example.com, *.example.com, 192.0.2.1",
                field="allowed_hosts",
            ) from None
    return tuple(found)
