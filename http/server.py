"""The listening server around an application: start, drain, stop."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass

from aiohttp import web

from flora.http.app import create_app
from flora.http.deps import METRICS, Deps
from flora.http.lifecycle import LIFECYCLE
from flora.http.metrics.reading import Reader
from flora.http.middleware import AccessLog
from flora.messages.errors import ConfigError

KEEP_ALIVE_S = 75  # idle connections; above the 60 s of common proxies, so that they close first
HANDLER_END_S = 0.5  # at stop, for handlers that ignored the drain


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the server listens."""

    address: str
    port: int


class ApiServer:
    """One server on one address. Used on its asyncio loop only."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._app = create_app(deps)
        self._runner = web.AppRunner(
            self._app,
            access_log_class=AccessLog,
            access_log=logging.getLogger("flora.api"),
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=HANDLER_END_S,
            handler_cancellation=False,  # a client that leaves does not stop its deploy
        )

    async def start(self, address: str, port: int) -> Listening:
        """Binds and serves.

        Args:
            address: An IP address.
            port: 0 for any free one.
        Raises:
            ConfigError: the address or port cannot be had; names the setting.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port)
        try:
            await site.start()
        except OSError as exc:
            await self._runner.cleanup()
            raise _cannot_listen(address, port, exc) from exc
        host, bound_port = self._runner.addresses[0][:2]
        return Listening(host, bound_port)

    @property
    def metrics(self) -> Reader:
        """Reads what all actors count, for those who push it."""
        return self._app[METRICS]

    async def drain(self, limit_s: float) -> int:
        """Refuses what is new with 503 (health excepted), ends the streams, waits for the rest. Goes on listening until `stop`.

        Returns:
            Requests that were still under way after `limit_s`.
        """
        lifecycle = self._app[LIFECYCLE]
        lifecycle.draining = True
        self._deps.log_streams.end_all()
        return await lifecycle.idle(limit_s)

    async def stop(self) -> None:
        """Closes every connection."""
        self._deps.log_streams.end_all()
        await self._runner.cleanup()


def _cannot_listen(address: str, port: int, exc: OSError) -> ConfigError:
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if exc.errno == errno.EADDRINUSE:
        text = f"cannot listen on {place}: another program uses this port; stop it or set api.port (API_PORT)"
    elif exc.errno == errno.EACCES:
        text = f"cannot listen on {place}: not permitted; set api.port (API_PORT) to 1024 or above"
    elif exc.errno == errno.EADDRNOTAVAIL:
        text = f"cannot listen on {place}: this machine has no such address; set api.address (API_ADDRESS)"
    else:
        text = f"cannot listen on {place}: {exc.strerror}; check api.address (API_ADDRESS) and api.port (API_PORT)"
    return ConfigError(text, key="api.port", env="API_PORT", address=address, port=port)
