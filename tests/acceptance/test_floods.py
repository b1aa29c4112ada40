"""Guilds that flood everything that is written down of them: the disk stays as it is, and nobody else loses a line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flora.actors.tracing import TRACES_FOLDER

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

MAX_LOGS_MB, MAX_TRACES_MB = 1, 1
SETTINGS = {
    "RUNTIME_MAX_WORKERS": "2",
    "RUNTIME_LOG_LINES_PER_SECOND": "0",  # what holds a flood back before the disk must
    "LOGS_MAX_GUILD_KB": "64",
    "LOGS_MAX_TOTAL_MB": str(MAX_LOGS_MB),
    "TRACE_MAX_MB": str(MAX_TRACES_MB),
}
FLOODS = 20
MESSAGES, PER_S = 2500, 500
FAILING = """
on('messageCreate', async (msg) => {
  for (let line = 0; line < 10; line++) console.log(msg.content + ' ' + 'flood '.repeat(40))
  throw new Error('broken')
})
"""
QUIET = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  console.log('heard ' + msg.content)
  await msg.reply(msg.content)
})
"""


@contextmanager
def most_bytes_below(folder: Path) -> Iterator[list[int]]:
    """Looks at a folder while the block runs; the list's one item is the most that its files ever had."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            size = 0
            for path in folder.rglob("*"):
                with suppress(OSError):
                    size += path.stat().st_size
            most[0] = max(most[0], size)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        ended.set()
        looking.join()


def test_given_guilds_that_flood_logs_and_traces_then_the_disk_holds_and_another_guild_keeps_its_own(
    make_flora: Any, wait_for: Any
) -> None:
    flora = make_flora(SETTINGS).start()
    flora.unlimited()
    quiet, *floods = flora.new_guilds([None] * (1 + FLOODS))
    quiet.deploy(QUIET)
    for guild in floods:
        guild.deploy(FAILING)
    quiet.ask("before")
    before = wait_for(quiet.traces, 5, "no trace of the quiet guild")[0][0].trace
    data = flora.folder / "data"

    with most_bytes_below(data / "logs") as logs, most_bytes_below(data / TRACES_FOLDER) as traces:
        flood = {"channels": [guild.channel_id for guild in floods], "count": MESSAGES, "rate": PER_S}
        flora.sim("POST", "/sim/burst", {**flood, "content": "message {i}"})
        last = f"message {MESSAGES - 1} "
        wait_for(lambda: any(last in line["message"] for line in floods[-1].logs()), 30, "the flood did not end")
        quiet.ask("after")
        wait_for(lambda: len(quiet.traces()) > 1, 5, "no trace of the quiet guild after the flood")

    written = MESSAGES * 10 * len("flood " * 40)
    assert written > 5 * (MAX_LOGS_MB << 20)
    for most, limit in ((logs[0], MAX_LOGS_MB << 20), (traces[0], MAX_TRACES_MB << 20)):
        assert (
            limit / 2 < most <= limit * 1.05
        )  # a batch is written before the oldest lines go, and files change while we look
    assert not any("message 0 " in line["message"] for line in floods[0].logs())
    assert [line["message"] for line in quiet.logs() if "heard" in line["message"]] == ["heard before", "heard after"]
    assert before in {hops[0].trace for hops in quiet.traces()}
    shown = flora.cli("trace", "list", "--guild", quiet.id, "--json")
    assert before in shown.stdout
    flora.stop()
