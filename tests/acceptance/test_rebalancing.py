"""Two busy guilds that their ids lead to the same worker: after a while each has one."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flora.actors.routing import default_worker
from flora.messages.ids import GuildId
from flora.scripts.ownership import problems

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(120)]

IDS = (str(300_000_000_000_000_000 + number) for number in range(50))
BUSY = [guild_id for guild_id in IDS if default_worker(GuildId(guild_id), 2) == 0][:2]
QUICK = {
    "RUNTIME_MAX_WORKERS": "2",
    "RUNTIME_REBALANCE_INTERVAL_S": "0.25",
    "RUNTIME_REBALANCE_AFTER_S": "1",
    "RUNTIME_REBALANCE_OVER_PERCENT": "3",
}

# What it has seen is in a store, which goes with the guild; a script's own variables do not.
WORKS = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const seen = (await kv.get('seen')) ?? { count: 0, wrong: 0, last: -1 }
  if (msg.content === '!report') return msg.reply(JSON.stringify(seen))
  const [round, place] = msg.content.split(' ').map(Number)
  const number = round * 1000 + place
  await kv.set('seen', { count: seen.count + 1, wrong: seen.wrong + (number <= seen.last ? 1 : 0), last: number })
  let work = 0
  for (let step = 0; step < 400_000; step++) work = (work * 31 + step) | 0
})
"""


def test_given_two_busy_guilds_in_one_worker_then_soon_each_has_one_and_no_event_is_lost_or_late(make_flora, wait_for):
    flora = make_flora(QUICK).start()
    flora.unlimited()
    guilds = flora.new_guilds(BUSY)
    for guild in guilds:
        guild.deploy(WORKS)
    assert where(flora, guilds) == {0}

    are_apart = threading.Event()
    with ThreadPoolExecutor(1) as posting:
        posted = posting.submit(post_until, flora, guilds, are_apart)
        try:
            wait_for(lambda: where(flora, guilds) == {0, 1}, 20, "they are still in one worker")
        finally:
            are_apart.set()

    for guild in guilds:
        assert json.loads(guild.ask("!report", within_s=20))["wrong"] == 0
        assert json.loads(guild.ask("!report"))["count"] == posted.result()
    assert flora.metrics()["rebalance_moved"] == 1
    wait_for(lambda: not problems(flora.folder / "data", BUSY), 5, f"{problems(flora.folder / 'data', BUSY)}")
    (decision,) = [line for line in flora.logged() if line.get("action") == "rebalance"]
    assert decision["dimension"] == "processor"
    flora.end()


def post_until(flora, guilds, enough: threading.Event) -> int:
    """Numbered messages to guilds in turn, and some more when it is enough; gives how many each got."""
    channels, bursts = [guild.channel_id for guild in guilds], 0
    is_last = False
    while not is_last:
        is_last = enough.is_set()
        bursts += 1
        burst = {"channels": channels, "count": 60, "rate": 60, "content": f"{bursts} {{i}}"}
        flora.sim("POST", "/sim/burst", burst)
    return bursts * 60 // len(channels)


def where(flora, guilds) -> set[int]:
    """The workers that guilds are in."""
    status = flora.guild_status()
    return {status[guild.id]["worker"] for guild in guilds}
