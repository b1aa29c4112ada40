from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flora.messages.audit import AuditCursor, AuditLine, ReadAudit
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId
from flora.messages.placement import PlaceGuild

pytestmark = pytest.mark.service

SECRET = "operator-secret-for-tests"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def line(number: int, **changes: Any) -> AuditLine:
    fields: dict[str, Any] = {
        "line_id": f"00000000-0000-4000-8000-{number:012}", "at": AT - timedelta(seconds=number), "guild_id": GuildId("1000"),
        "actor": DeployActor(kind="token", user_id="77"), "action": "deploy.create", "target": "r", "details": {"entry": "m.ts"},
    }  # fmt: skip
    return AuditLine(**(fields | changes))


async def test_given_others_than_the_operator_then_the_audit_log_is_refused(host: Any) -> None:
    assert (await host.get("/api/audit", token=None)).status == 401
    assert (await host.get("/api/audit")).status == 403
    assert host.system.asked == []


async def test_given_the_operator_when_paging_then_the_cursor_leads_on(host: Any) -> None:
    host.system.answers[ReadAudit] = lambda request: tuple(line(number) for number in range(request.limit))

    first = await host.get("/api/audit?guild_id=1000&limit=2", token=SECRET)
    page = await first.json()
    await host.get(f"/api/audit?cursor={page['cursor']}", token=SECRET)

    assert page["lines"][0] == {
        "id": "00000000-0000-4000-8000-000000000000", "at": "2026-01-02T03:04:05.678901+00:00", "guild_id": "1000",
        "actor": {"actor_type": "token", "user_id": "77"}, "action": "deploy.create", "target": "r",
        "details": {"entry": "m.ts"},
    }  # fmt: skip
    asked, again = host.system.of(ReadAudit)
    assert (asked.guild_id, asked.limit, asked.before) == ("1000", 2, None)
    assert (again.guild_id, again.limit) == (None, 50)
    assert again.before == AuditCursor(at=line(1).at, line_id=line(1).line_id)


async def test_given_the_last_page_then_there_is_no_cursor(host: Any) -> None:
    host.system.answers[ReadAudit] = lambda _: (line(0, guild_id=None, actor=DeployActor(kind="operator")),)

    page = await (await host.get("/api/audit", token=SECRET)).json()

    assert "cursor" not in page
    assert (page["lines"][0]["guild_id"], page["lines"][0]["actor"]) == (None, {"actor_type": "operator"})


@pytest.mark.parametrize(
    "query",
    ["cursor=x", "cursor=1-2", "cursor=9e9-x", f"cursor={'9' * 40}-{line(0).line_id}", "guild_id=x", "limit=-1"],
)
async def test_given_a_bad_parameter_then_it_is_a_bad_request(host: Any, query: str) -> None:
    assert (await host.get(f"/api/audit?{query}", token=SECRET)).status == 400


async def test_given_a_guild_that_was_placed_then_it_is_told_and_one_that_was_not_is_not(host: Any) -> None:
    await host.call("PUT", "/api/guilds/1000/placement", token=SECRET, json={"placement": "dedicated"})
    assert host.audit.told == []
    host.system.answers[PlaceGuild] = lambda request: {"guild_id": request.guild_id}

    await host.call("PUT", "/api/guilds/1000/placement", token=SECRET, json={"placement": "dedicated"})

    assert host.audit.told == [("1000", DeployActor(kind="operator"), "guild.place", "dedicated")]
