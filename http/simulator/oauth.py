"""OAuth2 codes and tokens: who allowed the application what, each for a limited time. Tokens survive a restart."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.errors import JsonObject

CODE_LIMIT_S = 60.0
TOKEN_LIMIT_S = 604_800
MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person allowed."""

    user_id: str
    scope: str
    redirect_uri: str
    expires_at: float  # Unix seconds


class Grants:
    """Codes that wait for their exchange, access tokens and refresh tokens."""

    def __init__(self, config: SimulatorConfig, on_change: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            config: Which application may ask.
            on_change: Called after each change of tokens, so that a snapshot can be planned.
        """
        self._config = config
        self._on_change = on_change
        self._codes: dict[str, Grant] = {}
        self._access: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}

    def may_redirect_to(self, uri: str) -> bool:
        """Whether a login may end at `uri`."""
        if self._config.redirect_uris:
            return uri in self._config.redirect_uris
        return uri.startswith(("http://", "https://"))

    def is_client(self, client_id: str, client_secret: str) -> bool:
        known = secrets.compare_digest(client_secret.encode(), self._config.client_secret.encode())
        return known and client_id == self._config.application_id

    def allow(self, user_id: str, scope: str, redirect_uri: str) -> str:
        """Notes that a person agreed.

        Returns:
            A code that can be exchanged once.
        """
        code = secrets.token_urlsafe(24)
        _keep(self._codes, code, Grant(user_id, scope, redirect_uri, time.time() + CODE_LIMIT_S))
        return code

    def exchange(self, code: str, redirect_uri: str) -> dict[str, object] | None:
        """Tokens for a code, or None if it is unknown, used, expired or for another address."""
        grant = self._codes.pop(code, None)
        if grant is None or grant.expires_at < time.time() or grant.redirect_uri != redirect_uri:
            return None
        return self._issue(grant)

    def refresh(self, refresh_token: str) -> dict[str, object] | None:
        """New tokens for a refresh token, which is used up."""
        grant = self._refresh.pop(refresh_token, None)
        return None if grant is None else self._issue(grant)

    def saved(self) -> JsonObject:
        """Tokens that have not expired, as JSON."""
        now = time.time()
        return {
            name: {token: asdict(grant) for token, grant in store.items() if grant.expires_at > now}
            for name, store in (("access", self._access), ("refresh", self._refresh))
        }

    def bring_back(self, saved: JsonObject) -> None:
        """Takes over what `saved` gave."""
        for name, store in (("access", self._access), ("refresh", self._refresh)):
            store.update({token: Grant(**grant) for token, grant in saved.get(name, {}).items()})

    def revoke(self, token: str) -> None:
        """Ends everything that the token's person has allowed, as Discord does."""
        grant = self._access.get(token) or self._refresh.get(token)
        if grant is None:
            return
        for store in (self._access, self._refresh):
            for other in [key for key, kept in store.items() if kept.user_id == grant.user_id]:
                del store[other]
        self._on_change()

    def user_of(self, access_token: str) -> Grant | None:
        """Whom an access token speaks for."""
        grant = self._access.get(access_token)
        return grant if grant is not None and grant.expires_at > time.time() else None

    def _issue(self, grant: Grant) -> dict[str, object]:
        access, refresh = secrets.token_urlsafe(22), secrets.token_urlsafe(22)
        issued = Grant(grant.user_id, grant.scope, grant.redirect_uri, time.time() + TOKEN_LIMIT_S)
        _keep(self._access, access, issued)
        _keep(self._refresh, refresh, issued)
        self._on_change()
        return {
            "token_type": "Bearer",
            "access_token": access,
            "expires_in": TOKEN_LIMIT_S,
            "refresh_token": refresh,
            "scope": grant.scope,
        }


def _keep(store: dict[str, Grant], key: str, grant: Grant) -> None:
    if len(store) >= MAX_KEPT:
        del store[next(iter(store))]
    store[key] = grant
