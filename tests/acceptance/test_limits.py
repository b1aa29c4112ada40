"""One guild misbehaves: it is stopped at its limit, goes on with the next event, and its neighbours notice nothing."""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flora.actors.routing import default_worker

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

LIMIT_S = 2.0  # RUNTIME_DISPATCH_TIMEOUT_SECS of the shared flora
GRACE_S = 1.0
PINGS = 25

MISBEHAVES = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  if (msg.content !== 'go') return msg.reply('well: ' + msg.content)
  await msg.reply('begin')
  %s
})
"""
SPINS = "while (true) {}"
SPINS_IN_MICROTASKS = "while (true) await 0"
EATS_MEMORY = "const eaten = []; while (true) eaten.push(new Array(1000).fill({ a: eaten.length }))"
WAITS_THEN_REPLIES = "await new Promise((wake) => setTimeout(wake, 10000)); await msg.reply('too late')"


@pytest.fixture(scope="module")
def pair(flora):
    """Two guilds of the same worker."""
    ids = [guild_id for n in range(64) if default_worker(guild_id := str(800_000_000_000_000_000 + n), 2) == 1]
    return flora.new_guilds(ids[:2])


def median_ms(guild) -> float:
    """Of some pings, one after the other: from the message to the bot's reply, in milliseconds of Discord's clock."""
    took = []
    for _ in range(PINGS):
        asked = guild.say("!ping")
        assert guild.reply_to(asked) == "Pong!"
        reply = guild.messages(asked)[-1]
        took.append(_moment_ms(reply["id"]) - _moment_ms(asked))
    return statistics.median(took)


def _moment_ms(snowflake: str) -> int:
    """When something was made, in Discord's time."""
    return int(snowflake) >> 22


def _moment_s(snowflake: str) -> float:
    """The same in Unix time; the simulated Discord's clock is this machine's."""
    return (_moment_ms(snowflake) + 1_420_070_400_000) / 1000


@pytest.mark.scenario("T26", "T29", "T30", "T32", "T33")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (SPINS, "dispatch timed out"),
        (SPINS_IN_MICROTASKS, "dispatch timed out"),
        (EATS_MEMORY, "out of memory|dispatch timed out"),  # whichever limit a busy machine comes to first
        (WAITS_THEN_REPLIES, "dispatch timed out"),
    ],
    ids=["spin", "microtask spin", "heap bomb", "wait"],
)
def test_given_a_guild_that_misbehaves_then_it_ends_at_its_limit_and_neighbours_wait_no_longer_than_usual(
    flora, pair, wait_for, patience, fault, told
):
    bad, neighbour = pair
    bad.deploy(MISBEHAVES % fault)
    before = _ended_by_limits(flora)
    usual_ms = median_ms(neighbour)

    asked = bad.say("go")
    assert bad.reply_to(asked) == "begin"
    with ThreadPoolExecutor(1) as pool:
        meanwhile = pool.submit(median_ms, neighbour)
        next_event = bad.say("next")
        line = wait_for(lambda: _told_since(bad, asked, told), LIMIT_S + 10, f"{told}: not in the log")
        disturbed_ms = meanwhile.result()

    assert (line["level"], line["target"]) == ("error", "flora:runtime")
    assert line["timestamp"] / 1000 - _moment_s(asked) <= LIMIT_S + GRACE_S * patience()
    assert bad.reply_to(next_event) == "well: next"
    assert _ended_by_limits(flora) > before
    assert disturbed_ms <= 5 * usual_ms + 50, f"{usual_ms} ms before, {disturbed_ms} ms beside the fault"
    assert "too late" not in bad.said_by_bot(asked)


def _told_since(guild, message_id, told):
    """The guild's first log line after a message in which a pattern is found."""
    new = (line for line in guild.logs() if line["timestamp"] / 1000 > _moment_s(message_id))
    return next((line for line in new if re.search(told, line["message"])), None)


def _ended_by_limits(flora) -> float:
    metrics = flora.metrics()
    return metrics["oom_errors"] + metrics["timeout_errors"]


@pytest.mark.scenario("T31")
def test_given_an_endless_loop_at_top_level_when_deployed_then_the_deploy_fails_and_the_old_script_answers(
    make_flora, refused, patience
):
    flora = make_flora({"RUNTIME_MAX_WORKERS": "1", "RUNTIME_LOAD_TIMEOUT_SECS": "1"}).start()
    guild = flora.new_guild()
    began_s = time.monotonic()

    with pytest.raises(refused, match="module_load timed out") as caught:
        guild.deploy("while (true) {}")

    assert caught.value.status == 400
    assert time.monotonic() - began_s < 1 + (GRACE_S + 3) * patience(), (
        "limit, its grace, and everything around the load"
    )
    assert guild.ask("!ping") == "Pong!"


@pytest.mark.scenario("T37", "T40")
def test_given_handlers_that_fail_then_the_log_says_where_and_the_guild_goes_on(flora):
    guild = flora.new_guild()
    guild.deploy_files(
        {
            "main.ts": "import { check } from './check'\n"
            "on('messageCreate', async (msg: any) => { if (!msg.author.bot) await check(msg) })\n"
            "on('messageCreate', async (msg: any) => { if (!msg.author.bot) await msg.reply('second handler') })\n",
            "check.ts": "export async function check(msg: any): Promise<void> {\n"
            "  if (msg.content === 'throw') throw new Error('thrown on purpose')\n"
            "  if (msg.content === 'hang') await new Promise(() => {})\n"
            "}\n",
        }
    )

    failed = guild.say("throw")
    guild.say("hang")

    assert guild.ask("fine") == "second handler"
    thrown = guild.log_line("thrown on purpose")
    assert thrown["message"].startswith("dispatch failed: ")
    assert "check.ts:2" in thrown["message"]
    assert guild.log_line("Promise resolution is still pending")["level"] == "error"
    assert guild.said_by_bot(failed) == ["second handler"], "after a throw, later handlers are not called"
