"""Pushes metrics to an OpenTelemetry receiver, every `telemetry.interval_s`.

Nothing is kept for later: counters are totals, so the next push says all that a lost one would have. A receiver that is slow, away or
out of order delays nothing but the next push; that is counted, and told once until it takes metrics again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from flora.http.metrics.families import families
from flora.http.metrics.own import OwnFigures
from flora.http.metrics.points import Shown
from flora.http.metrics.reading import Reader
from flora.http.otlp_receiver import LIMIT_S, OtlpReceiver, Sent
from flora.messages.settings import TelemetrySettings

log = logging.getLogger(__name__)

PATH = "/v1/metrics"


class MetricsPush:
    """One endless task on the server's loop."""

    def __init__(
        self,
        reader: Reader,
        telemetry: TelemetrySettings,
        own: OwnFigures,
        run_id: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Touches nothing before `start`. own: where pushes are counted; limit_s: of one push."""
        self._reader = reader
        self._receiver = OtlpReceiver(telemetry.endpoint, dict(telemetry.headers), limit_s)
        self._every_s = telemetry.interval_s
        self._own = own
        self._run_id = run_id
        self._sleep = sleep
        self._since_ns = time.time_ns()
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; the first push comes after one interval."""
        self._task = asyncio.create_task(self.run(), name="metrics push")

    async def stop(self) -> None:
        """Ends it; what is under way is given up."""
        if self._task is not None:
            self._task.cancel()
        await self._receiver.close()

    async def run(self) -> None:
        """Never ends but by being cancelled."""
        while True:
            await self._sleep(self._every_s)
            try:
                await self._push()
            except Exception:
                self._own.pushes["failed"] += 1
                log.exception("metrics not pushed", extra={"action": "bug"})

    async def _push(self) -> None:
        found = families(await self._reader.read())
        now_ns = time.time_ns()
        sent = await self._receiver.send(PATH, await asyncio.to_thread(self._encoded, found, now_ns))
        self._own.pushes["taken" if sent is Sent.TAKEN else "refused" if sent is Sent.REFUSED else "failed"] += 1
        if sent is not Sent.TAKEN and not self._away:
            fields = {"action": "metrics_push_away"}
            log.warning("the telemetry receiver takes no metrics: %s; trying again", self._receiver.said, extra=fields)
        elif sent is Sent.TAKEN and self._away:
            log.info("the telemetry receiver takes metrics again", extra={"action": "metrics_push_back"})
        self._away = sent is not Sent.TAKEN

    def _encoded(self, found: list[Shown], now_ns: int) -> bytes:
        from flora.http.metrics.otlp import export_request  # protobuf: only where metrics are pushed

        return export_request(found, self._run_id, self._since_ns, now_ns)
