"""Keeps the audit log within its bounds, for as long as the deployer lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from flora.messages.errors import FloraError
from flora.messages.settings import AuditSettings
from flora.storage.ports import AuditLog

log = logging.getLogger(__name__)

EVERY_S = 3600.0


async def keep_pruned(
    audit: AuditLog, settings: AuditSettings, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Deletes what is too old or too much now and every hour. Ends when it is cancelled; what fails is done the next time."""
    while True:
        oldest = datetime.now(UTC) - timedelta(days=settings.keep_days) if settings.keep_days else None
        try:
            pruned = await audit.prune(oldest, settings.keep_rows or None)
        except FloraError as exc:
            log.warning("the audit log was not pruned: %s", exc, extra={"action": "audit_not_pruned"})
        else:
            if pruned:
                log.info("%d old audit lines deleted", pruned, extra={"action": "audit_pruned"})
        await sleep(EVERY_S)
