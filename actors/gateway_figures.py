"""What the gateway answers to ReadMetrics."""

from __future__ import annotations

from typing import Any

from flora.actors.discord.rest_figures import of_executor
from flora.actors.discord.service import GatewayService
from flora.actors.discord.sink import Row
from flora.actors.retained import Retained
from flora.messages.series import alone, counted

DROPPED = {
    "shed": "gateway_full",
    "not_wanted": "nobody_listens",
    "no_guild": "no_guild",
    "malformed": "malformed",
}
"""Counts of the sink that are ends of events, and the `reason` under which they are shown."""


def gateway_metrics(service: GatewayService, retained: Retained[Row]) -> dict[str, Any]:
    """Its calls, its queue, and which events went no further. From the actor's thread: a moment of what the loop counts."""
    sink, executor = service.sink, service.executor
    series = {
        **of_executor(executor.figures, executor.waiting, executor.unfinished),
        "dropped": counted({reason: sink.counts[name] for name, reason in DROPPED.items()}),
        "gateway_backlog": alone(len(sink)),
        "gateway_retained": alone(len(retained)),
    }
    return {"series": series}
