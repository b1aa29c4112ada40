"""`kill -9` of a part while events flow: each event is answered exactly once, per guild in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

GUILDS = 6
EVENTS = 600
PER_S = 200.0
KILL_AT = 100  # so many answers are there when the part is killed
WITHIN_S = 25.0
REPLIES = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply(msg.content) })"


# What a script prints does not depend on REST: it shows what ran also while the gateway is down.
PRINTS = "on('messageCreate', (msg) => { if (!msg.author.bot) console.log('ran ' + msg.content) })"


@pytest.fixture(scope="module")
def guilds(broken_flora):
    return broken_flora.new_guilds([None] * GUILDS)


class Load:
    """Numbered messages in all guilds in turn, at a steady rate; guild i gets i, i + GUILDS, …"""

    def __init__(self, flora, guilds) -> None:
        self._flora = flora
        self._guilds = guilds
        self._marks = {guild.id: guild.say("mark") for guild in guilds}
        self._replies_before = flora.sim("GET", "/sim/stats")["replies"]

    def run(self) -> None:
        channels = [guild.channel_id for guild in self._guilds]
        self._flora.sim("POST", "/sim/burst", {"channels": channels, "count": EVENTS, "rate": PER_S, "content": "{i}"})

    def expected(self, guild) -> list[int]:
        return list(range(self._guilds.index(guild), EVENTS, len(self._guilds)))

    def replies(self) -> int:
        """Answers so far, about; cheap to ask for."""
        found: int = self._flora.sim("GET", "/sim/stats")["replies"]
        return found - self._replies_before

    def replied(self, guild) -> list[int]:
        return [int(text) for text in guild.said_by_bot(self._marks[guild.id]) if text.isdigit()]


@pytest.mark.scenario("T25")
@pytest.mark.parametrize("part", ["router", "log book", "cron", "deployer", "http"])
def test_given_load_when_a_part_that_makes_no_calls_is_killed_then_each_event_is_answered_once_in_order(
    broken_flora, guilds, wait_for, part
):
    for guild in guilds:
        guild.deploy(REPLIES)
    load = Load(broken_flora, guilds)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        wait_for(lambda: load.replies() >= KILL_AT, WITHIN_S, "no load")
        broken_flora.kill(part)
        running.result()

    wait_for(lambda: load.replies() >= EVENTS, WITHIN_S, "answers are missing")
    for guild in guilds:
        wait_for(lambda guild=guild: len(load.replied(guild)) >= EVENTS // GUILDS, WITHIN_S, "answers are missing")
        assert load.replied(guild) == load.expected(guild)
    wait_for(lambda: f"flora: {part}" in broken_flora.processes().values(), WITHIN_S, f"{part} was not restarted")


@pytest.mark.scenario("T25")
def test_given_load_when_the_router_is_killed_three_times_then_each_event_is_answered_once_in_order(
    broken_flora, guilds, wait_for
):
    for guild in guilds:
        guild.deploy(REPLIES)
    load = Load(broken_flora, guilds)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        for answers in (100, 250, 400):
            wait_for(
                lambda answers=answers: load.replies() >= answers,
                WITHIN_S,
                "the load stands still",
            )
            broken_flora.kill("router")
        running.result()

    wait_for(lambda: load.replies() >= EVENTS, WITHIN_S, "answers are missing")
    for guild in guilds:
        wait_for(lambda guild=guild: len(load.replied(guild)) >= EVENTS // GUILDS, WITHIN_S, "answers are missing")
        assert load.replied(guild) == load.expected(guild)


@pytest.mark.scenario("T25")
def test_given_load_when_the_gateway_is_killed_twice_then_it_resumes_and_each_event_runs_once_in_order(
    broken_flora, guilds, wait_for
):
    for guild in guilds:
        guild.deploy(PRINTS)
    load = Load(broken_flora, guilds)
    identified = {session["id"] for session in broken_flora.sim("GET", "/sim/stats")["sessions"]}

    def ran(guild) -> list[int]:
        texts = (line["message"] for line in guild.logs())
        return [int(text.removeprefix("ran ")) for text in texts if text.startswith("ran ") and text != "ran mark"]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        for count in (100, 350):
            wait_for(
                lambda count=count: sum(len(ran(guild)) for guild in guilds) >= count, WITHIN_S, "the load stands still"
            )
            broken_flora.kill("gateway")
        running.result()

    wait_for(lambda: sum(len(ran(guild)) for guild in guilds) >= EVENTS, WITHIN_S, "events are missing")
    for guild in guilds:
        assert ran(guild) == load.expected(guild)
    sessions = broken_flora.sim("GET", "/sim/stats")["sessions"]
    assert {session["id"] for session in sessions} == identified, "it identified instead of resuming"
    assert [session["connected"] for session in sessions] == [True]
    guilds[0].deploy(REPLIES)
    assert guilds[0].ask("here") == "here", "REST works without another READY"


TELLS = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  try { await msg.reply(msg.content) } catch (error) { console.log('failed ' + msg.content + ' ' + error.message) }
})
"""


def test_given_replies_when_the_gateway_is_killed_then_each_call_is_made_or_its_script_is_told_that_nobody_knows(
    broken_flora, guilds, wait_for
):
    for guild in guilds:
        guild.deploy(TELLS)
    load = Load(broken_flora, guilds)

    def failed(guild) -> list[int]:
        texts = (line["message"] for line in guild.logs())
        return [int(text.split()[1]) for text in texts if text.startswith("failed ") and "restarted" in text]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        wait_for(lambda: load.replies() >= KILL_AT, WITHIN_S, "no load")
        broken_flora.kill("gateway")
        running.result()

    def settled(guild) -> bool:
        return set(load.replied(guild)) | set(failed(guild)) == set(load.expected(guild))

    for guild in guilds:
        wait_for(lambda guild=guild: settled(guild), WITHIN_S, "a call came to no end")
        numbers = load.replied(guild)
        assert len(numbers) == len(set(numbers)), "a call was made twice"
    assert sum(len(failed(guild)) for guild in guilds) < EVENTS / 3, "what had not been sent should not fail"


def test_given_lines_being_printed_when_the_log_book_is_killed_then_none_that_follow_are_lost(
    broken_flora, guilds, wait_for
):
    guild = guilds[0]
    guild.deploy("on('messageCreate', (msg) => { if (!msg.author.bot) console.log('line ' + msg.content) })")

    def printed() -> list[int]:
        texts = (line["message"] for line in guild.logs())
        return [int(text.split()[1]) for text in texts if text.startswith("line ")]

    def burst() -> None:
        body = {"channels": [guild.channel_id], "count": 200, "rate": 60.0, "content": "{i}"}
        broken_flora.sim("POST", "/sim/burst", body)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(burst)
        wait_for(lambda: len(printed()) >= 30, WITHIN_S, "nothing is printed")
        before = printed()[-1]
        killed = broken_flora.kill("log book")
        running.result()

    wait_for(lambda: _printed_with_new_book(broken_flora, killed, printed)[-1:] == [199], WITHIN_S, "lines are missing")
    numbers = printed()
    assert numbers == list(range(numbers[0], 200)), "a gap, or a line twice"
    assert numbers[0] <= before + 60, "the new one has what was printed since"


def _printed_with_new_book(flora, killed, printed) -> list[int]:
    try:
        return printed() if flora.pid("log book") != killed else []
    except Exception as exc:
        if getattr(exc, "status", 0) == 503:
            return []
        raise
