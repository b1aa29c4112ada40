"""`/api/traces`: who may see which, and that searching harms nobody."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from flora.http.limits import HttpLimits
from flora.http.traces import TraceFiles
from flora.storage.trace_files import TraceWriter
from flora.storage.trace_record import TraceRecord

OPERATOR = {"token": "operator-secret-for-tests"}
GUILD, OTHER = "1000", "2000"
MINE, THEIRS, BOTH = f"{1:032x}", f"{2:032x}", f"{3:032x}"
pytestmark = pytest.mark.service


def a_hop(trace: str, span: int, guild_id: str, **facts: Any) -> TraceRecord:
    known = {"name": "isolate.run", "kind": "event", "took_us": 5000, "process": "worker 0", "at_us": 10**15, **facts}
    return TraceRecord(trace=trace, span=f"{span:016x}", guild_id=guild_id, **known)


def write_some(folder: Path) -> None:
    writer = TraceWriter(folder, "worker 0", 64_000_000)
    writer.add(a_hop(MINE, 1, GUILD, event="messageCreate"))
    writer.add(a_hop(THEIRS, 2, OTHER, outcome="threw"))
    writer.add(a_hop(BOTH, 3, "", name="http POST /api/secrets/rotate", kind="http"))
    writer.add(a_hop(BOTH, 4, GUILD, parent=f"{3:016x}"))
    writer.add(a_hop(BOTH, 5, OTHER, parent=f"{3:016x}", outcome="timed_out", took_us=900_000))
    writer.close()


@pytest.fixture
async def tracing_host(make_host: Any, tmp_path: Path) -> Any:
    write_some(tmp_path)
    return await make_host(trace_files=TraceFiles(tmp_path, HttpLimits()))


async def seen(response: Any) -> dict[str, int]:
    assert response.status == 200, await response.text()
    return {trace["trace_id"]: trace["hops"] for trace in (await response.json())["traces"]}


async def test_given_an_administrator_then_they_see_their_guilds_traces_without_hops_of_others(
    tracing_host: Any,
) -> None:
    response = await tracing_host.get(f"/api/traces?guild_id={GUILD}")
    assert await seen(response) == {MINE: 1, BOTH: 2}
    # What happened in another guild is not told by a filter either.
    for hidden in ("outcome=timed_out", "slower_than_ms=500", "outcome=failed"):
        assert await seen(await tracing_host.get(f"/api/traces?guild_id={GUILD}&{hidden}")) == {}

    assert (await tracing_host.get("/api/traces")).status == 400
    assert (await tracing_host.get(f"/api/traces?guild_id={OTHER}")).status == 403
    assert (await tracing_host.get(f"/api/traces/{THEIRS}?guild_id={GUILD}")).status == 404
    both = await (await tracing_host.get(f"/api/traces/{BOTH}?guild_id={GUILD}")).json()
    assert [hop["guild_id"] for hop in both["records"]] == ["", GUILD]
    assert (await tracing_host.get(f"/api/traces/{BOTH}", token=None)).status == 401


async def test_given_the_operator_then_they_see_all_and_may_choose(tracing_host: Any) -> None:
    assert await seen(await tracing_host.get("/api/traces", **OPERATOR)) == {MINE: 1, THEIRS: 1, BOTH: 3}
    for query, expected in {
        "event=message*": [MINE],
        "outcome=threw": [THEIRS],
        "kind=http": [BOTH],
        "slower_than_ms=100": [BOTH],
        "since=2040-01-01T00:00:00Z": [],
        f"guild_id={OTHER}&outcome=failed&limit=1": [THEIRS],
    }.items():
        assert list(await seen(await tracing_host.get(f"/api/traces?{query}", **OPERATOR))) == expected, query
    whole = await (await tracing_host.get("/api/traces?kind=http&records=true", **OPERATOR)).json()
    assert len(whole["traces"][0]["records"]) == 3
    assert whole["complete"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/traces?limit=x", 400),
        ("/api/traces?kind=what", 400),
        ("/api/traces?since=yesterday", 400),
        (f"/api/traces?event={'x' * 201}", 400),
        ("/api/traces/zzz", 400),
        ("/api/traces/000", 400),
        (f"/api/traces/{9:032x}", 404),
    ],
)
async def test_given_what_cannot_be_when_asked_then_it_is_refused(tracing_host: Any, path: str, status: int) -> None:
    assert (await tracing_host.get(path, **OPERATOR)).status == status


async def test_given_a_search_that_takes_long_then_others_are_served_and_too_many_are_refused(
    tracing_host: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("flora.http.traces.find", lambda *_: go_on.wait(10) and [])
    limit = HttpLimits().trace_searches
    waiting = [asyncio.create_task(tracing_host.get(f"/api/traces/{9:032x}", **OPERATOR)) for _ in range(limit)]
    await eventually.soon(lambda: tracing_host.deps.trace_files.waiting == limit)

    assert (await tracing_host.get("/api/health")).status == 200
    assert (await tracing_host.get("/api/traces", **OPERATOR)).status == 429
    go_on.set()
    assert {response.status for response in await asyncio.gather(*waiting)} == {404}


async def test_given_more_than_one_request_may_read_then_the_answer_says_that_there_is_more(
    make_host: Any, tmp_path: Path
) -> None:
    write_some(tmp_path)
    host = await make_host(trace_files=TraceFiles(tmp_path, HttpLimits(trace_bytes=10)))

    answer = await (await host.get("/api/traces", **OPERATOR)).json()

    assert answer == {"traces": [], "complete": False}


async def test_given_a_folder_that_cannot_be_read_then_it_says_so(make_host: Any, tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("x", encoding="utf-8")
    host = await make_host(trace_files=TraceFiles(tmp_path / "traces", HttpLimits()))

    response = await host.get("/api/traces", **OPERATOR)

    assert response.status == 503
    assert "cannot be read" in (await response.json())["message"]
