"""From what a person wrote (TOML value or environment text) to a checked value.

Each function raises ValueError saying what is wanted, in words that follow the key's name.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flora.messages.placement import Placement
from flora.messages.settings import KvBackendKind

Parse = Callable[[object], object]

INTENTS = frozenset(
    {
        "all",
        "unprivileged",
        "guilds",
        "guild_members",
        "guild_moderation",
        "guild_expressions",
        "guild_integrations",
        "guild_webhooks",
        "guild_invites",
        "guild_voice_states",
        "guild_presences",
        "guild_messages",
        "guild_message_reactions",
        "guild_message_typing",
        "direct_messages",
        "direct_message_reactions",
        "direct_message_typing",
        "message_content",
        "guild_scheduled_events",
        "auto_moderation_configuration",
        "auto_moderation_execution",
        "guild_message_polls",
        "direct_message_polls",
    }
)

_LEVEL = r"(?:trace|debug|info|warn|error|off|[0-5])"
_TARGET = r"[A-Za-z0-9_:.\-]+"
_DIRECTIVE = re.compile(
    rf"^(?:{_LEVEL}|{_TARGET}(?:\[[^\]]*\])?(?:={_LEVEL}?)?|\[[^\]]*\](?:={_LEVEL})?)$", re.IGNORECASE
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, str) and word in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError("must be true or false (also 1/0, yes/no)")


def placement(value: object) -> Placement:
    word = str(value).strip().lower()
    if word not in (Placement.SHARED, Placement.DEDICATED):
        raise ValueError("must be shared or dedicated")
    return Placement(word)


def one_of(*words: str) -> Parse:
    """One of a few words, in any case."""

    def parse(value: object) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return word

    return parse


def kv_backend(value: object) -> KvBackendKind:
    word = str(value).strip().lower()
    if word not in set(KvBackendKind):
        raise ValueError("must be files or postgres")
    return KvBackendKind(word)


def whole(*, least: int = 0, most: int | None = None, clamp_to: tuple[int, int | None] | None = None) -> Parse:
    """A whole number of `least` to `most`; with `clamp_to`, one outside that range is moved to its nearer end."""
    span = f"of at least {least}" if most is None else f"from {least} to {most}"

    def parse(value: object) -> int:
        number = _int(value)
        if number is None or number < least or (most is not None and number > most):
            raise ValueError(f"must be a whole number {span}")
        if clamp_to is not None:
            number = max(number, clamp_to[0])
            number = number if clamp_to[1] is None else min(number, clamp_to[1])
        return number

    return parse


def _int(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return int(value)
    return None


def seconds(value: object) -> float:
    """Whole or decimal seconds, 0 or more."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError("must be a number of seconds, 0 or more")
    return number


def seconds_of_at_least(least: float) -> Parse:
    """Whole or decimal seconds, not fewer than `least`."""

    def parse(value: object) -> float:
        number = seconds(value)
        if number < least:
            raise ValueError(f"must be a number of seconds, {least:g} or more")
        return number

    return parse


def http_headers(value: object) -> tuple[tuple[str, str], ...]:
    """Headers of HTTP requests: a table, or a text as `name=value,other=value` where values may be percent-encoded."""
    wanted = "must be header names and values, as authorization=Bearer%20…,x-scope=7"
    if isinstance(value, dict):
        pairs = [(str(name), str(content)) for name, content in value.items()]
    else:
        parts = [part.partition("=") for part in text(value).split(",") if part.strip()]
        if not all(between for _, between, _ in parts):
            raise ValueError(wanted)
        pairs = [(name.strip(), unquote(content.strip())) for name, _, content in parts]
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(content) for name, content in pairs):
        raise ValueError(wanted)
    return tuple(pairs)


