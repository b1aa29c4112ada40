"""`kill -9` of a worker: nothing runs twice, nothing that waited is lost, order is kept, and it is quick."""

from __future__ import annotations

import json
import time

import pytest

from flora.actors.routing import default_worker

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

BACK_WITHIN_S = 3.0
SETTINGS = {"RUNTIME_MAX_WORKERS": "2", "RUNTIME_DISPATCH_TIMEOUT_SECS": "2", "KV_DURABILITY": "always"}

# "begin" is told before the loop starts, so that the test knows when to kill; the loop ends at the deadline, if nobody kills.
HOLDS_ON_ONE = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply('begin ' + msg.content)
  if (msg.content === '1') { while (true) {} }
})
"""

# A list longer than V8 can make, in one call that nobody can look into.
ENDS_THE_PROCESS = """
let text = 'xx'
while (text.length <= 2 ** 27) text += text.length < 2 ** 27 ? text : 'xx'
RegExp('x', 'g')[Symbol.match](text)
"""


# Values of 20 KB: a write takes long enough to be cut off in the middle. What was awaited is told every ten writes.
WRITES_ON = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  if (msg.content.startsWith('write')) {
    const round = msg.content.slice(6)
    for (let n = 1; ; n++) {
      await store('log').set(round + ':' + String(n).padStart(6, '0'), 'x'.repeat(20000) + n)
      if (n % 10 === 0) await msg.reply(String(n))
    }
  }
  let [count, cursor, last] = [0, undefined, null]
  const prefix = msg.content.slice(6) + ':'
  do {
    const page = await store('log').list({ prefix, cursor, limit: 1000 })
    count += page.keys.length
    cursor = page.cursor
    last = page.keys.at(-1)?.name ?? last
  } while (cursor !== undefined)
  const value = await store('log').get(last)
  await msg.reply(JSON.stringify([count, Number(last.split(':')[1]), Number(value.slice(20000))]))
})
"""


@pytest.fixture(scope="module")
def guilds_of_worker_0(broken_flora):
    ids = [guild_id for n in range(64) if default_worker(guild_id := str(900_000_000_000_000_000 + n), 2) == 0]
    return broken_flora.new_guilds(ids[:7])


@pytest.mark.scenario("T34")
def test_given_a_running_event_when_its_worker_is_killed_then_it_is_not_run_again_and_those_behind_it_are(
    broken_flora, guilds_of_worker_0, wait_for
):
    guild, neighbour = guilds_of_worker_0[:2]
    guild.deploy(HOLDS_ON_ONE)
    first = guild.say("1")
    assert guild.reply_to(first) == "begin 1"
    waiting = [guild.say(str(number)) for number in range(2, 8)]
    before = broken_flora.metrics()

    broken_flora.kill("worker 0")
    killed_s = time.monotonic()

    pinged = neighbour.say("!ping")
    assert neighbour.reply_to(pinged, within_s=BACK_WITHIN_S) == "Pong!"
    for number, message_id in enumerate(waiting, start=2):
        left_s = BACK_WITHIN_S - (time.monotonic() - killed_s)
        assert guild.reply_to(message_id, within_s=max(0.0, left_s)) == f"begin {number}"
    assert guild.said_by_bot(after=first) == [f"begin {number}" for number in range(1, 8)]
    after = broken_flora.metrics()
    assert after["events_died"] >= 1
    assert after["dispatch_total"] >= before["dispatch_total"], "what the dead worker had counted is forgotten"
    assert after["runtime_restarts"] == before["runtime_restarts"] + 1
    assert 'flora_actor_restarts_total{actor="worker 0",cause="SIGKILL"}' in broken_flora.scrape()
    assert any("the worker died while messageCreate was running" in line["message"] for line in guild.logs())
    traces = guild.traces()
    died = [hop for hops in traces for hop in hops if hop.outcome == "died"]
    assert died  # the one that ran, and what had ended a moment before and was not told yet
    assert {(hop.name, hop.process) for hop in died} == {("isolate.run", "worker 0")}
    assert all(hop.why.startswith("its worker died while it was running") for hop in died)
    kept = [hops for hops in traces if any("had not started and is sent again" in hop.why for hop in hops)]
    assert len(kept) >= len(waiting)  # what the bot had said is an event, too
    for hops in kept:
        assert [hop.outcome for hop in hops if hop.name == "isolate.run"] == ["ok"]


