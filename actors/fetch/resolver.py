"""Names to addresses, for `fetch` only: every address is asked about, and only those that pass are ever connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from flora.actors.fetch.guard import Address, Guard

LOOKUP_THREADS = 32  # a lookup cannot be taken back; names that nobody answers for must not hold up the others
_PROBE = IPv4Address("192.0.2.1")  # for documentation: no machine has it


class AddressRefused(OSError):
    """The name leads to addresses that may not be connected to, and to no other."""


class NameUnknown(OSError):
    """The name does not lead anywhere."""


class GuardedResolver(AbstractResolver):
    """Asks the system's resolver, in threads of its own, and gives out what the guard lets through."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="fetch lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name that may be connected to.

        Raises:
            AddressRefused: it has addresses, and none of them may.
            NameUnknown: it has none.
        """
        found = await self._lookup(host, port, family)
        allowed = [address for address in found if self._guard.may_connect(host.removesuffix("."), port, address)]
        if not allowed:
            raise AddressRefused(host) if found else NameUnknown(host)
        return [_result(host, port, address) for address in allowed]

    async def _lookup(self, host: str, port: int, family: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as exc:
            raise NameUnknown(host) from exc
        return list(dict.fromkeys(ip_address(row[4][0]) for row in rows))

    async def close(self) -> None:
        """Lets go of the threads; a lookup under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(host: str, port: int, address: Address) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(address),
        port=port,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def is_own_address(address: Address) -> bool:
    """Whether an address is one of this machine's: then it can be bound to. False where that says nothing (non-local binds on)."""
    return _can_bind(address) and not _can_bind(_PROBE)


def _can_bind(address: IPv4Address | IPv6Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False
