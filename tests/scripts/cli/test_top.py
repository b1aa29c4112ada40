"""`flora top`: what it counts, that it fits the screen, and that it leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import termios
from typing import Any

import pytest

from flora.messages.lifecycle import ReadMetrics
from flora.messages.placement import DescribeGuilds, DescribeWorkers
from flora.scripts.cli.top_view import SORTS, Sample, screen

SECRET = "operator-secret-for-tests"
_COLOURS = re.compile(r"\x1b\[\d*m")


def a_guild(guild_id: str, **usage: Any) -> dict[str, Any]:
    state = usage.pop("state", "serving")
    facts = {"cpu_us": 0, "events_done": 0, "heap_bytes": None, "buffer_bytes": 0, "ops_refused": 0} | usage
    return {"guild_id": guild_id, "worker": 0, "state": state, "waiting": 1, "unfinished": 2, "usage": facts}


def a_worker(number: int = 0, **changes: Any) -> dict[str, Any]:
    facts = {
        "worker": number, "dedicated": False, "up": True, "guilds": 2, "unfinished": 5, "restarts": 1,
        "rss_bytes": 90_000_000, "cpu_us": 0, "cpu_percent": 41.6, "accepts": True,
    }  # fmt: skip
    return facts | changes


def shown(before: Sample | None, now: Sample, sort: str = "c", columns: int = 120, rows: int = 40) -> list[str]:
    return screen(before, now, sort=sort, columns=columns, rows=rows, colour=False)


BEFORE = Sample(10.0, {"dispatch_total": 100}, [a_worker()], [a_guild("1"), a_guild("2", cpu_us=5)])
NOW = Sample(
    12.0,
    {"dispatch_total": 300, "p50_latency_us": 1500, "events_shed": 8},
    [a_worker(cpu_us=1_000_000)],
    [a_guild("1", cpu_us=1_900_000, events_done=30), a_guild("2", cpu_us=5, buffer_bytes=2_000_000, state="resting")],
)


def test_given_two_samples_then_rates_are_per_second_of_what_grew():
    lines = shown(BEFORE, NOW)

    assert lines[0] == "flora   2 guilds (1 serving, 1 resting), 1 workers"
    assert lines[1].startswith("events  100/s done, 0/s failed, 0/s timed out, 4/s dropped; p50 1.5 ms")
    assert lines[5].split() == ["0", "shared", "up", "2", "5", "50.0%", "42%", "90.0", "MB", "1"]
    assert lines[9].split() == ["1", "0", "serving", "95.0%", "15.0", "3", "-", "0"]


def test_given_workers_that_guilds_do_not_come_to_then_it_is_said():
    workers = [
        a_worker(0, accepts=False),
        a_worker(1, up=False, accepts=False),
        a_worker(1000, dedicated=True, accepts=False),
    ]
    workers.append(a_worker(2, cpu_percent=None))
    workers.append(a_worker(3, pool_state="draining", accepts=False))

    lines = shown(None, Sample(1.0, {}, workers, []))

    assert [line.split()[2] for line in lines[5:10]] == ["closed", "down", "up", "draining", "up"]
    assert lines[7].split()[6] == "?"


@pytest.mark.parametrize(("sort", "first"), [("c", "1"), ("e", "1"), ("m", "2"), ("s", "2"), ("w", "1")])
def test_given_a_sort_then_the_highest_comes_first(sort, first):
    assert shown(BEFORE, NOW, sort)[9].split()[0] == first


def test_given_no_earlier_sample_or_a_counter_that_began_anew_then_the_rate_is_nought():
    restarted = Sample(14.0, {"dispatch_total": 3}, [a_worker()], [])

    assert " 0/s done" in shown(None, NOW)[1]
    assert " 0/s done" in shown(NOW, restarted)[1]


@pytest.mark.parametrize("rows", [10, 24])
@pytest.mark.parametrize("columns", [20, 80])
def test_given_a_small_screen_then_everything_fits_and_it_says_what_is_hidden(rows, columns):
    many = Sample(12.0, {}, [a_worker(n) for n in range(64)], [a_guild(str(n), cpu_us=10**9) for n in range(500)])

    lines = screen(BEFORE, many, sort="c", columns=columns, rows=rows, colour=True)

    assert len(lines) == rows
    assert all(len(_COLOURS.sub("", line)) <= columns for line in lines)
    assert re.fullmatch(r"… and \d+ more", lines[-1])


@pytest.fixture
def operator(flora: Any, api: Any) -> Any:
    api.system.answers[ReadMetrics] = lambda _: {"dispatch_total": 5}
    api.system.answers[DescribeWorkers] = lambda _: [a_worker()]
    api.system.answers[DescribeGuilds] = lambda _: [a_guild("1000")]
    flora.environment |= {"FLORA_API_URL": api.url, "FLORA_OPERATOR_SECRET": SECRET}
    return flora


@pytest.mark.service
async def test_given_no_terminal_then_one_screen_is_printed(operator: Any) -> None:
    done = await operator.run("top")

    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "flora   1 guilds (1 serving), 1 workers"
    assert "\x1b" not in done.out


@pytest.mark.service
async def test_given_a_terminal_when_keys_are_pressed_then_it_sorts_and_ends_and_puts_everything_back(
    operator: Any,
) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = await operator.start("top", "--interval", "0.2", terminal=theirs, TERM="xterm")
    seen = b""

    async def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            seen += await asyncio.to_thread(os.read, ours, 65536)

    async with asyncio.timeout(15):
        await until(b"GUILDS by processor")
        os.write(ours, b"m")
        await until(f"GUILDS by {SORTS['m'][0]}".encode())
        os.write(ours, b"q")
        await until(b"\x1b[?1049l")
        assert await process.wait() == 0

    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
