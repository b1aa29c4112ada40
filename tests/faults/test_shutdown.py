"""SIGTERM and SIGINT: what runs and what is queued ends first, within the deadline; a second signal does not wait."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

DEADLINE_S = 4.0
SLACK_S = (
    1.0  # beyond the second that an end may take, for ending fifteen processes; a busy machine takes longer for both
)
SETTINGS = {
    "RUNTIME_MAX_WORKERS": "1",
    "RUNTIME_SHUTDOWN_TIMEOUT_SECS": str(DEADLINE_S),
    "RUNTIME_DISPATCH_TIMEOUT_SECS": "50",
    "RUNTIME_GUILD_OVERLAP": "1",
}
SLOW = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await new Promise((done) => setTimeout(done, 200))
  await msg.reply('did ' + msg.content)
})
"""
SPINS = "on('messageCreate', async (msg) => { if (!msg.author.bot) { await msg.reply('spinning'); while (true) {} } })"


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def _stop(flora, number: int, within_s: float) -> float:
    """Seconds until it had ended with 0 and nothing was left."""
    began_s = time.monotonic()
    assert flora.stop(number, within_s=within_s) == 0, flora.stderr_tail()
    assert flora.processes() == {}
    return time.monotonic() - began_s


@pytest.mark.scenario("T71")
def test_given_queued_events_when_sigterm_then_all_of_them_are_answered_first(make_flora):
    flora = make_flora(SETTINGS).start()
    flora.unlimited()
    guild = flora.new_guild()
    guild.deploy(SLOW)
    first = guild.say("0")
    for number in range(1, 8):
        guild.say(str(number))

    _stop(flora, signal.SIGTERM, DEADLINE_S + 1)

    assert "abandoned" not in flora.stderr()
    flora.start()  # the simulated Discord remembers
    assert guild.said_by_bot(first) == [f"did {number}" for number in range(8)]


@pytest.mark.scenario("T72")
def test_given_a_script_that_spins_when_sigterm_then_it_ends_at_the_deadline_and_http_says_so_meanwhile(
    make_flora, wait_for, patience
):
    flora = make_flora(SETTINGS).start()
    guild = flora.new_guild()
    guild.deploy(SPINS)
    assert guild.ask("spin") == "spinning"
    began_s = time.monotonic()

    flora.launcher.send_signal(signal.SIGTERM)

    wait_for(lambda: _status(f"{flora.url}/api/ready") == 503, 2.0, "it is still ready")
    wait_for(lambda: _status(f"{flora.url}/api/auth/me") == 503, 2.0, "it still takes requests")
    assert _status(f"{flora.url}/api/health") == 200
    assert flora.ended(DEADLINE_S + 3) == 0
    assert time.monotonic() - began_s <= DEADLINE_S + (1 + SLACK_S) * patience()
    assert flora.processes() == {}
    assert "events were abandoned" in flora.stderr()


@pytest.mark.scenario("T73")
def test_given_a_full_queue_when_sigterm_then_the_shutdown_is_not_lost(make_flora, wait_for, patience):
    flora = make_flora(SETTINGS).start()
    flora.unlimited()
    guild = flora.new_guild()
    guild.deploy(SPINS)
    assert guild.ask("spin") == "spinning"
    flora.sim("POST", "/sim/burst", {"channels": [guild.channel_id], "count": 6000})
    wait_for(lambda: flora.metrics()["events_shed"] > 0, 20.0, "the queue is not full")

    assert _stop(flora, signal.SIGTERM, DEADLINE_S + 3) <= DEADLINE_S + (1 + SLACK_S) * patience()


@pytest.mark.scenario("T74")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_given_two_signals_then_it_ends_at_once_and_nothing_is_left(make_flora, wait_for, patience, number):
    flora = make_flora(SETTINGS).start()
    guild = flora.new_guild()
    guild.deploy(SPINS)
    assert guild.ask("spin") == "spinning"
    flora.launcher.send_signal(number)
    wait_for(lambda: "stopping: queues" in flora.stderr(), 3.0, "it does not stop")

    began_s = time.monotonic()
    flora.launcher.send_signal(number)

    assert flora.ended(2) == 128 + number
    assert time.monotonic() - began_s < 1.0 * patience()
    wait_for(lambda: not flora.processes(), 2.0, "processes left behind")


@pytest.mark.scenario("T74")
@pytest.mark.parametrize(
    "moment", ["making the database", "starting Postgres", "simulated Discord", "booting: worker 0"]
)
@pytest.mark.parametrize("signals", [1, 2])
def test_given_signals_at_any_moment_of_a_first_start_then_it_ends_and_the_next_start_works(
    make_flora, wait_for, moment, signals
):
    flora = make_flora(SETTINGS, nothing_made=moment == "making the database")
    flora.spawn()
    wait_for(lambda: moment in flora.stderr(), 30.0, "it never came so far")

    for _ in range(signals):
        flora.launcher.send_signal(signal.SIGTERM)

    assert flora.ended(3) in ({0} if signals == 1 else {0, 128 + signal.SIGTERM})
    wait_for(lambda: not flora.processes(), 2.0, "processes left behind")
    if signals == 1:
        flora.start()


@pytest.mark.scenario("T74")
def test_given_a_postgres_that_is_stuck_when_sigterm_then_it_ends_in_time_and_nothing_is_left(make_flora):
    flora = make_flora(SETTINGS).start()
    os.kill(flora.server_pid("postgres"), signal.SIGSTOP)

    _stop(flora, signal.SIGTERM, DEADLINE_S + 2)


def test_given_nothing_to_do_when_sigterm_then_it_ends_soon(make_flora, patience):
    flora = make_flora(SETTINGS | {"RUNTIME_SHUTDOWN_TIMEOUT_SECS": "30"}).start()

    assert _stop(flora, signal.SIGTERM, 10) < 5 * patience()
