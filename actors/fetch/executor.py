"""One fetch from beginning to end: each hop checked, redirects followed by hand, the body read within its limits. On the loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
from yarl import URL

from flora.actors.fetch.decoding import ACCEPTED, BodyReader, NotDecodable, TooLarge
from flora.actors.fetch.guard import Guard, Target, not_public
from flora.actors.fetch.request import FetchCode, FetchError, FetchRequest, FetchResponse, Headers
from flora.actors.fetch.resolver import AddressRefused, GuardedResolver
from flora.actors.guild_secrets.filling import FetchSecrets
from flora.messages.secrets import PLACEHOLDER_PREFIX
from flora.messages.settings import FetchSettings

USER_AGENT = "flora"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NO_BODY = frozenset({204, 205, 304})
KEEP_ALIVE_S = 15
DNS_CACHE_S = 10

_NO_TIMEOUT = aiohttp.ClientTimeout()  # one limit for everything stands around the whole fetch
_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie"})  # meant for the origin they were written for
_BODY_HEADERS = frozenset({"content-encoding", "content-language", "content-location", "content-type"})


def open_session(resolver: GuardedResolver) -> aiohttp.ClientSession:
    """Connections of one guild: no cookies, no proxies or credentials from this machine's environment, headers within bounds."""
    connector = aiohttp.TCPConnector(resolver=resolver, ttl_dns_cache=DNS_CACHE_S, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=_NO_TIMEOUT,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    )


