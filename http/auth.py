"""Who is calling.

An identity is looked for in a fixed order: session cookie, then `Authorization: Bearer <API token>`. A session wins,
because proxies add Authorization headers of their own. Each way is one `IdentityResolver`; what it does not recognise
is None, and the next one is asked; one that cannot tell at the moment is passed over, too, and only when nobody else
knows the caller do they hear of it: "try again" instead of "log in".
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from flora.http.ports import TokenStore
from flora.messages.errors import DiscordError, FloraError, Forbidden, Unauthorized, Unavailable
from flora.messages.ids import UserId

if TYPE_CHECKING:
    from flora.http.sessions import Session

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
    session: Session | None = field(default=None, repr=False)  # of a session caller: Discord's tokens


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
        Unavailable, DiscordError: nobody does, and one of them could not be asked.
    """
    doubt: FloraError | None = None
    for resolver in resolvers:
        try:
            identity = await resolver.resolve(request)
        except (Unavailable, DiscordError) as exc:
            doubt = doubt or exc
            continue
        if identity is not None:
            return identity
    raise doubt or Unauthorized("Login required")


def check_same_site(request: web.Request, public_url: str) -> None:
    """Lets a request pass that acts for a session: one that another site's page sent must not, whatever its cookies.

    `SameSite=Lax` says the same to browsers; this is the second lock.

    Args:
        request: Any.
        public_url: Something at the address that people use, where a proxy hides it from us; or empty.
    Raises:
        Forbidden: it comes from another site.
    """
    if request.method in {"GET", "HEAD"}:
        return
    site = request.headers.get("Sec-Fetch-Site")  # not sent over plain http to other hosts than localhost
    if site is None:
        origin = request.headers.get(hdrs.ORIGIN)
        ours = {request.host, urlsplit(public_url).netloc} - {""}
        foreign = origin is not None and urlsplit(origin).netloc not in ours
    else:
        foreign = site not in {"same-origin", "none"}
    if foreign:
        raise Forbidden("this request comes from another site")


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
