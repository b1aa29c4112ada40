"""What became of an event, hop by hop, from the files alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flora.storage.trace_record import OK, TraceRecord

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

PATH = ["gateway.receive", "router.wait", "worker.receive", "isolate.run", "router.done"]
SLOW_US = 600_000
SCRIPT = """
const store = kv.store('seen')
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  if (msg.content === 'throw') throw new Error('broken')
  if (msg.content === 'sleep') { await new Promise((done) => setTimeout(done, 700)); return }
  if (msg.content !== 'go') return
  await store.set('key', 'value')
  await store.get('key')
  await msg.reply('Pong!')
})
"""


def took(hops: list[TraceRecord]) -> int:
    """From its beginning to its end, in µs."""
    return hops[-1].ends_us - hops[0].at_us


def finished(guild: Any, outcome: str = OK) -> list[list[TraceRecord]]:
    """Traces of a guild's events whose run ended so, and of which the router has heard."""
    return [
        hops
        for hops in guild.traces()
        if any(hop.name == "isolate.run" and hop.outcome == outcome for hop in hops) and hops[-1].name == "router.done"
    ]


def test_given_an_event_when_it_is_over_then_every_hop_can_be_read_with_what_its_handler_asked_for(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(SCRIPT)

    guild.ask("go")
    hops = wait_for(lambda: finished(guild), 5, "no trace of an event")[0]

    path = ["gateway.receive", "router.wait", "worker.receive", "isolate.run"]
    asked = ["kv", "kv", "rest POST /channels/{id}/messages"]
    assert [hop.name for hop in hops] == [*path, *asked, "router.done"]
    by_name = {hop.name: hop for hop in hops}
    for earlier, later in itertools.pairwise(path):
        assert by_name[later].parent == by_name[earlier].span
    run, rest = by_name["isolate.run"], by_name[asked[-1]]
    assert {hop.parent for hop in hops[4:]} == {run.span}
    assert (run.outcome, run.event, rest.outcome) == (OK, "messageCreate", OK)
    assert [hop.process.split()[0] for hop in hops] == ["gateway", "router", *["worker"] * 5, "router"]
    assert rest.attrs["status"] == 200
    assert 0 < rest.attrs["discord_us"] < rest.took_us
    assert run.took_us >= rest.took_us
    assert rest.ends_us <= run.ends_us


def test_given_a_guild_that_is_not_sampled_when_an_event_fails_or_is_slow_then_all_of_it_is_kept(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(SCRIPT)
    for _ in range(20):  # more than are sampled of one guild at once
        guild.say("nothing")

    guild.say("throw")
    guild.say("sleep")
    thrown = wait_for(lambda: finished(guild, "threw"), 5, "no trace of the error")[0]
    slow = wait_for(lambda: [each for each in finished(guild) if took(each) > SLOW_US], 5, "no slow trace")[0]

    assert len(guild.traces()) < 20
    for hops in (thrown, slow):
        assert [hop.name for hop in hops] == PATH
        assert all(later.parent == earlier.span for earlier, later in itertools.pairwise(hops))
