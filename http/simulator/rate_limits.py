"""Discord's rate limits as pure bookkeeping: the clock is an argument, nothing waits here.

A bucket is a fixed window: the first request opens it, `limit` requests fit in, and it empties `per_s` later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["user", "global", "shared"]


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `limit` requests in `per_s` seconds."""

    limit: int
    per_s: float


DEFAULT_LIMIT = Limit(50, 1.0)

ROUTE_LIMITS: dict[tuple[str, str], Limit] = {
    ("POST", "/channels/{channel_id}/messages"): Limit(5, 5.0),
    ("PATCH", "/channels/{channel_id}/messages/{message_id}"): Limit(5, 5.0),
    ("DELETE", "/channels/{channel_id}/messages/{message_id}"): Limit(5, 1.0),
    ("POST", "/channels/{channel_id}/messages/bulk-delete"): Limit(1, 3.0),
    ("POST", "/channels/{channel_id}/messages/{message_id}/crosspost"): Limit(10, 3600.0),
    ("PUT", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/{user_id}"): Limit(1, 0.25),
    ("DELETE", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/{user_id}"): Limit(1, 0.25),
    ("POST", "/webhooks/{webhook_id}/{token}"): Limit(5, 2.0),
    ("PATCH", "/channels/{channel_id}"): Limit(5, 15.0),
    ("PUT", "/applications/{application_id}/guilds/{guild_id}/commands"): Limit(5, 5.0),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request is told. Refused requests have `retry_after_s`; accepted ones have None there."""

    limit: int
    remaining: int
    reset_after_s: float
    retry_after_s: float | None
    scope: Scope


class _Window:
    __slots__ = ("ends_at", "used")

    def __init__(self) -> None:
        self.ends_at = 0.0
        self.used = 0


class RateLimits:
    """All buckets of one bot.

    Args:
        global_limit_per_s: Requests per second over all routes that count towards it.
    """

    _MAX_WINDOWS = 50_000

    def __init__(self, global_limit_per_s: int) -> None:
        self.global_limit = Limit(global_limit_per_s, 1.0)
        self._global = _Window()
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def take(self, method: str, route: str, major: str, now_s: float, *, counts_globally: bool) -> Verdict:
        """Counts one request, or refuses it.

        Args:
            route: The route's template, such as `/channels/{channel_id}/messages`.
            major: Ids of the major parameters (channel, guild, webhook); each combination has a bucket of its own.
            now_s: Any clock that only goes forward, in seconds.
        """
        limit = ROUTE_LIMITS.get((method, route), DEFAULT_LIMIT)
        window = self._window((method, route, major), now_s)
        if counts_globally and not _fits(self._global, self.global_limit, now_s):
            wait_s = self._global.ends_at - now_s
            return Verdict(self.global_limit.limit, 0, wait_s, wait_s, "global")
        if not _fits(window, limit, now_s):
            wait_s = window.ends_at - now_s
            return Verdict(limit.limit, 0, wait_s, wait_s, "user")
        window.used += 1
        if counts_globally:
            self._global.used += 1
        return Verdict(limit.limit, limit.limit - window.used, window.ends_at - now_s, None, "user")

    def clear(self) -> None:
        """Empties every bucket."""
        self._windows.clear()
        self._global = _Window()

    def _window(self, key: tuple[str, str, str], now_s: float) -> _Window:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._MAX_WINDOWS:
                self._windows = {k: w for k, w in self._windows.items() if w.ends_at > now_s}
            window = self._windows[key] = _Window()
        return window


def _fits(window: _Window, limit: Limit, now_s: float) -> bool:
    """Whether one more request fits, after opening a new window if the last one is over."""
    if now_s >= window.ends_at:
        window.ends_at = now_s + limit.per_s
        window.used = 0
    return window.used < limit.limit