def test_given_traffic_in_many_guilds_when_their_worker_is_killed_then_what_had_not_started_is_answered_in_order(
    broken_flora, guilds_of_worker_0, wait_for
):
    guilds = guilds_of_worker_0[2:6]
    for guild in guilds:
        guild.deploy("on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply(msg.content) })")
    died_before = broken_flora.metrics()["events_died"]
    accepted_before = broken_flora.metrics()["events_accepted"]
    marks = {guild.id: guild.say("mark") for guild in guilds}

    channels = [guild.channel_id for guild in guilds]
    broken_flora.sim("POST", "/sim/burst", {"channels": channels, "count": 400, "content": "{i}"})
    broken_flora.kill("worker 0")
    last = {guild.id: guild.say("last") for guild in guilds}

    for guild in guilds:
        assert guild.reply_to(last[guild.id], within_s=10) == "last"
    replies = {
        guild.id: [int(text) for text in guild.said_by_bot(marks[guild.id]) if text.isdigit()] for guild in guilds
    }
    for numbers in replies.values():
        assert len(numbers) == len(set(numbers)), "an event ran twice"
    died = broken_flora.metrics()["events_died"] - died_before
    answered = sum(len(numbers) for numbers in replies.values())
    assert answered + died >= 400, "an event that had not started was lost"
    assert broken_flora.metrics()["events_accepted"] > accepted_before


def test_given_a_worker_that_dies_while_a_script_loads_then_the_deploy_fails_at_once_and_the_old_one_answers(
    broken_flora, guilds_of_worker_0, refused, patience
):
    guild = guilds_of_worker_0[6]  # quarantined from here on
    guild.deploy("on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('old') })")
    started_s = time.monotonic()

    with pytest.raises(refused) as caught:
        guild.deploy(ENDS_THE_PROCESS)

    assert caught.value.status == 503
    assert time.monotonic() - started_s < 10 * patience()
    assert guild.ask_until_answered("hello", within_s=10) == "old"


def test_given_the_starter_bot_then_its_counter_goes_on_after_a_deploy_and_after_its_workers_death(
    broken_flora, guilds_of_worker_0
):
    guild = guilds_of_worker_0[1]
    used = {"name": "counter", "wait_s": 20}

    def count() -> str:
        answer = broken_flora.sim("POST", f"/sim/guilds/{guild.id}/interactions/command", used)
        return str(answer["message"]["content"])

    first = count()
    files = broken_flora.api("GET", f"/deployments/{guild.id}")["files"]
    guild.deploy_files({file["path"]: file["contents"] for file in files}, "src/main.ts")
    second = count()
    broken_flora.kill("worker 0")
    third = count()

    assert [first, second, third] == ["Counter: 1", "Counter: 2", "Counter: 3"]


def test_given_a_script_that_writes_when_its_worker_is_killed_then_all_it_was_told_is_there(broken_flora, wait_for):
    # Not worker 0: one that dies more often within a minute takes longer to come back.
    number = next(n for n in range(64) if default_worker(str(910_000_000_000_000_000 + n), 2) == 1)
    guild = broken_flora.new_guild(str(910_000_000_000_000_000 + number))
    guild.deploy(WRITES_ON)

    for round_name in ("first", "second"):
        message = guild.say(f"write {round_name}")
        wait_for(lambda message=message: len(guild.said_by_bot(message)) >= 3, 10, "the script does not write")
        broken_flora.kill("worker 1")
        told = max(int(text) for text in guild.said_by_bot(message) if text.isdigit())

        count, last, value = json.loads(guild.ask_until_answered(f"count {round_name}", within_s=15))

        assert count == last == value, "a write before the last one is missing, or its value is another's"
        assert told <= last <= told + 20, "more than what was under way is missing"
