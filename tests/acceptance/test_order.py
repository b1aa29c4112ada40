"""Many events over many guilds: per guild in order, none lost, none doubled."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(120)]

GUILDS = 100
EVENTS = 20_000

COUNTS = """
const seen = { count: 0, wrong: 0, first: null, last: null }
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  if (msg.content === '!report') return msg.reply(JSON.stringify(seen))
  const number = Number(msg.content)
  seen.count += 1
  if (seen.last === null) seen.first = number
  else if (number !== seen.last + %d) seen.wrong += 1
  seen.last = number
})
"""


@pytest.mark.scenario("T25")
def test_given_20000_events_over_100_guilds_then_each_guild_sees_its_own_once_and_in_order(flora):
    guilds = flora.new_guilds([None] * GUILDS)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda guild: guild.deploy(COUNTS % GUILDS), guilds))

    channels = [guild.channel_id for guild in guilds]
    asked = {"channels": channels, "count": EVENTS, "content": "{i}", "final_content": "!report", "wait_replies_s": 30}
    done = flora.sim("POST", "/sim/burst", asked)

    assert done["complete"], done
    reports = [json.loads(guild.said_by_bot()[-1]) for guild in guilds]
    each = EVENTS // GUILDS
    expected = [{"count": each, "wrong": 0, "first": n, "last": n + (each - 1) * GUILDS} for n in range(GUILDS)]
    assert reports == expected
    for guild in guilds:  # the counters of the system also count what other tests have left behind
        assert [line for line in guild.logs() if line["level"] != "info"] == []