class Fetch:
    """The state of one fetch between its hops."""

    def __init__(
        self,
        request: FetchRequest,
        *,
        guard: Guard,
        settings: FetchSettings,
        secrets: FetchSecrets,
        hold: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """`secrets` are this fetch's own. `hold` is asked for each piece of the body, in bytes, whether it may be kept."""
        self._request = request
        self._guard = guard
        self._settings = settings
        self._secrets = secrets
        self._hold = hold
        self._url = request.url
        self._method = request.method
        self._headers = request.headers
        self._body = request.body
        self._hops = 0
        self._is_our_url = True  # no server has written a placeholder into it

    async def run(self, session: aiohttp.ClientSession) -> FetchResponse:
        """Follows the request to its end.

        Raises:
            FetchError: whatever went wrong; not TIMEOUT, which is the caller's to tell.
        """
        while True:
            target, headers = self._next_hop()
            try:
                async with session.request(
                    self._method,
                    target.url,
                    headers=[*_defaults(headers), *headers],
                    data=self._body,
                    allow_redirects=False,
                ) as response:
                    location = response.headers.get("Location")
                    if response.status in REDIRECTS and location is not None and self._request.redirect != "manual":
                        self._redirect(response.status, location, target)
                        continue
                    return await self._answer(response)
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                raise explained(exc, target.host) from exc

    def _next_hop(self) -> tuple[Target, Headers]:
        secrets = self._secrets
        target = self._guard.target(secrets.fill_url(self._url, is_ours=self._is_our_url))
        secrets.permit_url(target)
        # What stayed behind once does not come back where a later hop would allow it.
        self._headers = secrets.permitted(self._headers, target, redirected=self._hops > 0)
        return target, secrets.fill_headers(self._headers)

    # Redirects

    def _redirect(self, status: int, location: str, target: Target) -> None:
        if self._request.redirect == "error":
            raise FetchError(FetchCode.FAILED, f"{target.host} redirects, and redirect is set to error")
        self._hops += 1
        limit = self._settings.max_redirects
        if self._hops > limit:
            raise FetchError(FetchCode.FAILED, f"more than {limit} redirects (fetch.max_redirects)")
        self._is_our_url = self._is_our_url and PLACEHOLDER_PREFIX not in location
        # A server may repeat our URL with its secrets in it: they are asked about again, and the script sees placeholders.
        before, self._url = target.origin, joined(self._url, self._secrets.scrub_text(location))
        if (status in {301, 302} and self._method == "POST") or (status == 303 and self._method not in {"GET", "HEAD"}):
            self._method, self._body = "GET", None
            self._headers = without(self._headers, _BODY_HEADERS)
        if self._guard.target(self._url).origin != before:
            self._headers = without(self._headers, _CREDENTIAL_HEADERS)

    # The answer

    async def _answer(self, response: aiohttp.ClientResponse) -> FetchResponse:
        body = b""
        if self._method != "HEAD" and response.status not in NO_BODY:
            body = self._secrets.scrub_bytes(await self._read(response))
            if len(body) > self._settings.max_response_bytes:
                raise self._too_large()  # placeholders are longer than most values
        scrubbed = self._secrets.scrub_bytes
        headers = tuple(
            (name.decode("latin-1").lower(), scrubbed(value).decode("latin-1")) for name, value in response.raw_headers
        )
        url = str(URL(self._url, encoded=True).with_fragment(None))
        reason = self._secrets.scrub_text(response.reason or "")
        return FetchResponse(url, response.status, reason, headers, body, self._hops > 0)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_response_bytes
        try:
            reader = BodyReader(response.headers.get("Content-Encoding", ""), limit)
            if (response.content_length or 0) > limit:
                raise TooLarge
            async for chunk in response.content.iter_any():
                if not self._hold(reader.feed(chunk)):
                    response.close()
                    raise FetchError(FetchCode.FAILED, "too much is being fetched at once; try again later")
            return reader.finish()
        except TooLarge:
            response.close()
            raise self._too_large() from None
        except NotDecodable as exc:
            response.close()
            raise FetchError(FetchCode.FAILED, str(exc)) from None

    def _too_large(self) -> FetchError:
        limit = self._settings.max_response_bytes
        return FetchError(FetchCode.TOO_LARGE, f"the answer has more than {limit} bytes (fetch.max_response_bytes)")


def joined(base: str, location: str) -> str:
    """A `Location` header seen from the URL that sent it; keeps that one's fragment if it brings none.

    Raises:
        FetchError: it is no URL.
    """
    try:
        # Header bytes come as Latin-1 or, with surrogates, as UTF-8: what is beyond ASCII is meant as UTF-8 and escaped.
        target = URL(location.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip())
        return str(URL(base, encoded=True).join(target))
    except (ValueError, IndexError):  # IndexError: yarl 1.25 on "http://[]@"
        raise FetchError(FetchCode.FAILED, "a redirect leads to something that is no URL") from None


def without(headers: Headers, names: frozenset[str]) -> Headers:
    """Headers but for some, named in lower case."""
    return tuple(pair for pair in headers if pair[0].lower() not in names)


def _defaults(headers: Headers) -> Headers:
    given = {name.lower() for name, _ in headers}
    ours = (("Accept", "*/*"), ("Accept-Encoding", ACCEPTED), ("User-Agent", USER_AGENT))
    return tuple(pair for pair in ours if pair[0].lower() not in given)


def explained(exc: BaseException, host: str) -> FetchError:
    """What the library says, for a script's author: no addresses, no internals."""
    match exc:
        case aiohttp.ClientConnectorDNSError(os_error=AddressRefused()):
            return not_public(host)
        case aiohttp.ClientConnectorDNSError():
            return FetchError(FetchCode.FAILED, f"the name {host} cannot be resolved")
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return FetchError(FetchCode.FAILED, f"{host} has a certificate that cannot be trusted")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return FetchError(FetchCode.FAILED, f"{host} does not speak TLS in a way that works")
        case aiohttp.ClientConnectorError():
            return FetchError(FetchCode.FAILED, f"{host} does not accept the connection")
        case aiohttp.ClientResponseError() if "Got more than" in exc.message or "Too many" in exc.message:
            return FetchError(FetchCode.TOO_LARGE, f"{host} sends more or longer headers than are read")
        case aiohttp.ClientResponseError():
            return FetchError(FetchCode.FAILED, f"{host} sends something that is not HTTP")
        case _:
            return FetchError(FetchCode.FAILED, f"{host} closed the connection before its answer was complete")


async def within(limit_ms: int, answer: Awaitable[FetchResponse]) -> FetchResponse:
    """Waits for an answer for so long; 0: as long as it takes.

    Raises:
        FetchError: TIMEOUT, or what `Fetch.run` raises.
    """
    try:
        async with asyncio.timeout(limit_ms / 1000 or None):
            return await answer
    except TimeoutError:
        raise FetchError(
            FetchCode.TIMEOUT, f"there was no complete answer within {limit_ms / 1000:g} s (fetch.timeout_ms)"
        ) from None
