"""Lines for the audit log, from whoever makes a change to the table, without anybody waiting for it.

The deployer owns the table and writes most of its own lines together with the change they tell of. Other actors keep a trail:
`record` never blocks and never fails; lines wait in memory and are sent until the deployer says that they are stored, across
its restarts and those of Postgres. A line that does get lost (too many wait, it cannot be stored, this actor ends before it was
sent) is written to the process log in full.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flora.messages.audit import AuditLine
from flora.messages.deployment import DeployActor
from flora.messages.errors import FloraError, Unavailable
from flora.messages.ids import GuildId
from flora.storage.backoff import Backoff

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_BATCH = 100
MAX_TEXT_CHARS = 1000  # of a target, and of each text in the details
RETRY_BACKOFF = Backoff(first_s=0.5, cap_s=30.0)

WriteLines = Callable[[tuple[AuditLine, ...]], Awaitable[object]]


def audit_line(
    guild_id: GuildId | None, actor: DeployActor, action: str, target: str, details: Mapping[str, Any] | None = None
) -> AuditLine:
    """A line that says what was done just now; texts are cut and cleaned so that every store can keep them."""
    return AuditLine(
        line_id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        guild_id=guild_id,
        actor=DeployActor(kind=actor.kind, user_id=_kept(actor.user_id), username=_kept(actor.username)),
        action=action,
        target=_kept(target),
        details={name: _kept(value) for name, value in (details or {}).items()},
    )


class AuditTrail:
    """What one actor has to tell. Lives on its asyncio loop; from the actor's thread use `bridge.call`."""

    def __init__(self, write: WriteLines, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """
        Args:
            write: Stores lines; what it raises as `Unavailable` is tried again, anything else loses them.
            sleep: For tests that own the time.
        """
        self._write = write
        self._sleep = sleep
        self._waiting: deque[AuditLine] = deque()
        self._last_at = datetime.min.replace(tzinfo=UTC)
        self._writer: asyncio.Task[None] | None = None
        self._rng = random.Random()
        self.lost = 0

    def record(
        self,
        guild_id: GuildId | None,
        actor: DeployActor,
        action: str,
        target: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Tells of a change that was made. Returns at once; see the module for when the line is stored."""
        line = self._in_order(audit_line(guild_id, actor, action, target, details))
        if len(self._waiting) >= MAX_WAITING:
            self._lose([line], f"{MAX_WAITING} lines wait already")
            return
        self._waiting.append(line)
        if self._writer is None or self._writer.done():
            # Of no trace: it goes on for whoever comes next.
            self._writer = asyncio.get_running_loop().create_task(self._work_off(), context=Context())

    async def written(self, limit_s: float) -> None:
        """Returns when every line is stored; after `limit_s` the rest is given up."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=limit_s)
            self._writer.cancel()
        self._lose(list(self._waiting), "its actor ends")
        self._waiting.clear()

    async def _work_off(self) -> None:
        failures = 0
        while self._waiting:
            batch = tuple(self._waiting[index] for index in range(min(MAX_BATCH, len(self._waiting))))
            try:
                await self._write(batch)
            except Unavailable as exc:
                failures += 1
                delay_s = RETRY_BACKOFF.delay_s(failures, self._rng)
                log.warning(
                    "%d audit lines not stored yet: %s", len(self._waiting), exc, extra={"action": "audit_late"}
                )
                await self._sleep(delay_s)
                continue
            except FloraError as exc:
                self._lose(batch, str(exc))
            failures = 0
            for _ in batch:
                self._waiting.popleft()

    def _in_order(self, line: AuditLine) -> AuditLine:
        """Two changes of one actor keep their order also where the clock stands or goes back."""
        if line.at <= self._last_at:
            line = replace(line, at=self._last_at + timedelta(microseconds=1))
        self._last_at = line.at
        return line

    def _lose(self, lines: Sequence[AuditLine], why: str) -> None:
        self.lost += len(lines)
        for line in lines:
            fields = {
                "action": "audit_line_lost",
                "guild_id": line.guild_id,
                "audit_action": line.action,
                "target": line.target,
                "actor": line.actor.user_id or line.actor.kind,
                "at": line.at.isoformat(),
            }
            log.error("audit line lost (%s): %s %s %s", why, line.action, line.target, line.details, extra=fields)


def _kept(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = value if len(value) <= MAX_TEXT_CHARS else value[:MAX_TEXT_CHARS] + " …"
    return shown.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
