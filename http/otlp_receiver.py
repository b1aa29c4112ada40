"""A receiver of OpenTelemetry's protocol over HTTP (OTLP/HTTP, protobuf): one request at a time, bounded in time."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from enum import StrEnum

import aiohttp

LIMIT_S = 10.0  # of one request, connecting included
COMPRESSED_FROM_BYTES = 1024
MOST_ANSWER_BYTES = 4096  # looked at, of what a receiver says about its refusal
_LATER = frozenset({408, 429, 502, 503, 504})  # by the protocol: to be sent again


class Sent(StrEnum):
    """What became of a request."""

    TAKEN = "taken"
    REFUSED = "refused"  # it would be refused again
    LATER = "later"  # nobody answered, or they are busy: to be sent again


class OtlpReceiver:
    """Where `telemetry.endpoint` is. On one asyncio loop."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], limit_s: float = LIMIT_S) -> None:
        """endpoint: base URL; requests go below it, to `/v1/traces` or `/v1/metrics`."""
        self._endpoint = endpoint.rstrip("/")
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        self._limit = aiohttp.ClientTimeout(total=limit_s)
        self._session: aiohttp.ClientSession | None = None
        self.said = ""  # why the last request came to nothing

    async def send(self, path: str, body: bytes) -> Sent:
        """Sends one request. Raises nothing but cancellation.

        Args:
            path: "/v1/traces".
            body: A serialized Export…ServiceRequest.
        """
        headers = self._headers
        if len(body) >= COMPRESSED_FROM_BYTES:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers = {**headers, "Content-Encoding": "gzip"}
        try:
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=self._limit)
            url = self._endpoint + path
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return Sent.TAKEN
                told = (await answer.content.read(MOST_ANSWER_BYTES)).decode(errors="replace").strip()
                self.said = f"{answer.status} {answer.reason or ''} {told[:200] if told.isprintable() else ''}".strip()
                return Sent.LATER if answer.status in _LATER else Sent.REFUSED
        except TimeoutError:
            self.said = f"no answer within {self._limit.total:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:  # ValueError: an address that is none
            self.said = str(exc) or type(exc).__name__
        return Sent.LATER

    async def close(self) -> None:
        """Closes what is open."""
        if self._session is not None:
            await self._session.close()
