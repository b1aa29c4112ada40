"""What a session is: the token in the cookie, and the record in Redis.

    token    <id>.<signature>: 24 alphanumerics; unpadded URL-safe base64 of HMAC-SHA-256(id) under api.secret
    record   session:<id> → {"user": {…}, "access_token", "refresh_token", "token_type", "scope", "expires_at"}

Discord's two tokens are sealed in the record; one in clear, as earlier versions wrote them, is read all the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from flora.messages.ids import UserId
from flora.storage.sealing import Sealer

ID_CHARS = 24
_ALPHABET = string.ascii_letters + string.digits
_ID = re.compile(rf"[A-Za-z0-9]{{{ID_CHARS}}}")


def random_id() -> str:
    """24 random alphanumerics, 142 bits: session ids and OAuth states."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))


def token_of(session_id: str, secret: str) -> str:
    """The cookie's value for a session."""
    return f"{session_id}.{_signature(session_id, secret)}"


def session_id_of(token: str, secret: str) -> str | None:
    """The session that a cookie names, or None: forged or malformed. Further parts after a second dot are ignored."""
    session_id, _, rest = token.partition(".")
    signature = rest.partition(".")[0]
    if not _ID.fullmatch(session_id) or not signature.isascii():
        return None
    return session_id if hmac.compare_digest(signature, _signature(session_id, secret)) else None


def _signature(session_id: str, secret: str) -> str:
    digest = hmac.digest(secret.encode(), session_id.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordUser:
    """Who logged in, as Discord described them then."""

    id: UserId
    username: str
    global_name: str | None = None
    avatar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordTokens:
    """What Discord gave us to act for somebody."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    token_type: str = "Bearer"
    scope: str = ""
    expires_in_s: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One login. `expires_at` is when Discord's access token ends, in Unix seconds, a little early."""

    user: DiscordUser
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    token_type: str
    scope: str
    expires_at: float


class RecordCodec:
    """Records as Redis has them."""

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret, "discord tokens of sessions")

    def encode(self, session_id: str, record: SessionRecord) -> bytes:
        sealed = {
            name: None if token is None else self._sealer.seal(token, f"{session_id}/{name}")
            for name, token in (("access_token", record.access_token), ("refresh_token", record.refresh_token))
        }
        return orjson.dumps({**asdict(record), **sealed, "expires_at": int(record.expires_at)})

    def decode(self, session_id: str, raw: bytes) -> SessionRecord | None:
        """None when it cannot be used: not a record, or sealed under another secret."""
        try:
            value = orjson.loads(raw)
            user = value["user"]
            access_token = self._opened(value["access_token"], f"{session_id}/access_token")
            if access_token is None:
                return None
            return SessionRecord(
                user=DiscordUser(
                    id=UserId(str(user["id"])),
                    username=str(user["username"]),
                    global_name=user.get("global_name"),
                    avatar=user.get("avatar"),
                ),
                access_token=access_token,
                refresh_token=self._opened(value.get("refresh_token"), f"{session_id}/refresh_token"),
                token_type=str(value.get("token_type") or "Bearer"),
                scope=str(value.get("scope") or ""),
                expires_at=_unix_seconds(value["expires_at"]),
            )
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError):
            return None

    def _opened(self, token: Any, place: str) -> str | None:
        return self._sealer.open(token, place) if isinstance(token, str) else None


def _unix_seconds(value: Any) -> float:
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return float(value)
