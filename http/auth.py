"""Who is calling.

An identity is looked for in a fixed order: session cookie, then `Authorization: Bearer <API token>`. A session wins,
because proxies add Authorization headers of their own. Each way is one `IdentityResolver`; what it does not recognise
is None, and the next one is asked. Sessions are a resolver of their own, put in front when the server has them.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import hdrs, web

from flora.http.ports import TokenStore
from flora.messages.errors import Forbidden, Unauthorized
from flora.messages.ids import UserId

MIN_TOKEN_CHARS = 20  # anything shorter is no token and needs no query
MAX_TOKEN_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody we know. Callers with an API token have no name: the token says only whose it is."""

    kind: Literal["session", "token"]
    user_id: UserId
    username: str | None = None
    global_name: str | None = None
    avatar: str | None = None


class IdentityResolver(Protocol):
    """One way to be known."""

    async def resolve(self, request: web.Request) -> Identity | None:
        """The caller, or None when this way does not know them. Never reads the body."""


class BearerTokens:
    """API tokens."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens

    async def resolve(self, request: web.Request) -> Identity | None:
        token = bearer(request)
        if token is None or not MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS:
            return None
        user_id = await self._tokens.authenticate(token)
        return None if user_id is None else Identity(kind="token", user_id=user_id)


async def authenticate(request: web.Request, resolvers: Sequence[IdentityResolver]) -> Identity:
    """The caller, by the first resolver that knows them.

    Raises:
        Unauthorized: nobody does.
    """
    for resolver in resolvers:
        identity = await resolver.resolve(request)
        if identity is not None:
            return identity
    raise Unauthorized("Login required")


def check_operator(request: web.Request, secret: str | None) -> None:
    """Lets the operator pass: `Authorization: Bearer <api.operator_secret>`.

    Raises:
        Forbidden: no secret is configured, or it is another one.
        Unauthorized: no bearer credential was sent.
    """
    if not secret:
        raise Forbidden("Operator access is not configured")
    given = bearer(request)
    if given is None:
        raise Unauthorized("Operator bearer token required")
    if not is_operator(request, secret):
        raise Forbidden("Invalid operator token")


def is_operator(request: web.Request, secret: str | None) -> bool:
    """Whether the request has `Authorization: Bearer <api.operator_secret>`."""
    given = bearer(request)
    if not secret or given is None:
        return False
    return hmac.compare_digest(given.encode(errors="surrogateescape"), secret.encode())


def bearer(request: web.Request) -> str | None:
    """The bearer credential of a request, or None."""
    scheme, _, credential = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None
