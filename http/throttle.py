"""How often something may be done: buckets that refill with time."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`burst` at once, then `per_s` a second."""

    per_s: float
    burst: int


class Throttle:
    """One bucket for everybody and one per address: nobody alone uses up what is there for all.

    Pure but for its clock. Behind a proxy all share the proxy's address, so a single address may do a good part of it.
    """

    def __init__(
        self, *, each: Rate, together: Rate, max_addresses: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each = each
        self._together = together
        self._max = max_addresses
        self._clock = clock
        self._shared: tuple[float, float] | None = None  # tokens left, when that was
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str | None) -> float:
        """Takes one; 0 when it may be done now, else how long to wait (then nothing was taken)."""
        now = self._clock()
        key = _network_of(address)
        mine = _filled(self._buckets.get(key), self._each, now)
        shared = _filled(self._shared, self._together, now)
        if mine < 1 or shared < 1:
            return max((1 - mine) / self._each.per_s, (1 - shared) / self._together.per_s)
        self._buckets[key] = (mine - 1, now)
        self._buckets.move_to_end(key)
        self._shared = (shared - 1, now)
        while len(self._buckets) > self._max:
            self._buckets.popitem(last=False)
        return 0.0


def _filled(bucket: tuple[float, float] | None, rate: Rate, now: float) -> float:
    return float(rate.burst) if bucket is None else min(rate.burst, bucket[0] + (now - bucket[1]) * rate.per_s)


def _network_of(address: str | None) -> str:
    """One household has a /64 of IPv6 addresses to choose from."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
