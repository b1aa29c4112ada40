"""Logging in with Discord.

begin    state into Redis (once, 600 s) and into a cookie; the browser goes to Discord's page
finish   cookie = query, state taken out of Redis; the code becomes tokens, the tokens a session
end      the session is deleted, Discord's tokens are revoked
"""

from __future__ import annotations

import hmac
import logging
import re

import orjson

from flora.http.discord_oauth import DiscordOAuth, GrantRefused
from flora.http.errors import too_many
from flora.http.session_record import random_id
from flora.http.sessions import Sessions
from flora.http.throttle import Rate, Throttle
from flora.http.user_guilds import UserGuilds
from flora.messages.errors import BadRequest, FloraError, Unauthorized
from flora.storage.ports import Cache

log = logging.getLogger("flora.api")

STATE_COOKIE = "flora_oauth_state"
STATE_TTL_S = 600
MAX_NEXT_CHARS = 1_000
EACH = Rate(per_s=0.5, burst=60)  # an address behind which a whole company or a proxy may be
TOGETHER = Rate(per_s=10, burst=600)
"""At most 6,600 states wait at once, about 1 MB in Redis."""

# A path of ours: no scheme, no host, also not as browsers repair them (`//host`, `/\\host`, a tab in between).
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def local_path(text: str | None) -> str:
    """Where to go after the login: the path that was asked for, if it is one of ours; else `/`."""
    fits = text is not None and len(text) <= MAX_NEXT_CHARS and _LOCAL_PATH.fullmatch(text)
    return text if fits and text is not None else "/"


class Login:
    """The way in and out. Used on the server's asyncio loop only. Methods raise Unavailable while Redis is away."""

    def __init__(
        self,
        cache: Cache,
        sessions: Sessions,
        oauth: DiscordOAuth,
        user_guilds: UserGuilds,
        throttle: Throttle | None = None,
    ) -> None:
        self.sessions = sessions
        self._user_guilds = user_guilds
        self._cache = cache
        self._oauth = oauth
        self._throttle = throttle or Throttle(each=EACH, together=TOGETHER)

    async def begin(self, next_path: str, redirect_uri: str, address: str | None) -> tuple[str, str]:
        """Notes that somebody is about to log in.

        Args:
            next_path: A local path, where the browser goes afterwards.
            redirect_uri: Where Discord sends the browser.
            address: The caller's.
        Returns:
            State for the cookie, and URL of Discord's page.
        Raises:
            MailboxFull: too many begin to log in.
        """
        wait_s = self._throttle.wait_s(address)
        if wait_s:
            raise too_many("too many logins are being tried; wait a moment", retry_after_s=wait_s)
        state = random_id()
        value = b"1" if next_path == "/" else orjson.dumps({"next": next_path})
        await self._cache.set(_key(state), value, ttl_s=STATE_TTL_S)
        return state, self._oauth.authorize_url(state, redirect_uri)

    async def finish(self, kept_state: str | None, state: str, code: str, redirect_uri: str) -> tuple[str, str]:
        """Makes a session of a code.

        Returns:
            The session cookie's value, and the local path to go to.
        Raises:
            Unauthorized: the state is missing, another one or used; or Discord does not know the code.
            DiscordError: Discord could not be asked.
        """
        if not kept_state:
            raise Unauthorized("Missing OAuth state")
        if not hmac.compare_digest(kept_state.encode(), state.encode()):
            raise Unauthorized("OAuth state mismatch")
        value = await self._cache.take(_key(state))
        if value is None:
            raise Unauthorized("Expired OAuth state")
        try:
            tokens = await self._oauth.exchange(code, redirect_uri)
            user = await self._oauth.user(tokens.access_token)
        except GrantRefused as exc:
            raise Unauthorized("Discord did not confirm the login; try again") from exc
        return await self.sessions.begin(user, tokens), _next_in(value)

    async def end(self, token: str) -> bool:
        """Logs out; whether anybody was logged in. Discord's being away does not hinder it.

        Discord ends everything the person had allowed us, so their logins in other browsers are over, too, when they next
        need Discord.
        """
        record = await self.sessions.end(token)
        if record is None:
            return False
        await self._user_guilds.forget(record.user.id)
        try:
            await self._oauth.revoke(record.access_token)
        except (FloraError, GrantRefused) as exc:
            log.warning("Discord's tokens were not revoked: %s", exc, extra={"action": "revoke_failed"})
        return True


def denied(error: str) -> BadRequest:
    """What somebody hears who comes back from Discord without a code."""
    if error == "access_denied":
        return BadRequest("the login was cancelled")
    return BadRequest("`code` is missing in what Discord sent")


def _next_in(value: bytes) -> str:
    try:
        kept = orjson.loads(value)
    except orjson.JSONDecodeError:
        return "/"
    return local_path(kept.get("next")) if isinstance(kept, dict) else "/"


def _key(state: str) -> str:
    return f"oauth:state:{state}"
