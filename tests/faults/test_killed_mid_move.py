"""`kill -9` while guilds move: of the worker they leave, the one they go to, the router, the deployer. Each is active once afterwards."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from flora.scripts.ownership import problems

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(90)]

SETTINGS = {"RUNTIME_MAX_WORKERS": "2", "RUNTIME_DISPATCH_TIMEOUT_SECS": "2", "KV_DURABILITY": "always"}
OPERATOR_SECRET = "only-for-the-tests"  # as running_flora.py sets it
BACK_WITHIN_S = 15.0

# The number is told before anything is awaited: an event that was under way when its worker died is not lost without a trace.
COUNTS = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply(msg.content + ' ' + (await kv.increment('messages')))
})
"""


@pytest.fixture(scope="module")
def guilds(broken_flora):
    found = [broken_flora.new_guild() for _ in range(8)]
    for guild in found:
        guild.deploy(COUNTS)
    return found


def workers(flora: Any) -> dict[str, int]:
    described = json.loads(flora.cli("status", "--json").stdout)["guilds"]
    return {facts["guild_id"]: facts["worker"] for facts in described}


@pytest.mark.parametrize("victim", ["source", "target", "router", "deployer"])
def test_given_guilds_on_the_move_when_a_process_is_killed_then_each_is_active_once_and_nothing_runs_twice(
    broken_flora, guilds, wait_for, refused, victim
):
    flora, where = broken_flora, workers(broken_flora)
    source = where[guilds[0].id]
    moving = [guild for guild in guilds if where[guild.id] == source]
    target = 1 - source

    def move(guild: Any) -> None:
        with suppress(refused):
            flora.api("POST", f"/guilds/{guild.id}/migrate", {"to": target}, token=OPERATOR_SECRET)

    with ThreadPoolExecutor(len(moving) + 1) as pool:
        begun = [(guild, guild.say(f"{victim} 0")) for guild in guilds]
        asked = [pool.submit(move, guild) for guild in moving]
        wait_for(lambda: any(each.done() for each in asked), 10, "no guild has moved")
        flora.kill({"source": f"worker {source}", "target": f"worker {target}"}.get(victim, victim))
        for guild in guilds:
            guild.say(f"{victim} 1")
    for each in asked:
        each.result()

    for guild, first in begun:
        guild.ask_until_answered(f"{victim} end", within_s=BACK_WITHIN_S)
        said = [text.rsplit(" ", 1) for text in guild.said_by_bot(first)]
        texts = [text for text, _ in said if not text.endswith("end")]
        assert texts == sorted(set(texts)), "in order, none twice"
        counts = [int(count) for _, count in said]
        assert counts == sorted(set(counts))
    data_dir, ids = flora.folder / "data", [guild.id for guild in guilds]
    wait_for(lambda: not problems(data_dir, ids), 10, f"{problems(data_dir, ids)}")
