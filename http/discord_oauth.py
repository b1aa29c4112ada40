"""Discord's OAuth side: codes and tokens, and what a person's own token may ask. Not the bot's REST, which is the gateway's.

Every call has a limit and is made once. A definite no (`GrantRefused`) is told apart from Discord being away or busy.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from aiohttp import hdrs

from flora.http.session_record import DiscordTokens, DiscordUser
from flora.messages.errors import DiscordError, DiscordRateLimited
from flora.messages.ids import UserId

log = logging.getLogger("flora.api")

SCOPES = "identify guilds guilds.members.read"
USER_AGENT = "flora-oauth/0.1"
CALL_LIMIT_S = 4.0
"""A login makes two calls, and has 10 s."""
REVOKE_LIMIT_S = 2.0  # nobody waits longer for a courtesy
MAX_CONNECTIONS = 32
_TOKEN_TEXT = re.compile(r"[\x21-\x7e]{1,4096}")


class GrantRefused(Exception):
    """Discord knows neither code nor token, or no longer: trying again does not help, logging in does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """Where Discord is, and who we are there."""

    client_id: str
    client_secret: str = field(repr=False)
    api_base: str  # https://discord.com/api/v10
    authorize_url: str  # a page, for browsers


class DiscordOAuth:
    """Used on the server's asyncio loop only."""

    def __init__(self, settings: OAuthSettings, limit_s: float = CALL_LIMIT_S) -> None:
        self._settings = settings
        self._limit_s = limit_s
        self._client: aiohttp.ClientSession | None = None

    def authorize_url(self, state: str, redirect_uri: str) -> str:
        """Where a person agrees, and is sent back from with a code."""
        query = {
            "client_id": self._settings.client_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": SCOPES,
            "state": state,
            "prompt": "consent",
        }
        return f"{self._settings.authorize_url}?{urlencode(query)}"

    async def exchange(self, code: str, redirect_uri: str) -> DiscordTokens:
        """Tokens for a code; the methods below raise the same.

        Raises:
            GrantRefused: the code is wrong, used or too old.
            DiscordRateLimited: too many requests; `retry_after_s` says how long to wait.
            DiscordError: Discord could not be asked, or refused us.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return _tokens(await self._token_call("/oauth2/token", form))

    async def refresh(self, refresh_token: str) -> DiscordTokens:
        """New tokens; the refresh token is used up."""
        return _tokens(
            await self._token_call("/oauth2/token", {"grant_type": "refresh_token", "refresh_token": refresh_token})
        )

    async def revoke(self, access_token: str) -> None:
        """Ends what the person allowed; Discord ends their other tokens for us with it."""
        form = {"token": access_token, "token_type_hint": "access_token"}
        await self._token_call("/oauth2/token/revoke", form, min(REVOKE_LIMIT_S, self._limit_s))

    async def user(self, access_token: str) -> DiscordUser:
        """Who the token is of."""
        found = await self._call("GET", "/users/@me", bearer=access_token)
        try:
            return DiscordUser(
                id=UserId(str(found["id"])),
                username=str(found["username"]),
                global_name=found.get("global_name"),
                avatar=found.get("avatar"),
            )
        except (LookupError, TypeError, AttributeError) as exc:
            raise _nonsense("/users/@me") from exc

    async def guilds(self, access_token: str) -> list[dict[str, Any]]:
        """The person's guilds as Discord describes them, at most 200."""
        found = await self._call("GET", "/users/@me/guilds", bearer=access_token)
        if not isinstance(found, list) or not all(isinstance(guild, dict) and "id" in guild for guild in found):
            raise _nonsense("/users/@me/guilds")
        return found

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _token_call(self, path: str, form: Mapping[str, str], limit_s: float | None = None) -> Any:
        credentials = {"client_id": self._settings.client_id, "client_secret": self._settings.client_secret}
        return await self._call("POST", path, form={**form, **credentials}, limit_s=limit_s)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        bearer: str | None = None,
        form: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> Any:
        if bearer is not None and not _TOKEN_TEXT.fullmatch(bearer):
            raise GrantRefused("no token looks like this")  # it would not even fit into a header
        headers = {} if bearer is None else {hdrs.AUTHORIZATION: f"Bearer {bearer}"}
        timeout = aiohttp.ClientTimeout(total=limit_s or self._limit_s)
        try:
            async with self._session().request(
                method,
                self._settings.api_base + path,
                headers=headers,
                data=form,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                status, retry_after, raw = response.status, response.headers.get("Retry-After"), await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            log.warning("Discord could not be asked: %s", type(exc).__name__, extra={"action": "oauth_failed"})
            raise DiscordError("Discord could not be reached; try again in a moment", status=0) from exc
        return _checked(path, status, retry_after, raw)

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            # No cookies: they would be one person's in the next one's requests.
            jar = aiohttp.DummyCookieJar()
            self._client = aiohttp.ClientSession(
                connector=connector, cookie_jar=jar, headers={hdrs.USER_AGENT: USER_AGENT}
            )
        return self._client


def _checked(path: str, status: int, retry_after: str | None, raw: bytes) -> Any:
    try:
        body = orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        body = None
    if status == 429:
        wait_s = _wait_s(retry_after, body)
        raise DiscordRateLimited("Discord is limiting our requests; try again in a moment", retry_after_s=wait_s)
    error = body.get("error") if isinstance(body, dict) else None
    if error == "invalid_client":
        log.error(
            "Discord does not accept discord.client_id (DISCORD_CLIENT_ID) with discord.client_secret"
            " (DISCORD_CLIENT_SECRET); nobody can log in",
            extra={"action": "oauth_misconfigured"},
        )
    elif status == 401 or error == "invalid_grant":
        raise GrantRefused(f"Discord answered {status} to {path}")
    if not 200 <= status < 300:
        log.warning("Discord answered %d to %s", status, path, extra={"action": "oauth_failed"})
        raise DiscordError("Discord refused or failed; try again in a moment", status=status)
    return body


def _wait_s(retry_after: str | None, body: Any) -> float:
    given = body.get("retry_after") if isinstance(body, dict) else None
    for text in (retry_after, given):
        try:
            return min(3600.0, max(1.0, float(text)))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    return 1.0


def _tokens(body: Any) -> DiscordTokens:
    try:
        return DiscordTokens(
            access_token=str(body["access_token"]),
            refresh_token=body.get("refresh_token"),
            token_type=str(body.get("token_type") or "Bearer"),
            scope=str(body.get("scope") or ""),
            expires_in_s=float(body["expires_in"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise _nonsense("/oauth2/token") from exc


def _nonsense(path: str) -> DiscordError:
    return DiscordError(f"Discord's answer to {path} makes no sense", status=200)