def log_filter(value: object) -> str:
    """Comma-separated directives: `level`, `target` or `target=level`."""
    directives = [part.strip() for part in text(value).split(",") if part.strip()]
    for directive in directives:
        if not _DIRECTIVE.match(directive):
            raise ValueError(
                f"has a part that is not target=level: {directive!r} (levels: trace, debug, info, warn, error, off)"
            )
    return ",".join(directives)


def ip_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value).strip()))
    except ValueError:
        raise ValueError("must be an IP address such as 127.0.0.1, not a host name") from None


def secret(value: object) -> str:
    if len(text(value).encode()) < 32:
        raise ValueError("must be at least 32 bytes long")
    return text(value)


def secret_bytes(value: object) -> bytes:
    return secret(value).encode()


def master_key(value: object) -> bytes:
    """64 hex digits, or a text of exactly 32 bytes."""
    raw = text(value).strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", raw):
        return bytes.fromhex(raw)
    if len(text(value).encode()) == 32:
        return text(value).encode()
    raise ValueError("must be 64 hex digits or exactly 32 bytes")


def master_keys(value: object) -> tuple[bytes, ...]:
    """Any number of master keys; a list or a text with commas. A key of 32 bytes that has a comma needs the list."""
    items = value if isinstance(value, list) else text(value).split(",")
    try:
        return tuple(dict.fromkeys(master_key(item) for item in items if str(item).strip()))
    except ValueError:
        raise ValueError("must be keys of 64 hex digits or exactly 32 bytes each, with commas between") from None


def bot_token(value: object) -> str:
    """A Discord bot token: three parts, the first of which is the bot's id in base64."""
    token = text(value).strip().removeprefix("Bot ").strip()
    parts = token.split(".")
    try:
        head = parts[0].rstrip("=")
        known = len(parts) == 3 and all(parts) and base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).isdigit()
    except (ValueError, binascii.Error):
        known = False
    if not known:
        raise ValueError("is not a Discord bot token (three parts with dots between, from the application's Bot page)")
    return token


def snowflake(value: object) -> str:
    raw = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,20}", raw):
        raise ValueError("must be a Discord id (digits only)")
    return raw


def url(*schemes: str) -> Parse:
    """A URL of one of these schemes."""

    def parse(value: object) -> str:
        raw = text(value).strip()
        try:
            parts = urlsplit(raw)
            known = parts.scheme in schemes and bool(parts.netloc or parts.path.strip("/"))
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be a URL that starts with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return raw

    return parse


def base_url(value: object) -> str:
    return str(url("http", "https")(value)).rstrip("/")


def intents(value: object) -> tuple[str, ...]:
    """Names of gateway intents, or `all`, or `unprivileged`; a list or a text with commas."""
    items = value if isinstance(value, list) else text(value).split(",")
    names = tuple(dict.fromkeys(str(item).strip().lower() for item in items if str(item).strip()))
    unknown = [name for name in names if name not in INTENTS]
    if unknown or not names:
        raise ValueError(
            f"has no intent named {', '.join(unknown)}" if unknown else "names no intent; leave it out for all"
        )
    return names


def destinations(value: object) -> tuple[str, ...]:
    """Hosts, addresses or networks, each with or without a port; a list or a text with commas."""
    items = value if isinstance(value, list) else text(value).split(",")
    names = tuple(dict.fromkeys(str(item).strip().lower() for item in items if str(item).strip()))
    for name in names:
        if not _is_destination(name):
            raise ValueError(
                f"has {name!r}, which is none of: 10.0.0.0/8, 127.0.0.1:8080, [::1]:8080, wiki.internal, wiki.internal:8080"
            )
    return names


def _is_destination(name: str) -> bool:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})", name)
    host, port = (found[1], int(found[2])) if found else (name, 1)
    host = host.removeprefix("[").removesuffix("]")
    if ":" not in host and "/" not in host and not re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2]):
        return 0 < port <= 65535 and re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", host) is not None
    try:
        ipaddress.ip_network(host)
    except ValueError:
        return False
    return 0 < port <= 65535


def path(value: object) -> Path:
    return Path(text(value)).expanduser()
