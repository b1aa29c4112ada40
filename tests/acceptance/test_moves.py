"""Guilds move between the workers of a running flora, while they are used."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flora.scripts.ownership import problems

OPERATOR_SECRET = "only-for-the-tests"  # as running_flora.py sets it
pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

COUNTS = """
const version = %d
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply([msg.content, version, await kv.increment('messages')].join(' '))
})
cron('each second', '* * * * * *', async () => { await kv.increment('runs'); console.log(`run ${Math.floor(Date.now() / 1000)}`) })
"""


def move(flora: Any, guild: Any, to: int | None = None) -> dict[str, Any]:
    body = {} if to is None else {"to": to}
    found: dict[str, Any] = flora.api("POST", f"/guilds/{guild.id}/migrate", body, token=OPERATOR_SECRET)
    return found


def where(flora: Any, guild: Any) -> int:
    return int(json.loads(flora.cli("status", guild.id, "--json").stdout)["worker"])


@pytest.mark.scenario("T41")
@pytest.mark.scenario("T43")
@pytest.mark.scenario("T50")
def test_given_a_guild_in_use_when_it_moves_again_and_again_then_nothing_is_lost_doubled_or_reordered(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(COUNTS % 1)
    first = guild.say("begin")
    guild.reply_to(first)

    moved = []
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(6):
            moving = pool.submit(move, flora, guild)
            beside = pool.submit(guild.deploy, COUNTS % (round_ + 2)) if round_ % 2 else None
            for number in range(4):
                guild.say(f"{round_}.{number}")
            moved.append(moving.result())
            if beside is not None:
                beside.result()
    guild.ask("end")

    said = [text.split() for text in guild.said_by_bot(first)][1:]
    assert [text for text, _, _ in said] == [f"{r}.{n}" for r in range(6) for n in range(4)] + ["end"]
    assert [int(count) for _, _, count in said] == list(range(2, 27)), "one owner of the store at a time"
    versions = [int(version) for _, version, _ in said]
    assert versions == sorted(versions)
    assert versions[-1] == 7
    assert all(each["source"] != each["target"] for each in moved)
    assert where(flora, guild) == moved[-1]["target"]
    data_dir = flora.folder / "data"
    wait_for(lambda: not problems(data_dir, [guild.id]), 5, f"{problems(data_dir, [guild.id])}")
    runs = [line["message"] for line in guild.logs() if line["message"].startswith("run ")]
    assert len(runs) == len(set(runs)), "once per second"


def test_given_idle_guilds_when_they_move_then_each_pauses_for_a_moment(flora, record_property, patience):
    guilds = [flora.new_guild() for _ in range(5)]
    for guild in guilds:
        guild.deploy(COUNTS % 1)

    pauses_ms = sorted(move(flora, guild)["paused_us"] / 1000 for guild in guilds for _ in range(3))

    record_property("pause_ms", pauses_ms[len(pauses_ms) // 2])
    assert pauses_ms[len(pauses_ms) // 2] < 50 * patience(), pauses_ms


def test_given_an_undeploy_during_a_move_then_nothing_of_the_guild_is_left(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(COUNTS % 1)
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move, flora, guild)
        flora.api("DELETE", f"/deployments/{guild.id}")
        moving.exception()

    data_dir = flora.folder / "data"
    wait_for(
        lambda: problems(data_dir, [guild.id]) == [f"guild {guild.id} has 0 isolates: in workers []"], 5, "it is left"
    )
