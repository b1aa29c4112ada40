"""One reading of everything: asks every actor what it counts, and leaves out those that do not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flora.http.limits import HttpLimits
from flora.http.metrics.totals import Totals
from flora.http.peers import PeerBook, Role
from flora.messages.base import Request, TraceContext
from flora.messages.errors import FloraError
from flora.messages.ids import ReqId
from flora.messages.lifecycle import ReadMetrics
from flora.messages.metrics import MAX_GUILDS, Answer, Labels, Sample

log = logging.getLogger("flora.api")

ROLES: tuple[Role, ...] = ("runtime", "http", "router", "gateway", "deployer", "compiler", "cron", "log_book")

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found."""

    numbers: Mapping[str, float]
    series: Mapping[str, Mapping[Labels, Sample]]
    up: Mapping[str, bool]  # by actor
    processes: Mapping[str, Mapping[str, int]]  # by actor: "cpu_us", "rss_bytes", "unknown_messages"
    workers: Sequence[Facts]  # as GET /api/workers
    guilds: Facts  # see `families_of`; nothing when the router did not say, or was not asked


class Reader:
    """One per server, on its loop. Readings that are wanted at once happen one after the other: counters must not go back."""

    def __init__(self, peers: PeerBook, limits: HttpLimits) -> None:
        self._peers = peers
        self._limits = limits
        self._totals = Totals()
        self._one_at_a_time = asyncio.Lock()

    async def read(self, trace: TraceContext | None = None, *, guilds: bool = True) -> Reading:
        """Asks everybody. guilds: False leaves the guilds out."""
        notable = MAX_GUILDS if guilds else 0
        async with self._one_at_a_time:
            asked = (self._ask(role, ReadMetrics(req_id=ReqId(""), trace=trace, notable=notable)) for role in ROLES)
            return self._put_together(dict(zip(ROLES, await asyncio.gather(*asked), strict=True)))

    async def _ask(self, role: Role, request: Request) -> Any:
        try:
            return await self._peers.ask(role, request, self._limits.metrics_s)
        except FloraError as exc:
            log.debug("metrics without the %s: %s", role, exc, extra={"action": "metrics_partial"})
            return None

    def _put_together(self, answers: Mapping[str, Answer | None]) -> Reading:
        router = answers["router"] or {}
        workers = router.get("workers", ())
        named = {role.replace("_", " "): answer for role, answer in answers.items()}
        named |= {f"worker {facts['worker']}": facts.get("metrics") for facts in workers}
        self._totals.begin()
        for actor, answer in named.items():
            if answer is not None:
                self._totals.note(actor, answer)
        return Reading(
            numbers=self._totals.numbers(),
            series=self._totals.series(),
            up={actor: answer is not None for actor, answer in named.items()},
            processes={actor: answer["process"] for actor, answer in named.items() if answer and "process" in answer},
            workers=workers,
            guilds=router.get("guilds", {}),
        )
