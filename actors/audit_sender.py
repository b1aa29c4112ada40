"""Lines for the audit log from actors that have no asyncio loop; what `audit_trail.py` is to the others."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from flora.actors.audit_trail import MAX_BATCH, MAX_WAITING, audit_line
from flora.actors.base import FloraActor
from flora.messages.audit import AuditLine, RecordAudit
from flora.messages.base import Failed, Ok
from flora.messages.deployment import DeployActor
from flora.messages.errors import Unavailable, error_from
from flora.messages.ids import GuildId, ReqId

log = logging.getLogger(__name__)

ANSWER_LIMIT_S = 10.0
AGAIN_S = 2.0


class AuditSender:
    """What one actor has to tell. A line waits in memory until the deployer has stored it, and is lost with its actor."""

    def __init__(self, shell: FloraActor) -> None:
        self._shell = shell
        self._waiting: deque[AuditLine] = deque()
        self._is_sending = False

    def record(
        self,
        guild_id: GuildId | None,
        actor: DeployActor,
        action: str,
        target: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Tells of a change that was made. Never fails."""
        line = audit_line(guild_id, actor, action, target, details)
        if len(self._waiting) >= MAX_WAITING:
            self._lose((line,), f"{MAX_WAITING} lines wait already")
            return
        self._waiting.append(line)
        self._send()

    def _send(self) -> None:
        if self._is_sending or not self._waiting:
            return
        self._is_sending = True
        deployer = self._shell.peers.deployer
        if deployer is None:
            self._shell.after(AGAIN_S, self._send_again)
            return
        batch = tuple(self._waiting[index] for index in range(min(MAX_BATCH, len(self._waiting))))
        request = RecordAudit(req_id=ReqId(""), lines=batch)
        self._shell.ask(deployer, request, lambda reply: self._answered(batch, reply), ANSWER_LIMIT_S)

    def _answered(self, batch: tuple[AuditLine, ...], reply: Ok | Failed) -> None:
        if isinstance(reply, Failed) and _may_help(reply):
            self._shell.after(AGAIN_S, self._send_again)  # a line's id makes it harmless to send it twice
            return
        for _ in batch:
            self._waiting.popleft()
        if isinstance(reply, Failed):
            self._lose(batch, reply.message)
        self._is_sending = False
        self._send()

    def _send_again(self) -> None:
        self._is_sending = False
        self._send()

    @staticmethod
    def _lose(lines: tuple[AuditLine, ...], why: str) -> None:
        for line in lines:
            log.error(
                "audit line lost (%s): %s %s %s", why, line.action, line.target, dict(line.details),
                extra={"action": "audit_line_lost", "guild_id": line.guild_id, "audit_action": line.action},
            )  # fmt: skip


def _may_help(failed: Failed) -> bool:
    """Whether sending again may help."""
    return isinstance(error_from(failed), Unavailable)
