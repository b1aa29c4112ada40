"""What it takes to log people in, put together from the settings: Redis, Discord's OAuth side, sessions, their guilds."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from flora.http.discord_oauth import DiscordOAuth, OAuthSettings
from flora.http.login import Login
from flora.http.sessions import Sessions
from flora.http.user_guilds import UserGuilds
from flora.messages.settings import Settings
from flora.storage.ports import Cache
from flora.storage.redis import DegradingCache, GuardedCache, RedisCache, make_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Used on the server's asyncio loop only."""

    login: Login
    user_guilds: UserGuilds
    cache: Cache  # for what can be asked again elsewhere: "absent" while Redis is away
    _guard: GuardedCache
    _client: Redis
    _oauth: DiscordOAuth

    async def close(self) -> None:
        """Ends what is under way, and the connections."""
        await self.login.sessions.close()
        await self._oauth.close()
        await self._guard.close()
        await self._client.aclose()


def open_entrance(settings: Settings) -> Entrance | None:
    """Connects to nothing yet: Redis and Discord are asked when somebody comes. None: no Redis is set up.

    Raises:
        ConfigError: cache.url is malformed.
    """
    if settings.cache.url is None:
        return None
    client = make_client(settings.cache.url, settings.cache.pool_size)
    guard = GuardedCache(RedisCache(client), client.ping)
    cache = DegradingCache(guard)
    discord = settings.discord
    oauth = DiscordOAuth(
        OAuthSettings(
            client_id=discord.client_id,
            client_secret=discord.client_secret,
            api_base=discord.api_base,
            authorize_url=discord.authorize_url,
        )
    )
    sessions = Sessions(guard, oauth, secret=settings.api.secret, ttl_s=settings.api.cookie_ttl_secs)
    user_guilds = UserGuilds(cache, oauth, sessions)
    login = Login(guard, sessions, oauth, user_guilds)
    return Entrance(login=login, user_guilds=user_guilds, cache=cache, _guard=guard, _client=client, _oauth=oauth)
