from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from flora.messages.audit import AuditCursor, AuditLine
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId
from flora.storage.ports import AuditLog

G, H = GuildId("1"), GuildId("2")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(seconds: float = 0, **changes: Any) -> AuditLine:
    fields: dict[str, Any] = {
        "line_id": str(uuid.uuid4()),
        "at": NOON + timedelta(seconds=seconds),
        "guild_id": G,
        "actor": DeployActor(kind="token", user_id="77", username="ünï"),
        "action": "deploy.create",
        "target": "r-1",
        "details": {"entry": "main.ts", "files": 3, "nested": {"a": [1, None]}},
    }
    return AuditLine(**(fields | changes))


async def test_given_lines_when_read_then_they_come_back_as_they_were_newest_first(audit_log: AuditLog) -> None:
    first = line(0)
    later = line(1, guild_id=None, actor=DeployActor(kind="operator"), action="token.create", details={})

    await audit_log.record([first])
    await audit_log.record([later])

    assert list(await audit_log.page(10)) == [later, first]


async def test_given_a_line_that_is_sent_twice_then_it_is_there_once(audit_log: AuditLog) -> None:
    known, fresh = line(0), line(1)
    await audit_log.record([known])

    await audit_log.record([known, fresh, fresh])
    await audit_log.record([])

    assert list(await audit_log.page(10)) == [fresh, known]


async def test_given_pages_when_read_to_the_end_then_no_line_is_missing_or_doubled(audit_log: AuditLog) -> None:
    # Three at the same moment: the id decides, and a page may end between them.
    lines = [line(second) for second in (0, 1, 1, 1, 2)]
    await audit_log.record(lines)
    seen: list[AuditLine] = []
    cursor = None

    while page := await audit_log.page(2, cursor):
        seen += page
        cursor = AuditCursor(at=page[-1].at, line_id=page[-1].line_id)

    assert seen == sorted(lines, key=lambda known: (known.at, known.line_id), reverse=True)


async def test_given_two_guilds_when_one_is_asked_for_then_only_its_lines_come(audit_log: AuditLog) -> None:
    mine, other, nobodys = line(0), line(1, guild_id=H), line(2, guild_id=None)
    await audit_log.record([mine, other, nobodys])

    assert list(await audit_log.page(10, guild_id=G)) == [mine]
    assert list(await audit_log.page(10, AuditCursor(at=NOON, line_id=mine.line_id), G)) == []


async def test_given_old_lines_when_pruned_then_the_newest_stay(audit_log: AuditLog) -> None:
    lines = [line(second) for second in range(6)]
    await audit_log.record(lines)

    assert await audit_log.prune(None, None) == 0
    assert await audit_log.prune(NOON + timedelta(seconds=2), 100) == 2
    assert await audit_log.prune(None, 3) == 1
    assert await audit_log.prune(NOON, 3) == 0
    assert list(await audit_log.page(10)) == lines[:2:-1]
