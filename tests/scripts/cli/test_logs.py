from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flora.messages.logs import FollowLogs, LogFilter, LogLines, ReadLogs
from flora.scripts.cli.event_stream import Event, read_events
from flora.scripts.cli.logs import moment_ms, pause_s

pytestmark = pytest.mark.service


def entry(number: int, message: str = "hello", level: str = "info") -> dict[str, object]:
    return {
        "id": number,
        "timestamp": 1_767_323_045_006,
        "level": level,
        "target": "flora:js",
        "guild_id": "1000",
        "message": message,
    }


@pytest.fixture
def log_book(flora: Any, api: Any) -> Any:
    api.system.answers[ReadLogs] = lambda _: [entry(1), entry(2, "bad\x1b[31m\x07", "error")]
    api.system.answers[FollowLogs] = lambda request: {"subscription": f"s{len(api.system.of(FollowLogs))}"}
    flora.environment["FLORA_API_URL"] = api.url
    return api


async def test_lines_have_time_level_guild_and_target_and_cannot_command_the_terminal(
    flora: Any, log_book: Any
) -> None:
    done = await flora.run("logs", "--guild", "1000", "-n", "5", "--level", "info")

    assert done.out.splitlines() == [
        "2026-01-02T03:04:05.006Z INFO  [1000] flora:js: hello",
        "2026-01-02T03:04:05.006Z ERROR [1000] flora:js: bad\\x1b[31m\\x07",
    ]
    (asked,) = log_book.system.of(ReadLogs)
    assert (asked.limit, asked.wanted) == (5, LogFilter(level="info"))


async def test_for_programs_lines_are_json(flora: Any, log_book: Any) -> None:
    done = await flora.run("logs", "--guild", "1000", "--json")

    assert [line["id"] for line in json.loads(done.out)] == [1, 2]


async def test_filters_go_to_the_server(flora: Any, log_book: Any) -> None:
    done = await flora.run(
        *("logs", "--guild", "1000", "--source", "runtime", "--grep", "Timed out", "--since", "2026-01-02T03:04:05Z")
    )

    assert done.code == 0
    (asked,) = log_book.system.of(ReadLogs)
    assert asked.wanted == LogFilter(source="runtime", text="Timed out", since_ms=1_767_323_045_000)


@pytest.mark.parametrize(("text", "ago_s"), [("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604_800)])
def test_given_an_age_then_it_is_counted_from_now(text: str, ago_s: int) -> None:
    assert moment_ms(text, 1_000_000) == (1_000_000 - ago_s) * 1000


async def test_given_what_is_no_time_then_it_says_how_to_write_one(flora: Any, log_book: Any) -> None:
    done = await flora.run("logs", "--guild", "1000", "--since", "yesterday")

    assert done.code == 2
    assert "'yesterday' is no time: write 30s" in done.err


async def test_an_empty_log_says_so(flora: Any, log_book: Any) -> None:
    log_book.system.answers[ReadLogs] = lambda _: []

    assert (await flora.run("logs", "--guild", "1000")).out == "No logs found\n"


async def test_given_the_server_goes_away_when_following_then_it_comes_back_for_what_it_missed(
    flora: Any, log_book: Any, restart_api: Any, eventually: Any
) -> None:
    process = await flora.start("logs", "--guild", "1000", "--follow", "--json")
    lines = process.stdout
    assert [json.loads(await lines.readline())["id"] for _ in range(2)] == [1, 2]
    await eventually.soon(lambda: len(log_book.deps.log_streams) == 1, within_s=10)
    log_book.deps.log_streams.deliver(LogLines(subscription="s1", lines=(entry(3),)))
    assert json.loads(await lines.readline())["id"] == 3

    await log_book.server.stop()
    await restart_api(log_book)
    await eventually.soon(lambda: len(log_book.deps.log_streams) == 1, within_s=10)
    log_book.deps.log_streams.deliver(LogLines(subscription="s2", lines=(entry(4),), lost=2))

    assert json.loads(await asyncio.wait_for(lines.readline(), 5))["id"] == 4
    assert [asked.after_id for asked in log_book.system.of(FollowLogs)] == [2, 3]
    process.kill()
    err = (await process.stderr.read()).decode()
    assert "trying again in" in err
    assert "(2 lines lost: " in err


async def test_given_no_permission_when_following_then_it_is_not_tried_for_ever(flora: Any, log_book: Any) -> None:
    done = await flora.run("logs", "--guild", "2000", "-f")

    assert (done.code, done.err.splitlines()[-1]) == (1, "error: Forbidden: Admin permission required")


def test_events_are_read_with_ids_names_and_several_data_lines() -> None:
    lines = [
        "retry: 5",
        "",
        ": comment",
        "",
        "id: 4",
        "data: a",
        "data:b",
        "",
        "event: lost",
        "data: {}",
        "",
        "data: cut",
    ]

    assert list(read_events(lines)) == [Event("message", "a\nb", "4"), Event("lost", "{}", None)]


def test_pauses_double_up_to_a_cap_and_are_spread() -> None:
    assert [pause_s(failures, 0.5) for failures in (1, 2, 3, 6, 500)] == [0.5, 1.0, 2.0, 10.0, 10.0]
    assert [pause_s(1, spread) for spread in (0.0, 1.0)] == pytest.approx([0.4, 0.6])
